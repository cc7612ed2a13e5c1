# SPDX-License-Identifier: Apache-2.0
"""KITTI's matching frame by frame, each again for every score: the bench's reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from lidistill.converters.kitti.files import Labels
from lidistill.evaluation.kitti._match import COUNTS, IGNORED, OTHER, thresholds
from lidistill.evaluation.kitti.ap import CLASSES, STRICT
from lidistill.evaluation.kitti.class_table import (
    MAX_OCCLUSION,
    MAX_TRUNCATION,
    MIN_HEIGHT,
    NEIGHBOURS,
)
from lidistill.jit import njit
from lidistill.ops.boxes.rotated_iou import overlap_area

Array: TypeAlias = np.ndarray

SAMPLES = 41


@njit
def image_overlaps(found: Array, truth: Array, over_found: bool) -> Array:
    """(D, G) overlap of rectangles (x1, y1, x2, y2): over the union, or over ``found``'s area."""
    overlaps = np.zeros((len(found), len(truth)))
    for d in range(len(found)):
        for g in range(len(truth)):
            width = min(found[d, 2], truth[g, 2]) - max(found[d, 0], truth[g, 0])
            height = min(found[d, 3], truth[g, 3]) - max(found[d, 1], truth[g, 1])
            if width <= 0 or height <= 0:
                continue
            shared = width * height
            area = (found[d, 2] - found[d, 0]) * (found[d, 3] - found[d, 1])
            if not over_found:
                area += (truth[g, 2] - truth[g, 0]) * (truth[g, 3] - truth[g, 1]) - shared
            overlaps[d, g] = shared / area
    return overlaps


@njit
def box_overlaps(found: Array, truth: Array, with_height: bool) -> Array:
    """(D, G) overlap over the union of boxes (x, y bottom, z, l, h, w, rotation_y), camera frame.

    On the ground plane, or with height as volumes; y points down.
    """
    overlaps = np.zeros((len(found), len(truth)))
    first, second = np.empty(5), np.empty(5)
    for d in range(len(found)):
        first[0], first[1], first[2], first[3] = found[d, 0], found[d, 2], found[d, 3], found[d, 5]
        first[4] = -found[d, 6]  # rotation_y turns from x towards -z
        for g in range(len(truth)):
            second[0], second[1] = truth[g, 0], truth[g, 2]
            second[2], second[3], second[4] = truth[g, 3], truth[g, 5], -truth[g, 6]
            shared = overlap_area(first, second)
            if shared <= 0:
                continue
            size_d, size_g = found[d, 3] * found[d, 5], truth[g, 3] * truth[g, 5]
            if with_height:
                low = min(found[d, 1], truth[g, 1])
                high = max(found[d, 1] - found[d, 4], truth[g, 1] - truth[g, 4])
                shared *= max(0.0, low - high)
                size_d, size_g = size_d * found[d, 4], size_g * truth[g, 4]
            overlaps[d, g] = shared / (size_d + size_g - shared)
    return overlaps


@njit
def true_positive_scores(
    overlaps: Array, scores: Array, truth_role: Array, found_role: Array, minimum: float
) -> Array:
    """Scores of the detections that objects take when each takes its best-scored one."""
    taken = np.zeros(len(scores), dtype=np.bool_)
    matched = np.empty(len(truth_role))
    count = 0
    for g in range(len(truth_role)):
        if truth_role[g] == OTHER:
            continue
        best, best_score = -1, -1e7
        for d in range(len(scores)):
            if found_role[d] == OTHER or taken[d]:
                continue
            if overlaps[d, g] > minimum and scores[d] > best_score:
                best, best_score = d, scores[d]
        if best < 0:
            continue
        taken[best] = True
        if truth_role[g] == COUNTS and found_role[best] == COUNTS:
            matched[count] = best_score
            count += 1
    return matched[:count]


@njit
def count_matches(
    overlaps: Array,
    on_dont_care: Array,
    scores: Array,
    turns: Array,
    truth_role: Array,
    found_role: Array,
    minimum: float,
    threshold: float,
) -> tuple[int, int, float]:
    """Count one frame at one score threshold.

    Args:
        overlaps: (D, G) detections and objects.
        on_dont_care: (D,) largest share of a detection inside a DontCare rectangle.
        scores: (D,).
        turns: (D, G) difference of observation angles, radians.
        truth_role: (G,) COUNTS, IGNORED or OTHER.
        found_role: (D,) likewise.
        minimum: overlap that a match must exceed.
        threshold: detections scored lower do not exist.

    Returns:
        True positives, false positives, sum of orientation similarities of the true positives.
    """
    taken = np.zeros(len(scores), dtype=np.bool_)
    positives, similarity = 0, 0.0
    for g in range(len(truth_role)):
        if truth_role[g] == OTHER:
            continue
        best, best_overlap, best_ignored = -1, 0.0, False
        for d in range(len(scores)):
            out = found_role[d] == OTHER or taken[d] or scores[d] < threshold
            if out or overlaps[d, g] <= minimum:
                continue
            if found_role[d] == COUNTS and (overlaps[d, g] > best_overlap or best_ignored):
                best, best_overlap, best_ignored = d, overlaps[d, g], False
            elif found_role[d] == IGNORED and best < 0:
                best, best_ignored = d, True
        if best < 0:
            continue
        taken[best] = True
        if truth_role[g] == COUNTS and found_role[best] == COUNTS:
            positives += 1
            similarity += (1.0 + np.cos(turns[best, g])) / 2.0
    wrong = 0
    for d in range(len(scores)):
        free = not taken[d] and found_role[d] == COUNTS and scores[d] >= threshold
        if free and on_dont_care[d] <= minimum:
            wrong += 1
    return positives, wrong, similarity


def curves_by_frames(truth: Sequence[Labels], found: Sequence[Labels]) -> Array:
    """(3, 4, 3, 41) precision: class, metric (bbox, bev, 3d, aos), difficulty, sample."""
    return np.stack([_class_curves(truth, found, name) for name in CLASSES])


def _class_curves(truth: Sequence[Labels], found: Sequence[Labels], name: str) -> Array:
    frames = [_frame(*pair, name) for pair in zip(truth, found, strict=True)]
    out = np.zeros((4, 3, SAMPLES))
    for index in range(3):
        for level in range(3):
            precision, similarity = _curve(frames, index, level, STRICT[name])
            out[index, level] = precision
            if index == 0:
                out[3, level] = similarity
    return out


def _frame(truth: Labels, found: Labels, name: str) -> tuple:
    """Overlaps of each metric, excuses, scores, turns, and who takes part how by difficulty."""
    lower = np.array([label.lower() for label in truth.names])
    same, near = lower == name.lower(), lower == NEIGHBOURS.get(name, "")
    truth_roles, found_roles = np.empty((3, len(lower)), int), np.empty((3, len(found.names)), int)
    wanted = np.array([label.lower() == name.lower() for label in found.names], dtype=bool)
    for level in range(3):
        hard = (truth.occluded > MAX_OCCLUSION[level]) | (truth.truncated > MAX_TRUNCATION[level])
        hard |= truth.bbox[:, 3] - truth.bbox[:, 1] <= MIN_HEIGHT[level]
        truth_roles[level] = np.where(
            same & ~hard, COUNTS, np.where(near | (same & hard), IGNORED, OTHER)
        )
        low = np.abs(found.bbox[:, 3] - found.bbox[:, 1]) < MIN_HEIGHT[level]
        found_roles[level] = np.where(low, IGNORED, np.where(wanted, COUNTS, OTHER))
    boxes = [
        np.concatenate([one.location, one.size, one.rotation_y[:, None]], axis=1)
        for one in (found, truth)
    ]
    areas = truth.bbox[lower == "dontcare"]
    return (
        (
            image_overlaps(found.bbox, truth.bbox, False),
            box_overlaps(*boxes, False),
            box_overlaps(*boxes, True),
        ),
        image_overlaps(found.bbox, areas, True).max(axis=1, initial=0.0),
        found.score,
        truth.alpha[None, :] - found.alpha[:, None],
        truth_roles,
        found_roles,
    )


def _curve(frames: Sequence[tuple], metric: int, level: int, minimum: float) -> tuple[Array, Array]:
    precision, similarity = np.zeros(SAMPLES), np.zeros(SAMPLES)
    scores = [
        true_positive_scores(overlaps[metric], score, truth[level], roles[level], minimum)
        for overlaps, _, score, _, truth, roles in frames
    ]
    objects = sum(int((frame[4][level] == COUNTS).sum()) for frame in frames)
    for index, threshold in enumerate(thresholds(np.concatenate(scores), max(objects, 1))):
        right = wrong = 0
        alike = 0.0
        for overlaps, on_dont_care, score, turns, truth, roles in frames:
            excused = on_dont_care if metric == 0 else np.zeros_like(on_dont_care)
            counted = count_matches(
                overlaps[metric], excused, score, turns, truth[level], roles[level], minimum,
                threshold,
            )  # fmt: skip
            right, wrong, alike = right + counted[0], wrong + counted[1], alike + counted[2]
        if right + wrong:
            precision[index] = right / (right + wrong)
            similarity[index] = alike / (right + wrong)
    return (
        np.maximum.accumulate(precision[::-1])[::-1],
        np.maximum.accumulate(similarity[::-1])[::-1],
    )
