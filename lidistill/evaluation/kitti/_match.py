# SPDX-License-Identifier: Apache-2.0
"""KITTI's matching of detections to objects, in numba: the inner loops of `kitti_ap`.

Only pairs of one frame that overlap enough to match (candidates) are kept; an object without one
takes part in nothing. The false positives above a score are counted from sorted scores: those that
exist, less those that objects took.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from lidistill.jit import njit
from lidistill.ops.boxes.rotated_iou import overlap_area

Array: TypeAlias = np.ndarray

COUNTS, IGNORED, OTHER = 0, 1, -1  # how an object or a detection takes part
SAMPLES = 41
BBOX, BEV, VOLUME = 0, 1, 2  # which overlap
NOTHING = -1.0e7  # below every score, as in the official program


@njit
def image_overlap(found: Array, truth: Array, over_found: bool) -> float:
    """Overlap of rectangles (x1, y1, x2, y2): over the union, or over ``found``'s area."""
    width = min(found[2], truth[2]) - max(found[0], truth[0])
    height = min(found[3], truth[3]) - max(found[1], truth[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area = (found[2] - found[0]) * (found[3] - found[1])
    if not over_found:
        area += (truth[2] - truth[0]) * (truth[3] - truth[1]) - shared
    return shared / area


@njit
def space_overlap(found: Array, truth: Array, with_height: bool, pair: Array) -> float:
    """Overlap over the union of boxes (x, y bottom, z, l, h, w, rotation_y), camera frame.

    On the ground plane, or with height as volumes; y points down. ``pair`` (2, 5) is for work.
    """
    for row, box in enumerate((found, truth)):
        pair[row, 0], pair[row, 1], pair[row, 2], pair[row, 3] = box[0], box[2], box[3], box[5]
        pair[row, 4] = -box[6]  # rotation_y turns from x towards -z
    shared = overlap_area(pair[0], pair[1])
    if shared <= 0:
        return 0.0
    size_d, size_g = found[3] * found[5], truth[3] * truth[5]
    if with_height:
        low = min(found[1], truth[1])
        high = max(found[1] - found[4], truth[1] - truth[4])
        shared *= max(0.0, low - high)
        size_d, size_g = size_d * found[4], size_g * truth[4]
    return shared / (size_d + size_g - shared)


@njit
def candidates(
    truth: Array, truth_starts: Array, found: Array, found_starts: Array, which: int, minimum: float
) -> tuple[Array, Array, Array]:
    """Pairs within frames that overlap by more than the minimum.

    Args:
        truth: (G, 4) rectangles for BBOX, else (G, 7) boxes.
        truth_starts: (F + 1,) first row of each frame.
        found: (D, 4 or 7).
        found_starts: (F + 1,).
        which: BBOX, BEV or VOLUME.
        minimum: overlap that a match must exceed.

    Returns:
        (G + 1,) where each object's pairs begin, (C,) row of the detection, (C,) overlap.
    """
    begins = np.zeros(len(truth) + 1, dtype=np.int64)
    rows, overlaps = np.empty(1024, dtype=np.int64), np.empty(1024)
    pair = np.empty((2, 5))
    count = 0
    for f in range(len(truth_starts) - 1):
        for g in range(truth_starts[f], truth_starts[f + 1]):
            for d in range(found_starts[f], found_starts[f + 1]):
                if which == BBOX:
                    overlap = image_overlap(found[d], truth[g], False)
                else:
                    overlap = space_overlap(found[d], truth[g], which == VOLUME, pair)
                if overlap <= minimum:
                    continue
                if count == len(rows):
                    rows = np.concatenate((rows, np.empty(count, dtype=np.int64)))
                    overlaps = np.concatenate((overlaps, np.empty(count)))
                rows[count], overlaps[count] = d, overlap
                count += 1
            begins[g + 1] = count
    return begins, rows[:count].copy(), overlaps[:count].copy()


@njit
def excused(
    found: Array, found_starts: Array, areas: Array, area_starts: Array, minimum: float
) -> Array:
    """(D,) whether a detection lies in a DontCare rectangle by more than the minimum."""
    out = np.zeros(len(found), dtype=np.bool_)
    for f in range(len(found_starts) - 1):
        for d in range(found_starts[f], found_starts[f + 1]):
            for a in range(area_starts[f], area_starts[f + 1]):
                if image_overlap(found[d], areas[a], True) > minimum:
                    out[d] = True
                    break
    return out


@njit
def true_positive_scores(
    pairs: tuple[Array, Array, Array], scores: Array, truth_role: Array, found_role: Array
) -> Array:
    """Scores of the detections that objects take when each takes its best-scored one."""
    begins, rows, _ = pairs
    taken = np.zeros(len(scores), dtype=np.bool_)
    matched = np.empty(len(truth_role))
    count = 0
    for g in range(len(truth_role)):
        if truth_role[g] == OTHER:
            continue
        best, best_score = -1, NOTHING
        for c in range(begins[g], begins[g + 1]):
            d = rows[c]
            if found_role[d] != OTHER and not taken[d] and scores[d] > best_score:
                best, best_score = d, scores[d]
        if best < 0:
            continue
        taken[best] = True
        if truth_role[g] == COUNTS and found_role[best] == COUNTS:
            matched[count] = best_score
            count += 1
    return matched[:count]


@njit
def thresholds(scores: Array, objects: int) -> Array:
    """Scores at which recall comes nearest to 0, 1/40, .. 1."""
    ordered = np.sort(scores)[::-1]
    found = np.empty(SAMPLES + 1)
    count, recall = 0, 0.0
    for index in range(len(ordered)):
        left = (index + 1) / objects
        last = index == len(ordered) - 1
        right = left if last else (index + 2) / objects
        if right - recall < recall - left and not last:
            continue
        found[count] = ordered[index]
        count += 1
        recall += 1 / (SAMPLES - 1)
    return found[:count].copy()


@njit
def _best(
    g: int,
    pairs: tuple[Array, Array, Array],
    scores: Array,
    found_role: Array,
    threshold: float,
    busy: Array,
    turn: int,
) -> int:
    """The detection that an object takes: the largest overlap among those that count, else any.

    A detection ``d`` is taken already where ``busy[d] == turn``. -1: there is none.
    """
    begins, rows, overlaps = pairs
    best, best_overlap, best_ignored = -1, 0.0, False
    for c in range(begins[g], begins[g + 1]):
        d = rows[c]
        if found_role[d] == OTHER or busy[d] == turn or scores[d] < threshold:
            continue
        if found_role[d] == COUNTS and (overlaps[c] > best_overlap or best_ignored):
            best, best_overlap, best_ignored = d, overlaps[c], False
        elif found_role[d] == IGNORED and best < 0:
            best, best_ignored = d, True
    return best


@njit
def assign(
    pairs: tuple[Array, Array, Array],
    scores: Array,
    truth_role: Array,
    found_role: Array,
    threshold: float,
) -> tuple[Array, Array]:
    """Which detection each object takes where only those of a score exist.

    Args:
        pairs: of :func:`candidates`.
        scores: (D,).
        truth_role: (G,) COUNTS, IGNORED or OTHER.
        found_role: (D,) likewise; IGNORED is taken only where nothing else is there.
        threshold: detections scored lower do not exist.

    Returns:
        (G,) the detection or -1, and (D,) whether a detection is taken.
    """
    match = np.full(len(truth_role), -1, dtype=np.int64)
    busy = np.zeros(len(scores), dtype=np.int64)
    for g in range(len(truth_role)):
        if truth_role[g] == OTHER:
            continue
        best = _best(g, pairs, scores, found_role, threshold, busy, 1)
        if best >= 0:
            match[g] = best
            busy[best] = 1
    return match, busy == 1


@njit
def curve(
    pairs: tuple[Array, Array, Array],
    scores: Array,
    truth_role: Array,
    found_role: Array,
    no_fault: Array,
    turns: tuple[Array, Array],
) -> tuple[Array, Array, Array, Array]:
    """Precision and orientation similarity at the sampled recalls, not yet interpolated.

    Args:
        pairs: of :func:`candidates`.
        scores: (D,).
        truth_role: (G,) COUNTS, IGNORED or OTHER.
        found_role: (D,) likewise.
        no_fault: (D,) a detection that is no false positive where nobody takes it.
        turns: observation angles of the objects (G,) and of the detections (D,), radians.

    Returns:
        precision (41,), similarity (41,), recall (41,), and the score of each sample (at most 41).
    """
    precision, similarity, recall = np.zeros(SAMPLES), np.zeros(SAMPLES), np.zeros(SAMPLES)
    begins = pairs[0]
    near = np.empty(len(truth_role), dtype=np.int64)  # objects that can take something
    objects, near_count = 0, 0
    for g in range(len(truth_role)):
        objects += truth_role[g] == COUNTS
        if truth_role[g] != OTHER and begins[g + 1] > begins[g]:
            near[near_count] = g
            near_count += 1
    levels = thresholds(
        true_positive_scores(pairs, scores, truth_role, found_role), max(objects, 1)
    )[:SAMPLES]
    wrong_if_free = (found_role == COUNTS) & ~no_fault
    ordered = np.sort(scores[wrong_if_free])
    busy = np.full(len(scores), -1, dtype=np.int64)
    for index in range(len(levels)):
        wrong = len(ordered) - np.searchsorted(ordered, levels[index])
        right, alike = 0, 0.0
        for n in range(near_count):
            g = near[n]
            best = _best(g, pairs, scores, found_role, levels[index], busy, index)
            if best < 0:
                continue
            busy[best] = index
            wrong -= wrong_if_free[best]
            if truth_role[g] == COUNTS and found_role[best] == COUNTS:
                right += 1
                alike += (1.0 + np.cos(turns[0][g] - turns[1][best])) / 2.0
        recall[index] = right / max(objects, 1)
        if right + wrong > 0:
            precision[index] = right / (right + wrong)
            similarity[index] = alike / (right + wrong)
    return precision, similarity, recall, levels
