# SPDX-License-Identifier: Apache-2.0
"""Intersection over union of point labels: a confusion matrix, and each way to read it, named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lidistill.evaluation.label_maps import IGNORE

Protocol = Literal["nuscenes", "slidr", "present"]

PROTOCOLS: dict[str, str] = {
    "nuscenes": (
        "mIoU as nuscenes-devkit's LidarSegEval: points whose true class is ignored do not count, "
        "classes neither present nor predicted are left out of the mean"
    ),
    "slidr": (
        "mIoU as the SLidR authors' evaluation: points whose true class is ignored do not count, "
        "classes neither present nor predicted count with IoU 1"
    ),
    "present": (
        "mIoU over the classes that occur: points whose true class is ignored do not count, "
        "classes without a true point are left out of the mean, predicted or not"
    ),
}
"""What each protocol's number means, in words that go beside the number."""


@dataclass
class IoU:
    """Per-class and mean intersection over union.

    Attributes:
        miou: mean over the protocol's classes, 0..1; NaN where no class can be scored.
        per_class: (C,) float64, IoU of each class; NaN at the ignored class, under ``nuscenes`` at
            classes neither present nor predicted, under ``present`` at classes not present.
        protocol: words of :data:`PROTOCOLS`.
        absent: scored classes without a true point; one that is predicted has IoU 0 all the same.
    """

    miou: float
    per_class: np.ndarray
    protocol: str
    absent: tuple[int, ...] = ()

    def absent_in_words(self, classes: Sequence[str]) -> str:
        """Which classes the mean could not judge and how it took them; empty where all are there.

        Args:
            classes: names, position = class.
        """
        if not self.absent:
            return ""
        if math.isnan(self.miou):
            return "no labelled point of a scored class, so there is no mIoU"
        named = []
        for index in self.absent:
            iou = float(self.per_class[index])
            named.append(f"{classes[index]} ({'left out' if math.isnan(iou) else f'IoU {iou:g}'})")
        return f"classes without a true point: {', '.join(named)}"


class ConfusionMatrix:
    """Counts of (true, predicted) class over any number of clouds.

    Args:
        num_classes: classes including the ignored one, C.
        ignore: index of the ignored class, or None.

    Attributes:
        counts: (C, C) int64, row = true class, column = predicted class.
    """

    def __init__(self, num_classes: int, ignore: int | None = IGNORE) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be positive, got {num_classes}")
        if ignore is not None and not 0 <= ignore < num_classes:
            raise ValueError(
                f"ignore must be a class in 0..{num_classes - 1} or None, got {ignore}"
            )
        self.num_classes = num_classes
        self.ignore = ignore
        self.counts = np.zeros((num_classes, num_classes), dtype=np.int64)

    def update(self, true: Any, predicted: Any) -> None:
        """Add one cloud.

        Args:
            true: (N,) integers, array or tensor.
            predicted: (N,) integers. The ignored class may be predicted only at points whose true
                class is ignored: elsewhere it would take the point out of the score.

        Raises:
            ValueError: lengths differ, or a label lies outside the classes.
        """
        true = _labels(true, "true", self.num_classes)
        predicted = _labels(predicted, "predicted", self.num_classes)
        if true.shape != predicted.shape:
            raise ValueError(
                f"{true.size} true labels but {predicted.size} predicted ones; one of each a point"
            )
        if self.ignore is not None and bool(
            np.any((predicted == self.ignore) & (true != self.ignore))
        ):
            raise ValueError(
                f"class {self.ignore} is ignored and may not be predicted: predict the best of the "
                "other classes at every point"
            )
        pairs = true * self.num_classes + predicted  # (N,)
        counts = np.bincount(pairs, minlength=self.num_classes**2)
        self.counts += counts.reshape(self.num_classes, self.num_classes)

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if (self.num_classes, self.ignore) != (other.num_classes, other.ignore):
            raise ValueError("only matrices of the same classes and ignored class can be added")
        total = ConfusionMatrix(self.num_classes, self.ignore)
        total.counts = self.counts + other.counts
        return total

    def iou(self, protocol: Protocol = "nuscenes") -> IoU:
        """Read the matrix under a named protocol; see :func:`iou_from_counts`."""
        return iou_from_counts(self.counts, self.ignore, protocol)


def iou_from_counts(
    counts: np.ndarray, ignore: int | None = IGNORE, protocol: Protocol = "nuscenes"
) -> IoU:
    """Intersection over union ``TP / (TP + FP + FN)`` of each class.

    Args:
        counts: (C, C) integers, row = true class, column = predicted class.
        ignore: class whose row is taken out, or None.
        protocol: ``nuscenes``: a class with an empty union is left out; ``slidr``: it counts 1;
            ``present``: a class without a true point is left out.

    Returns:
        IoU per class, their mean, the protocol in words.

    Source: nuscenes-devkit 1.2.0 ``eval/lidarseg``; valeoai/SLidR @ 14729d0 for ``slidr``.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    counts = counts.astype(np.int64)
    scored = np.ones(len(counts), dtype=bool)
    if ignore is not None:
        counts[ignore] = 0
        scored[ignore] = False
    hit = np.diagonal(counts).astype(np.float64)
    union = counts.sum(axis=0) + counts.sum(axis=1) - hit
    empty = 1.0 if protocol == "slidr" else np.nan
    per_class = np.where(union > 0, hit / np.maximum(union, 1), empty)  # (C,)
    per_class[~scored] = np.nan
    if protocol == "present":
        per_class[counts.sum(axis=1) == 0] = np.nan
    kept = per_class[~np.isnan(per_class)]
    absent = tuple(np.flatnonzero(scored & (counts.sum(axis=1) == 0)).tolist())
    if not counts.sum():  # nothing was labelled: no class counts 1
        kept, per_class = kept[:0], np.full(len(counts), np.nan)
    miou = float(kept.mean()) if kept.size else math.nan
    return IoU(miou=miou, per_class=per_class, protocol=PROTOCOLS[protocol], absent=absent)


def _labels(values: Any, name: str, num_classes: int) -> np.ndarray:
    """(N,) int64 from an array or a tensor, checked against the classes."""
    if hasattr(values, "detach"):  # a tensor, without importing torch here
        values = values.detach().cpu().numpy()
    array = np.asarray(values).reshape(-1)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} labels must be integers, got {array.dtype}")
    array = array.astype(np.int64)
    if array.size and (array.min() < 0 or array.max() >= num_classes):
        raise ValueError(
            f"{name} labels must lie in 0..{num_classes - 1}, got {array.min()}..{array.max()}: "
            "map them first (lidistill.evaluation.map_labels)"
        )
    return array
