# SPDX-License-Identifier: Apache-2.0
"""A segmentor for fine-tuning: any student of a pretraining config, and a linear head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.datasets.frame import PairBatch
from lidistill.distill.calls import call_model
from lidistill.distill.distiller import RawBatch
from lidistill.distill.image_to_lidar import VOXEL_INPUTS
from lidistill.distill.taps import TapSet
from lidistill.distill.weights import load_weights
from lidistill.evaluation.label_maps import IGNORE
from lidistill.evaluation.probes.samples import voxels_to_points
from lidistill.losses.contrastive import zero_loss
from lidistill.losses.lovasz import lovasz_softmax
from lidistill.registry import MODELS


@MODELS.register_module()
class Segmentor(BaseModel):
    """Class of each point, from the features of its voxel.

    Trained on voxels: a voxel has the label of its first point, the one that also gives its input
    features. Scored on points: each gets the class of its voxel; a point outside the grid gets the
    class that the head gives to zero features.

    Args:
        backbone: student of a pretraining config, or its config.
        num_classes: including the ignored one.
        feature_channels: width of the backbone's features; None asks its ``out_channels``.
        checkpoint: pretraining checkpoint (``student.*``), or None to start from random weights.
        tap: module of the backbone whose (V, C) output is read, as ``student_tap`` of the
            pretraining config; ``""`` is the backbone's own output.
        inputs: batch fields that the backbone takes.
        freeze_backbone: train the head alone, with the backbone in evaluation mode: the SLidR
            authors' linear probing.
        lovasz: weight of the Lovász-softmax beside the cross-entropy; 0 leaves it out.
        ignore: class that is neither trained nor predicted.

    Raises:
        ValueError: the checkpoint does not fit the backbone; the message counts what matched.

    Source: SLidR (2203.16258) section 4.2 and its authors' ``downstream``.
    """

    def __init__(
        self,
        backbone: nn.Module | dict,
        num_classes: int,
        feature_channels: int | None = None,
        checkpoint: str | Path | None = None,
        tap: str = "",
        inputs: Sequence[str] = VOXEL_INPUTS,
        freeze_backbone: bool = False,
        lovasz: float = 1.0,
        ignore: int = IGNORE,
    ) -> None:
        super().__init__(data_preprocessor=RawBatch())
        self.backbone = MODELS.build(backbone) if isinstance(backbone, dict) else backbone
        self.taps = TapSet(self.backbone, {"voxels": tap})
        channels = feature_channels or getattr(self.backbone, "out_channels", None)
        if not channels:
            raise ValueError(
                f"{type(self.backbone).__name__} does not say how wide its features are: give "
                "feature_channels"
            )
        self.head = nn.Linear(channels, num_classes)
        self.inputs, self.freeze_backbone = inputs, freeze_backbone
        self.lovasz, self.ignore, self.num_classes = lovasz, ignore, num_classes
        if checkpoint is not None:
            load_weights(self.backbone, checkpoint)
        if freeze_backbone:
            self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> Segmentor:
        """Training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()
        return self

    def forward(self, inputs: PairBatch, data_samples: Any = None, mode: str = "tensor") -> Any:
        """``"loss"``: named losses; ``"predict"``: one entry a frame; ``"tensor"``: (V, C) scores.

        An entry of ``"predict"`` has ``token``, ``predicted`` (N,) int64 on the CPU and ``true``,
        the same of the labels or None.
        """
        with self.taps.capture(self.backbone) as taken:
            call_model(self.backbone, inputs, self.inputs, mode, self.training)
        scores = self.head(taken.voxels.features).float()  # (V, num_classes)
        if mode == "loss":
            return self.losses(scores, self._labels(inputs))
        return scores if mode == "tensor" else self.predictions(scores, inputs)

    def losses(self, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy and Lovász-softmax of labelled voxels; zero where there are none.

        Args:
            scores: (V, num_classes).
            labels: (V,) int64.
        """
        kept = labels != self.ignore
        scores, labels = scores[kept], labels[kept]
        if len(labels) == 0:
            return {"loss_ce": zero_loss(scores), "loss_lovasz": zero_loss(scores)}
        losses = {"loss_ce": F.cross_entropy(scores, labels)}
        if self.lovasz:
            losses["loss_lovasz"] = self.lovasz * lovasz_softmax(scores.softmax(dim=1), labels)
        return losses

    def predictions(self, scores: Tensor, batch: PairBatch) -> list[dict[str, Any]]:
        """The best class of each point but the ignored one, frame by frame."""
        bias = self.head.bias.detach()[None].to(scores)
        scores, bias = (part.clone() for part in (scores, bias))
        scores[:, self.ignore] = bias[:, self.ignore] = -torch.inf
        best = scores.argmax(dim=1, keepdim=True)  # (V, 1)
        points = voxels_to_points(best, batch.point_to_voxel)[:, 0]  # (N,)
        points[batch.point_to_voxel < 0] = bias.argmax()
        frames = []
        for number, token in enumerate(batch.tokens):
            rows = batch.point_batch == number
            true = None if batch.point_labels is None else batch.point_labels[rows].long().cpu()
            frames.append({"token": token, "predicted": points[rows].cpu(), "true": true})
        return frames

    def _labels(self, batch: PairBatch) -> Tensor:
        """(V,) int64: label of the first point of each voxel."""
        if batch.point_labels is None:
            raise ValueError(
                f"frames {batch.tokens} have no labels: put LoadPointLabels() and MapPointLabels() "
                "into the pipeline"
            )
        labels = voxel_labels(
            batch.point_labels.long(), batch.point_to_voxel, len(batch.voxel_coords), self.ignore
        )
        if len(labels) and int(labels.max()) >= self.num_classes:
            raise ValueError(
                f"expected classes 0..{self.num_classes - 1}, got {int(labels.max())} in "
                f"{batch.tokens}: put MapPointLabels(table=...) behind LoadPointLabels()"
            )
        return labels


def voxel_labels(labels: Tensor, point_to_voxel: Tensor, voxels: int, ignore: int) -> Tensor:
    """Label of the first point of each voxel.

    Args:
        labels: (N,) int64.
        point_to_voxel: (N,) row of the voxel, -1 outside.
        voxels: V.
        ignore: label of a voxel without a point.

    Returns:
        (V,) int64.
    """
    rows = torch.arange(len(labels), device=labels.device)
    inside = point_to_voxel >= 0
    first = rows.new_full((voxels,), len(labels))
    first.scatter_reduce_(0, point_to_voxel[inside], rows[inside], "amin")
    padded = torch.cat([labels, labels.new_full((1,), ignore)])
    return padded[first]
