# SPDX-License-Identifier: Apache-2.0
"""KITTI's object detection AP on the CPU, in double precision: bbox, bev, 3d and aos.

The official protocol: three difficulties, Van and sitting persons neither help nor hurt, DontCare
rectangles excuse false positives in the image. mmdet3d's own evaluation needs a GPU for bev and 3d,
and its float32 overlaps give 0 for identical boxes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.kitti.files import DONT_CARE, UNKNOWN_ALPHA, Labels
from lidistill.evaluation.kitti._match import (
    COUNTS,
    IGNORED,
    OTHER,
    box_overlaps,
    count_matches,
    image_overlaps,
    true_positive_scores,
)

CLASSES = ("Car", "Pedestrian", "Cyclist")
METRICS = ("bbox", "bev", "3d", "aos")
DIFFICULTIES = ("easy", "moderate", "hard")
RECALLS = {"R40": slice(1, 41), "R11": slice(0, 41, 4)}
"""Which of the 41 sampled recalls are averaged: 1/40 .. 1 since 2019, 0, 0.1 .. 1 before."""

MIN_HEIGHT, MAX_OCCLUSION, MAX_TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.3, 0.5)
STRICT = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
"""The benchmark's minimum overlaps, for bbox, bev and 3d alike."""
LOOSE = {"Car": 0.5, "Pedestrian": 0.25, "Cyclist": 0.25}
"""For bev and 3d, what mmdet3d prints beside them; bbox keeps the strict ones."""
_NEIGHBOURS = {"Car": "van", "Pedestrian": "person_sitting"}
_SAMPLES = 41


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
    """

    ap: dict[str, dict[str, dict[str, tuple[float, ...]]]]
    precision: dict[str, dict[str, NDArray[np.float64]]]
    objects: dict[str, tuple[int, ...]]
    frames: int
    protocol: str

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
class _Frame:
    """One frame's arrays for one class: overlaps of each metric, and who takes part how."""

    overlaps: Mapping[str, NDArray[np.float64]]
    on_dont_care: NDArray[np.float64]
    scores: NDArray[np.float64]
    turns: NDArray[np.float64]
    truth_roles: NDArray[np.int64]  # (3, G)
    found_roles: NDArray[np.int64]  # (3, D)
    alpha_known: bool  # of the objects and detections that count


def kitti_ap(
    truth: Sequence[Labels],
    found: Sequence[Labels],
    classes: Sequence[str] = CLASSES,
    min_overlap: Mapping[str, float] = STRICT,
    with_images: bool = True,
) -> KittiScores:
    """Average precision of detections by KITTI's protocol.

    Args:
        truth: labels of each frame, DontCare included.
        found: detections of each frame, in the same order, with scores; rectangles clipped to the
            image.
        classes: of :data:`CLASSES`, or own ones.
        min_overlap: class -> overlap in bev and 3d that a match must exceed; an own class's holds
            for bbox, too.
        with_images: False: rectangles mean nothing, so bbox and aos are NaN.

    Returns:
        AP in percent; NaN where no object counts, and 0 where objects were not found.

    Raises:
        ValueError: a class without an overlap, or unequal numbers of frames.
    """
    unknown = [name for name in classes if name not in min_overlap]
    if len(truth) != len(found) or unknown:
        raise ValueError(
            f"expected as many frames of truth as of detections and an overlap for each class "
            f"({', '.join(min_overlap)} have one), got {len(truth)}, {len(found)} and "
            f"{tuple(classes)}"
        )
    ap, precisions, objects = {}, {}, {}
    without_alpha = []
    for name in classes:
        frames = [_frame(*pair, name) for pair in zip(truth, found, strict=True)]
        counts = [_count(frames, level) for level in range(3)]
        if not all(frame.alpha_known for frame in frames):
            without_alpha.append(name)
        curves = {}
        for metric in ("bbox", "bev", "3d"):
            minimum = STRICT.get(name, min_overlap[name]) if metric == "bbox" else min_overlap[name]
            levels = [_curve(frames, metric, level, minimum, counts[level]) for level in range(3)]
            curves[metric] = np.stack([precision for precision, _ in levels])
            if metric == "bbox":
                curves["aos"] = np.stack([similarity for _, similarity in levels])
        for metric in ("bbox", "aos") if not with_images else ("aos",) * (name in without_alpha):
            curves[metric][:] = np.nan
        precisions[name] = curves
        ap[name] = {
            metric: {
                recalls: tuple(float(100 * v) for v in curve[:, places].mean(axis=1))
                for recalls, places in RECALLS.items()
            }
            for metric, curve in curves.items()
        }
        objects[name] = tuple(counts)
    words = _protocol(objects, min_overlap, len(truth), with_images, without_alpha)
    return KittiScores(ap, precisions, objects, len(truth), words)


def _protocol(
    objects: Mapping[str, tuple[int, ...]],
    min_overlap: Mapping[str, float],
    frames: int,
    with_images: bool,
    without_alpha: Sequence[str],
) -> str:
    """The protocol in words, and all that could not be scored, with the reason."""
    overlaps = ", ".join(f"{name} {min_overlap[name]}" for name in objects)
    words = [f"KITTI object detection AP (bev and 3d overlap: {overlaps}), {frames} frames"]
    if not objects:
        words.append("no class to score, so every number is NaN")
    for level, difficulty in enumerate(DIFFICULTIES):
        absent = [name for name, counts in objects.items() if counts[level] == 0]
        if absent:
            words.append(
                f"no {difficulty} object of {', '.join(absent)} counts: NaN, and not in the mean"
            )
    if not with_images:
        words.append(
            "without images there are no rectangles: bbox and aos are NaN, and the difficulties go "
            "by occlusion and truncation alone, not by the height in the image"
        )
    elif without_alpha:
        words.append(f"alpha is unknown (-10) in {', '.join(without_alpha)}: aos is NaN")
    return "; ".join(words)


def _frame(truth: Labels, found: Labels, name: str) -> _Frame:
    """Only objects and detections that can take part are compared."""
    truth_roles = np.stack([_truth_roles(truth, name, level) for level in range(3)])
    found_roles = np.stack([_found_roles(found, name, level) for level in range(3)])
    kept_truth = np.flatnonzero((truth_roles != OTHER).any(axis=0))
    kept_found = np.flatnonzero((found_roles != OTHER).any(axis=0))
    images = found.bbox[kept_found]
    boxes, objects = _boxes(found)[kept_found], _boxes(truth)[kept_truth]
    dont_care = np.array([label == DONT_CARE for label in truth.names], dtype=bool)
    excused = image_overlaps(images, truth.bbox[dont_care], True)
    return _Frame(
        overlaps={
            "bbox": image_overlaps(images, truth.bbox[kept_truth], False),
            "bev": box_overlaps(boxes, objects, False),
            "3d": box_overlaps(boxes, objects, True),
        },
        on_dont_care=excused.max(axis=1, initial=0.0),
        scores=found.score[kept_found],
        turns=truth.alpha[kept_truth][None, :] - found.alpha[kept_found][:, None],
        truth_roles=np.ascontiguousarray(truth_roles[:, kept_truth]),
        found_roles=np.ascontiguousarray(found_roles[:, kept_found]),
        alpha_known=not (
            (truth.alpha[(truth_roles == COUNTS).any(axis=0)] == UNKNOWN_ALPHA).any()
            or (found.alpha[(found_roles == COUNTS).any(axis=0)] == UNKNOWN_ALPHA).any()
        ),
    )


def _boxes(labels: Labels) -> NDArray[np.float64]:
    """(M, 7) x, y bottom, z, l, h, w, rotation_y."""
    return np.concatenate([labels.location, labels.size, labels.rotation_y[:, None]], axis=1)


def _truth_roles(labels: Labels, name: str, level: int) -> NDArray[np.int64]:
    lower = [label.lower() for label in labels.names]
    same = np.array([label == name.lower() for label in lower], dtype=bool)
    near = np.array([label == _NEIGHBOURS.get(name) for label in lower], dtype=bool)
    hard = (
        (labels.occluded > MAX_OCCLUSION[level])
        | (labels.truncated > MAX_TRUNCATION[level])
        | (labels.bbox[:, 3] - labels.bbox[:, 1] <= MIN_HEIGHT[level])
    )
    return np.where(same & ~hard, COUNTS, np.where(near | (same & hard), IGNORED, OTHER))


def _found_roles(labels: Labels, name: str, level: int) -> NDArray[np.int64]:
    """A detection that is too low in the image is ignored whatever its class, as officially."""
    same = np.array([label.lower() == name.lower() for label in labels.names], dtype=bool)
    low = np.abs(labels.bbox[:, 3] - labels.bbox[:, 1]) < MIN_HEIGHT[level]
    return np.where(low, IGNORED, np.where(same, COUNTS, OTHER))


def _count(frames: Sequence[_Frame], level: int) -> int:
    return int(sum((frame.truth_roles[level] == COUNTS).sum() for frame in frames))


def _curve(
    frames: Sequence[_Frame], metric: str, level: int, minimum: float, objects: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interpolated precision and orientation similarity, each (41,), at the sampled recalls.

    NaN without objects: then there is no recall.
    """
    if objects == 0:
        return np.full(_SAMPLES, np.nan), np.full(_SAMPLES, np.nan)
    precision, similarity = np.zeros(_SAMPLES), np.zeros(_SAMPLES)
    scores = [
        true_positive_scores(
            f.overlaps[metric], f.scores, f.truth_roles[level], f.found_roles[level], minimum
        )
        for f in frames
    ]
    thresholds = _thresholds(np.concatenate(scores) if scores else np.zeros(0), objects)
    for index, threshold in enumerate(thresholds):
        right = wrong = 0
        alike = 0.0
        for f in frames:
            excused = f.on_dont_care if metric == "bbox" else np.zeros_like(f.on_dont_care)
            counted = count_matches(
                f.overlaps[metric], excused, f.scores, f.turns, f.truth_roles[level],
                f.found_roles[level], minimum, threshold,
            )  # fmt: skip
            right, wrong, alike = right + counted[0], wrong + counted[1], alike + counted[2]
        if right + wrong:
            precision[index] = right / (right + wrong)
            similarity[index] = alike / (right + wrong)
    falling: Callable = np.maximum.accumulate
    return falling(precision[::-1])[::-1], falling(similarity[::-1])[::-1]


def _thresholds(scores: NDArray[np.float64], objects: int) -> list[float]:
    """Scores at which recall comes nearest to 0, 1/40, .. 1."""
    ordered = np.sort(scores)[::-1]
    thresholds: list[float] = []
    recall = 0.0
    for index, score in enumerate(ordered):
        left = (index + 1) / objects
        last = index == len(ordered) - 1
        right = left if last else (index + 2) / objects
        if right - recall < recall - left and not last:
            continue
        thresholds.append(float(score))
        recall += 1 / (_SAMPLES - 1)
    return thresholds
