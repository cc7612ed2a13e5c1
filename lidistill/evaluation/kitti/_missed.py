# SPDX-License-Identifier: Apache-2.0
"""Why objects were missed and detections are wrong, frame by frame, in numba."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from lidistill.evaluation.kitti._match import BBOX, VOLUME, image_overlap, space_overlap
from lidistill.jit import njit

Array: TypeAlias = np.ndarray

CLASS, LOW_SCORE, LOCALISATION, UNSEEN = 0, 1, 2, 3  # of missed objects
DUPLICATE, OTHER_CLASS, MISPLACED, UNLABELLED, BACKGROUND = 0, 1, 2, 3, 4  # of false detections
NEAR_SPACE, NEAR_IMAGE = 0.1, 0.5  # overlaps from which on a detection means the object


@njit
def _overlap(which: int, pair: Array, d: int, g: int, found: tuple, truth: tuple) -> float:
    if which == BBOX:
        return image_overlap(found[0][d], truth[0][g], False)
    return space_overlap(found[1][d], truth[1][g], which == VOLUME, pair)


@njit
def why_missed(
    which: int,
    minimum: float,
    threshold: float,
    truth: tuple[Array, Array, Array],
    found: tuple[Array, Array, Array],
    missed: Array,
    same: Array,
    scores: Array,
) -> Array:
    """Counts (4,) of missed objects: CLASS, LOW_SCORE, LOCALISATION, UNSEEN.

    Args:
        which: BBOX, BEV or VOLUME.
        minimum: overlap that a match must exceed.
        threshold: of scores.
        truth: (M, 4) rectangles, (M, 7) boxes and (F + 1,) starts of all labels.
        found: likewise of all detections (N).
        missed: (M,) bool, the objects to explain.
        same: (N,) bool, detections of the objects' class.
        scores: (N,).
    """
    counts = np.zeros(4, dtype=np.int64)
    pair = np.empty((2, 5))
    for f in range(len(truth[2]) - 1):
        for g in range(truth[2][f], truth[2][f + 1]):
            if not missed[g]:
                continue
            reason = UNSEEN
            for d in range(found[2][f], found[2][f + 1]):
                overlap = _overlap(which, pair, d, g, found, truth)
                full = overlap > minimum
                if full and not same[d] and scores[d] >= threshold:
                    reason = min(reason, CLASS)
                elif full and same[d] and scores[d] < threshold:
                    reason = min(reason, LOW_SCORE)
                elif same[d] and scores[d] >= threshold:
                    image = image_overlap(found[0][d], truth[0][g], False)
                    if overlap > NEAR_SPACE or image > NEAR_IMAGE:
                        reason = min(reason, LOCALISATION)
            counts[reason] += 1
    return counts


@njit
def why_wrong(
    which: int,
    minimum: float,
    truth: tuple[Array, Array, Array],
    found: tuple[Array, Array, Array],
    wrong: Array,
    same: Array,
    areas: Array,
) -> Array:
    """Counts (5,) of detections: DUPLICATE, OTHER_CLASS, MISPLACED, UNLABELLED, BACKGROUND.

    Args:
        which: BBOX, BEV or VOLUME.
        minimum: overlap that a match must exceed.
        truth: (M, 4) rectangles, (M, 7) boxes and (F + 1,) starts of all labels.
        found: likewise of all detections (N).
        wrong: (N,) bool, the detections to explain.
        same: (M,) bool, objects of the detections' class.
        areas: (M,) bool, DontCare.
    """
    counts = np.zeros(5, dtype=np.int64)
    pair = np.empty((2, 5))
    for f in range(len(truth[2]) - 1):
        for d in range(found[2][f], found[2][f + 1]):
            if not wrong[d]:
                continue
            reason = BACKGROUND
            for g in range(truth[2][f], truth[2][f + 1]):
                if areas[g]:
                    if image_overlap(found[0][d], truth[0][g], True) > NEAR_IMAGE:
                        reason = min(reason, UNLABELLED)
                    continue
                overlap = _overlap(which, pair, d, g, found, truth)
                if overlap > minimum:
                    reason = min(reason, DUPLICATE if same[g] else OTHER_CLASS)
                elif same[g]:
                    image = image_overlap(found[0][d], truth[0][g], False)
                    if overlap > NEAR_SPACE or image > NEAR_IMAGE:
                        reason = min(reason, MISPLACED)
            counts[reason] += 1
    return counts
