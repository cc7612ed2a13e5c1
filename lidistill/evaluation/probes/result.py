# SPDX-License-Identifier: Apache-2.0
"""What every probe shares: its budget, its scoring on all validation points, its words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lidistill.evaluation.label_maps import IGNORE
from lidistill.evaluation.miou import ConfusionMatrix, Protocol
from lidistill.evaluation.probes.samples import FrameFeatures, PointSample, checked


@dataclass(frozen=True)
class ProbeSettings:
    """Budget and rules of a probe; all rows of one table share one of these.

    Args:
        steps: Adam steps, the learning rate falling to zero along a cosine.
        batch_size: points a step.
        learning_rate: at the start.
        weight_decay: decoupled.
        per_class: training points of one class kept from one frame.
        class_balance: weight of a class in the loss is its point count to the power of
            ``1 - class_balance``: 0 = as in the data, 1 = all classes equal.
        hidden: width of the MLP's hidden layer.
        neighbours: of the nearest-neighbour probe.
        temperature: of its votes; 0.07 is the usual value for contrastive features.
        bank: how the points it compares with are drawn: by ``class``, or ``uniform``.
        bank_per_class: training points of one class and frame, where drawn by class.
        bank_per_frame: training points of one frame, where drawn uniformly.
        val_points: validation points a frame that it scores; the other probes score all.
        seed: of the draw of points, the initial weights and the order of batches.
        protocol: how mIoU is read, see :mod:`lidistill.evaluation.miou`.
        ignore: class that is neither trained nor scored; None to score all.
    """

    steps: int = 600
    batch_size: int = 4096
    learning_rate: float = 0.02
    weight_decay: float = 1e-4
    per_class: int = 200
    class_balance: float = 0.5
    hidden: int = 64
    neighbours: int = 20
    temperature: float = 0.07
    bank: Literal["class", "uniform"] = "class"
    bank_per_class: int = 20
    bank_per_frame: int = 200
    val_points: int = 1024
    seed: int = 0
    protocol: Protocol = "nuscenes"
    ignore: int | None = IGNORE


@dataclass
class ProbeResult:
    """What a probe found on the validation frames.

    Attributes:
        miou: mean intersection over union, 0..1.
        iou: (C,) per class; NaN where not scored.
        confusion: (C, C) int64, row = true class, column = predicted.
        protocol: the whole protocol in words; print it beside the number.
        train_frames: frames the training points come from.
        train_points: points fitted to.
        val_frames: frames scored.
        val_points: points scored, without ignored ones.
        unseen: classes of the validation points without a training point; they score 0.
    """

    miou: float
    iou: np.ndarray
    confusion: np.ndarray
    protocol: str
    train_frames: int
    train_points: int
    val_frames: int
    val_points: int
    unseen: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain lists and numbers, NaN as None: ready for JSON."""
        plain = asdict(self)
        plain["iou"] = [None if math.isnan(value) else float(value) for value in self.iou]
        plain["confusion"] = self.confusion.tolist()
        plain["miou"] = None if math.isnan(self.miou) else self.miou
        return plain


class Standardiser:
    """Features to zero mean and unit variance, as measured over all points a sample stands for."""

    def __init__(self, sample: PointSample) -> None:
        share = (sample.stands_for / sample.stands_for.sum()).double()[:, None]  # (M, 1)
        features = sample.features.double()
        self.mean = (share * features).sum(dim=0)
        spread = (share * (features - self.mean) ** 2).sum(dim=0).sqrt()
        constant = spread <= 1e-6 * (1 + self.mean.abs())  # says nothing, must not become noise
        self.spread = torch.where(constant, torch.ones_like(spread), spread)

    def __call__(self, features: Tensor) -> Tensor:
        """(N, C) float32, standardised."""
        return ((features.double() - self.mean) / self.spread).float()


def point_weights(sample: PointSample, num_classes: int, class_balance: float) -> Tensor:
    """Loss weight of each drawn point, mean 1: what it stands for, classes evened out by degree.

    Args:
        sample: of points.
        num_classes: C.
        class_balance: 0 = classes weigh what they have in points, 1 = all the same.

    Returns:
        (M,) float32.
    """
    counts = sample.class_counts(num_classes).clamp_min(1)
    weights = sample.stands_for * counts[sample.labels] ** -class_balance
    return weights / weights.mean()


def score(
    scores: Callable[[Tensor], Tensor],
    sample: PointSample,
    val: Iterable[FrameFeatures],
    num_classes: int,
    settings: ProbeSettings,
    words: str,
) -> ProbeResult:
    """Predict the points of every validation frame and count.

    Args:
        scores: from features (N, C) to class scores (N, num_classes).
        sample: of training points; a class without one is never predicted.
        val: validation frames.
        num_classes: including the ignored one.
        settings: budget and rules.
        words: what was fitted, the start of the result's protocol.

    Raises:
        ValueError: no labelled validation point.
    """
    trained = torch.zeros(num_classes, dtype=torch.bool)
    trained[sample.labels.unique()] = True
    matrix = ConfusionMatrix(num_classes, settings.ignore)
    frames = 0
    for features, labels in checked(val):
        frames += 1
        kept = torch.ones_like(labels, dtype=torch.bool)
        if settings.ignore is not None:
            kept = labels != settings.ignore
        if not bool(kept.any()):
            continue
        with torch.no_grad():
            values = scores(features[kept]).masked_fill(~trained, -torch.inf)
        matrix.update(labels[kept], values.argmax(dim=1))
    if not matrix.counts.any():
        raise ValueError(
            f"no labelled point in {frames} validation frames: give frames with lidarseg labels"
        )
    return _result(matrix, sample, frames, settings, words)


def _result(
    matrix: ConfusionMatrix, sample: PointSample, frames: int, settings: ProbeSettings, words: str
) -> ProbeResult:
    """The counts as a result, with the protocol in words."""
    points = int(matrix.counts.sum())
    iou = matrix.iou(settings.protocol)
    present = np.flatnonzero(matrix.counts.sum(axis=1)).tolist()
    trained = set(sample.labels.unique().tolist())
    protocol = (
        f"{words}; fitted to {len(sample.labels):,} of {sample.points:,} points of {sample.frames} "
        f"training frames; scored on {points:,} points of {frames} validation frames; "
        f"{iou.protocol}"
    )
    return ProbeResult(
        miou=iou.miou,
        iou=iou.per_class,
        confusion=matrix.counts,
        protocol=protocol,
        train_frames=sample.frames,
        train_points=len(sample.labels),
        val_frames=frames,
        val_points=points,
        unseen=[label for label in present if label not in trained],
    )
