# SPDX-License-Identifier: Apache-2.0
"""KITTI's object detection AP on the CPU, in double precision: bbox, bev, 3d and aos.

The official protocol: three difficulties, Van and sitting persons neither help nor hurt, DontCare
rectangles excuse false positives in the image. mmdet3d's own evaluation needs a GPU for bev and 3d,
and its float32 overlaps give 0 for identical boxes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.kitti.files import DONT_CARE, Labels
from lidistill.evaluation.kitti.class_table import DIFFICULTIES, ClassTable, Curve, class_table
from lidistill.evaluation.kitti.columns import Columns, stack

CLASSES = ("Car", "Pedestrian", "Cyclist")
METRICS = ("bbox", "bev", "3d", "aos")
RECALLS = {"R40": slice(1, 41), "R11": slice(0, 41, 4)}
"""Which of the 41 sampled recalls are averaged: 1/40 .. 1 since 2019, 0, 0.1 .. 1 before."""
FEW = 41
"""With fewer objects not every sampled recall can be reached: a perfect result is below 100."""

STRICT = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
"""The benchmark's minimum overlaps, for bbox, bev and 3d alike."""
LOOSE = {"Car": 0.5, "Pedestrian": 0.25, "Cyclist": 0.25}
"""For bev and 3d, what mmdet3d prints beside them; bbox keeps the strict ones."""


@dataclass(frozen=True)
class KittiScores:
    """AP in percent.

    Attributes:
        ap: class -> metric (``bbox``, ``bev``, ``3d``, ``aos``) -> ``R40`` or ``R11`` ->
            (easy, moderate, hard).
        precision: class -> metric -> (3, 41) interpolated precision at each sampled recall.
        objects: class -> objects that count, by difficulty. Where none does, AP is NaN.
        frames: evaluated.
        protocol: in words, with what could not be scored and why; print it beside the numbers.
        tables: class -> what overlaps with what, for a breakdown.
    """

    ap: dict[str, dict[str, dict[str, tuple[float, ...]]]]
    precision: dict[str, dict[str, NDArray[np.float64]]]
    objects: dict[str, tuple[int, ...]]
    frames: int
    protocol: str
    tables: dict[str, ClassTable] = field(default_factory=dict, repr=False, compare=False)

    def mean(self, metric: str = "3d", recalls: str = "R40", difficulty: str = "moderate") -> float:
        """Mean AP over the classes that have objects of that difficulty; NaN where none has."""
        level = DIFFICULTIES.index(difficulty)
        values = [table[metric][recalls][level] for table in self.ap.values()]
        known = [value for value in values if not math.isnan(value)]
        return float(np.mean(known)) if known else math.nan

    def metrics(self) -> dict[str, float]:
        """Name -> percent, and objects that count, as an mmengine metric returns them."""
        scores = {
            f"{name}/{metric}_{recalls}_{difficulty}": value
            for name, table in self.ap.items()
            for metric, both in table.items()
            for recalls, values in both.items()
            for difficulty, value in zip(DIFFICULTIES, values, strict=True)
        }
        counts = {
            f"{name}/objects_{difficulty}": float(count)
            for name, counted in self.objects.items()
            for difficulty, count in zip(DIFFICULTIES, counted, strict=True)
        }
        return {**scores, **counts}


@dataclass(frozen=True)
class _Known:
    """What the files say of the labels and of the detections."""

    rectangles: tuple[bool, bool]
    boxes: tuple[bool, bool]

    def missing(self, metric: str) -> bool:
        return not all(self.rectangles if metric in ("bbox", "aos") else self.boxes)


def kitti_ap(
    truth: Sequence[Labels] | Columns,
    found: Sequence[Labels] | Columns,
    classes: Sequence[str] = CLASSES,
    min_overlap: Mapping[str, float] = STRICT,
    with_images: bool = True,
    official: bool = False,
) -> KittiScores:
    """Average precision of detections by KITTI's protocol.

    Where no label or no detection at all has a rectangle (a LiDAR's) or a box in space (an image
    detector's), the metrics that need it are NaN.

    Args:
        truth: labels of each frame, DontCare included.
        found: detections of each frame, in the same order, with scores; rectangles clipped to the
            image.
        classes: of :data:`CLASSES`, or own ones.
        min_overlap: class -> overlap in bev and 3d that a match must exceed; an own class's holds
            for bbox, too.
        with_images: False: rectangles mean nothing, so bbox and aos are NaN.
        official: leave classes out that nothing was detected of, as the official program does.

    Returns:
        AP in percent; NaN where no object counts, and 0 where objects were not found.

    Raises:
        ValueError: a class without an overlap, or unequal numbers of frames.
    """
    truth = truth if isinstance(truth, Columns) else stack(truth)
    found = found if isinstance(found, Columns) else stack(found)
    unknown = [name for name in classes if name not in min_overlap]
    if truth.frames != found.frames or unknown:
        raise ValueError(
            f"expected as many frames of truth as of detections and an overlap for each class "
            f"({', '.join(min_overlap)} have one), got {truth.frames}, {found.frames} and "
            f"{tuple(classes)}"
        )
    absent = [name for name in classes if official and not found.of(name).any()]
    known = _known(truth, found, with_images)
    tables = {}
    for name in (name for name in classes if name not in absent):
        minimum = dict.fromkeys(("bev", "3d"), min_overlap[name])
        minimum["bbox"] = STRICT.get(name, min_overlap[name])
        tables[name] = class_table(truth, found, name, minimum, known.rectangles)
    precision = {name: _precision(table, known) for name, table in tables.items()}
    ap = {
        name: {
            metric: {
                recalls: tuple(float(100 * v) for v in curve[:, places].mean(axis=1))
                for recalls, places in RECALLS.items()
            }
            for metric, curve in curves.items()
        }
        for name, curves in precision.items()
    }
    objects = {name: table.objects for name, table in tables.items()}
    words = _protocol(tables, min_overlap, truth.frames, known, with_images)
    if absent:
        words += f"; nothing was detected of {', '.join(absent)}: left out, as officially"
    return KittiScores(ap, precision, objects, truth.frames, words, tables)


def _known(truth: Columns, found: Columns, with_images: bool) -> _Known:
    """Nothing at all is no reason to call it unknown: an empty result is a score of 0."""
    labels = ~truth.of(DONT_CARE)
    rectangles = (truth.has_rectangle[labels], found.has_rectangle)
    boxes = (truth.has_box[labels], found.has_box)

    def some(flags: NDArray[np.bool_]) -> bool:
        return bool(flags.any() or not flags.size)

    return _Known(
        (some(rectangles[0]) and with_images, some(rectangles[1]) and with_images),
        (some(boxes[0]), some(boxes[1])),
    )


def _precision(table: ClassTable, known: _Known) -> dict[str, NDArray[np.float64]]:
    """Metric -> (3, 41)."""
    curves: dict[str, NDArray[np.float64]] = {}
    for metric in ("bbox", "bev", "3d"):
        levels: list[Curve] = [table.level(metric, level) for level in range(3)]
        curves[metric] = np.stack([one.precision for one in levels])
        if metric == "bbox":
            curves["aos"] = np.stack([one.similarity for one in levels])
    if not table.alpha_known:
        curves["aos"][:] = np.nan
    for metric, values in curves.items():
        if known.missing(metric):
            values[:] = np.nan
    return curves


def _protocol(
    tables: Mapping[str, ClassTable],
    min_overlap: Mapping[str, float],
    frames: int,
    known: _Known,
    with_images: bool,
) -> str:
    """The protocol in words, and all that could not be scored, with the reason."""
    overlaps = ", ".join(f"{name} {min_overlap[name]}" for name in tables)
    words = [f"KITTI object detection AP (bev and 3d overlap: {overlaps}), {frames} frames"]
    if not tables:
        words.append("no class to score, so every number is NaN")
    for level, difficulty in enumerate(DIFFICULTIES):
        absent = [name for name, table in tables.items() if table.objects[level] == 0]
        if absent:
            words.append(
                f"no {difficulty} object of {', '.join(absent)} counts: NaN, and not in the mean"
            )
    without_alpha = [name for name, table in tables.items() if not table.alpha_known]
    by = "the difficulties go by occlusion and truncation alone, not by the height in the image"
    if not with_images:
        words.append(f"without images there are no rectangles: bbox and aos are NaN, and {by}")
    elif not known.rectangles[0]:
        words.append(f"no label has a rectangle: bbox and aos are NaN, and {by}")
    elif not known.rectangles[1]:
        words.append(
            "no detection has a rectangle: bbox and aos are NaN, and no detection is left out as "
            "too low in the image"
        )
    elif without_alpha:
        words.append(f"alpha is unknown (-10) in {', '.join(without_alpha)}: aos is NaN")
    for side, has in zip(("label", "detection"), known.boxes, strict=True):
        if not has:
            words.append(f"no {side} has a box in space: bev and 3d are NaN")
    return "; ".join(words)
