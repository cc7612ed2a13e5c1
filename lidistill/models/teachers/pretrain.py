# SPDX-License-Identifier: Apache-2.0
"""Training an image teacher: without labels by dense contrast, with labels as upper reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.datasets.frame import PairBatch
from lidistill.datasets.images import ViewBatch
from lidistill.losses.contrastive import info_nce, zero_loss
from lidistill.losses.rows import directions
from lidistill.ops.segments.pixel_read import read_pixels_lowres
from lidistill.registry import MODELS


class _ToDevice(BaseDataPreprocessor):
    """Moves batch objects that have a ``to`` method."""

    def forward(self, data: Any, training: bool = False) -> Any:
        """Batch on the model's device."""
        return {name: value.to(self.device) for name, value in data.items()}


@MODELS.register_module()
class DenseImageContrast(BaseModel):
    """Self-supervised image teacher: one scene point in two crops attracts, others repel.

    Each matched point is read bilinearly from the two stride-s maps, goes through a projection head
    and is contrasted with all other points of the batch, in both directions. With strong colour
    changes between the views only texture, shape and context can match them.

    Args:
        student: image network (B, 3, H, W) -> (B, C, h, w) with ``out_channels``, or its config; it
            is what later stages load (names begin with ``student.``).
        embedding: D of the contrast.
        hidden: width of the projection head's hidden layer.
        temperature: of the InfoNCE.

    Source: Wang et al., "Dense Contrastive Learning" (DenseCL), CVPR 2021, and O Pinheiro et al.,
        "Unsupervised Learning of Dense Visual Representations" (VADeR), NeurIPS 2020.
    Differs from both: no momentum encoder and no queue (the batch's own points are the negatives),
        and the correspondence is the known one of the crops, as in VADeR.
    """

    def __init__(
        self,
        student: nn.Module | dict,
        embedding: int = 64,
        hidden: int = 128,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(data_preprocessor=_ToDevice())
        self.student: nn.Module = MODELS.build(student) if isinstance(student, dict) else student
        self.temperature = temperature
        self.projection = nn.Sequential(
            nn.Linear(int(self.student.out_channels), hidden),  # type: ignore[arg-type]
            nn.LayerNorm(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, embedding),
        )

    def forward(
        self, inputs: ViewBatch | Tensor, data_samples: Any = None, mode: str = "tensor"
    ) -> Any:
        """``"loss"`` on a `ViewBatch`; otherwise the feature map of images (B, 3, H, W)."""
        if not isinstance(inputs, ViewBatch):
            return self.student(inputs)
        if mode != "loss":
            return self.student(inputs.views.flatten(0, 1))
        first, second = self._embed(inputs).chunk(2)  # (P, D) each, unit norm
        there = info_nce(first, second, self.temperature)
        back = info_nce(second, first, self.temperature)
        match = (first * second).sum(1).mean()
        return {"loss_contrast": (there + back) / 2, "matched_similarity": match.detach()}

    def _embed(self, batch: ViewBatch) -> Tensor:
        """(2 P, D): the matched points of the first views, then of the second views."""
        images = batch.views.flatten(0, 1)  # (2 B, 3, H, W)
        of_image = torch.cat([batch.image, batch.image + batch.views.shape[1]])
        size = (images.shape[2], images.shape[3])
        features = read_pixels_lowres(
            self.student(images), of_image, batch.rowcol.flatten(0, 1), size
        )
        return directions(self.projection(features))


@MODELS.register_module()
class SupervisedImageTeacher(BaseModel):
    """Upper reference: the same image network trained with labels.

    LiDAR points carry their class into the images; each pair is one labelled pixel.

    Args:
        student: as in `DenseImageContrast`.
        num_classes: including the ignored class 0.
        label_table: raw dataset class -> class; None keeps the raw ones.
        ignore: class that is not trained.
        class_balance: weight of a class in a batch is its count to the power of ``-class_balance``.
    """

    def __init__(
        self,
        student: nn.Module | dict,
        num_classes: int,
        label_table: Sequence[int] | None = None,
        ignore: int = 0,
        class_balance: float = 0.5,
    ) -> None:
        super().__init__(data_preprocessor=_ToDevice())
        self.student: nn.Module = MODELS.build(student) if isinstance(student, dict) else student
        self.classifier = nn.Linear(int(self.student.out_channels), num_classes)  # type: ignore[arg-type]
        self.ignore, self.class_balance = ignore, class_balance
        self.label_table = None if label_table is None else torch.tensor(list(label_table)).long()

    def forward(
        self, inputs: PairBatch | Tensor, data_samples: Any = None, mode: str = "tensor"
    ) -> Any:
        """``"loss"`` on a `PairBatch` with point labels; otherwise the feature map of images."""
        if not isinstance(inputs, PairBatch):
            return self.student(inputs)
        maps = self.student(inputs.images)
        if mode != "loss":
            return maps
        labels = self._labels(inputs)
        size = (inputs.images.shape[2], inputs.images.shape[3])
        features = read_pixels_lowres(maps, inputs.pair_image, inputs.pair_rowcol, size)
        scores = self.classifier(features)  # (P, num_classes)
        used = labels != self.ignore
        if not bool(used.any()):
            return {"loss_class": zero_loss(scores)}
        count = torch.bincount(labels[used], minlength=scores.shape[1]).clamp(min=1)
        weight = count.to(scores.dtype) ** -self.class_balance
        loss = F.cross_entropy(scores[used], labels[used], weight=weight)
        accuracy = (scores[used].argmax(1) == labels[used]).float().mean()
        return {"loss_class": loss, "accuracy": accuracy}

    def _labels(self, batch: PairBatch) -> Tensor:
        """(P,) class of each pair."""
        if batch.point_labels is None:
            raise ValueError(
                "a supervised teacher needs point labels; add LoadPointLabels() to the pipeline"
            )
        raw = batch.point_labels[batch.pair_point].long()
        return raw if self.label_table is None else self.label_table.to(raw.device)[raw]
