# SPDX-License-Identifier: Apache-2.0
"""KITTI's matching of detections to objects, in numba: the inner loops of `kitti_ap`."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from lidistill.jit import njit
from lidistill.ops.boxes.rotated_iou import overlap_area

Array: TypeAlias = np.ndarray

COUNTS, IGNORED, OTHER = 0, 1, -1  # how an object or a detection takes part


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
