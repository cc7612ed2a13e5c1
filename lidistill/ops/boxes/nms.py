# SPDX-License-Identifier: Apache-2.0
"""Non-maximum suppression: keep the best box, drop what overlaps it, go on with the next.

Axis-aligned boxes are ``x1, y1, x2, y2``; rotated ones ``x, y, w, h, angle`` in radians. Boxes may
lie on any device; the loop runs on the CPU. Overlaps of axis-aligned boxes are computed in float32,
those of rotated boxes in float64 and then rounded to float32, so thresholds decide as in mmcv.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lidistill.jit import njit
from lidistill.ops.boxes.rotated_iou import Array, overlap_area

SOFT_METHODS = {"naive": 0, "linear": 1, "gaussian": 2}
SMALLEST_UNION = 1e-8  # m2; mmcv's guard in its 3D variants against division by zero


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Suppress axis-aligned boxes that overlap a better one by more than ``iou_threshold``.

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: boxes with an IoU above are dropped.
        offset: 0, or 1 where x2, y2 are the last pixels inside.

    Returns:
        (K,) int64 kept rows, best first.
    """
    _check_boxes(boxes, scores, 4)
    order = _best_first(scores)
    corners = _as_float32(boxes[:, :4])[order]
    kept = _suppress_boxes(corners, np.float32(iou_threshold), np.float32(offset))
    return torch.from_numpy(order[kept]).to(boxes.device)


def nms_match(boxes: Tensor, scores: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group each kept box with those that it suppresses (IoU at or above the threshold).

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: boxes at or above are grouped.

    Returns:
        Groups of rows, each led by the kept box, best first.
    """
    _check_boxes(boxes, scores, 4)
    order = _best_first(scores)
    corners = _as_float32(boxes[:, :4])[order]
    winner = _winners(corners, np.float32(iou_threshold))
    groups: dict[int, list[int]] = {}
    for place, won_by in enumerate(winner):
        groups.setdefault(int(won_by), []).append(int(order[place]))
    return list(groups.values())


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    method: str = "linear",
    offset: int = 0,
) -> tuple[Tensor, Tensor]:
    """Lower the scores of overlapping boxes instead of dropping them at once.

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: overlap from which ``naive`` drops and ``linear`` lowers.
        sigma: width of ``gaussian``.
        min_score: boxes whose score falls below are dropped.
        method: ``naive``, ``linear`` or ``gaussian``.
        offset: 0, or 1 where x2, y2 are the last pixels inside.

    Returns:
        (K, 5) float32 boxes with their new scores, best first, and (K,) int64 rows.

    Source: Bodla et al., "Soft-NMS: improving object detection with one line of code", ICCV 2017,
    equation 3.
    """
    _check_boxes(boxes, scores, 4)
    if method not in SOFT_METHODS:
        raise ValueError(f"expected method in {sorted(SOFT_METHODS)}, got {method!r}")
    scored = np.concatenate([_as_float32(boxes[:, :4]), _as_float32(scores)[:, None]], axis=1)
    rows = np.arange(len(scored))
    kept = _soft_suppress(
        scored,
        rows,
        np.float32(iou_threshold),
        np.float32(sigma),
        np.float32(min_score),
        SOFT_METHODS[method],
        np.float32(offset),
    )
    device = boxes.device
    return torch.from_numpy(scored[:kept]).to(device), torch.from_numpy(rows[:kept]).to(device)


def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Suppress rotated boxes that overlap a better one by ``iou_threshold`` or more.

    Args:
        boxes: (N, 5+) x, y, w, h, angle in radians; more columns are ignored.
        scores: (N,).
        iou_threshold: boxes with an IoU at or above are dropped.

    Returns:
        (K,) int64 kept rows, best first.
    """
    _check_boxes(boxes, scores, 5)
    order = _best_first(scores)
    rectangles = boxes[:, :5].detach().cpu().double().numpy()[order]
    kept = _suppress_rotated(rectangles, np.float32(iou_threshold), True, 0.0)
    return torch.from_numpy(order[kept]).to(boxes.device)


def nms_sorted_bev(rectangles: Tensor, iou_threshold: float, rotated: bool = True) -> Tensor:
    """Suppress footprints, sorted by score, that overlap a better one by more than the threshold.

    Args:
        rectangles: (N, 5) x, y, l, w in metres, yaw in radians, best first.
        iou_threshold: footprints with an IoU above are dropped.
        rotated: False compares the footprints with their yaw set to 0.

    Returns:
        (K,) int64 kept places in the sorted list, on the CPU.
    """
    if rectangles.ndim != 2 or rectangles.shape[1] != 5:
        raise ValueError(f"expected rectangles (N, 5), got {tuple(rectangles.shape)}")
    footprints = rectangles.detach().cpu().double().numpy().copy()
    if not rotated:
        footprints[:, 4] = 0.0
    kept = _suppress_rotated(footprints, np.float32(iou_threshold), False, SMALLEST_UNION)
    return torch.from_numpy(kept)


def _check_boxes(boxes: Tensor, scores: Tensor, columns: int) -> None:
    if boxes.ndim != 2 or boxes.shape[1] < columns or scores.shape != boxes.shape[:1]:
        raise ValueError(
            f"expected boxes (N, {columns}+) and scores (N,), got {tuple(boxes.shape)} and "
            f"{tuple(scores.shape)}"
        )


def _best_first(scores: Tensor) -> np.ndarray:
    # Not stable, so that equal scores come in the order that mmcv's own call gives them.
    return torch.sort(scores.detach(), descending=True)[1].cpu().numpy()


def _as_float32(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()


@njit(inline="always", error_model="numpy")
def _box_iou(first: Array, second: Array, offset: np.float32) -> np.float32:
    """IoU of two ``x1, y1, x2, y2`` in float32, each step rounded as mmcv's kernel rounds it."""
    zero = np.float32(0)
    width = max(zero, min(first[2], second[2]) - max(first[0], second[0]) + offset)
    height = max(zero, min(first[3], second[3]) - max(first[1], second[1]) + offset)
    shared = width * height
    area1 = (first[2] - first[0] + offset) * (first[3] - first[1] + offset)
    area2 = (second[2] - second[0] + offset) * (second[3] - second[1] + offset)
    union = area1 + area2 - shared
    return shared / union  # NaN for two boxes without area: no comparison holds, both are kept


@njit(error_model="numpy")
def _suppress_boxes(boxes: Array, threshold: np.float32, offset: np.float32) -> Array:
    dropped = np.zeros(len(boxes), dtype=np.bool_)
    kept = np.empty(len(boxes), dtype=np.int64)
    count = 0
    for best in range(len(boxes)):
        if dropped[best]:
            continue
        kept[count] = best
        count += 1
        for other in range(best + 1, len(boxes)):
            if not dropped[other]:
                dropped[other] = _box_iou(boxes[best], boxes[other], offset) > threshold
    return kept[:count]


@njit(error_model="numpy")
def _winners(boxes: Array, threshold: np.float32) -> Array:
    """For each box, sorted by score, the place of the kept box that suppresses it (or its own)."""
    winner = np.full(len(boxes), -1, dtype=np.int64)
    for best in range(len(boxes)):
        if winner[best] >= 0:
            continue
        winner[best] = best
        for other in range(best + 1, len(boxes)):
            if (
                winner[other] < 0
                and _box_iou(boxes[best], boxes[other], np.float32(0)) >= threshold
            ):
                winner[other] = best
    return winner


@njit
def _suppress_rotated(
    rectangles: Array, threshold: np.float32, inclusive: bool, smallest_union: float
) -> Array:
    dropped = np.zeros(len(rectangles), dtype=np.bool_)
    kept = np.empty(len(rectangles), dtype=np.int64)
    count = 0
    for best in range(len(rectangles)):
        if dropped[best]:
            continue
        kept[count] = best
        count += 1
        area = rectangles[best, 2] * rectangles[best, 3]
        for other in range(best + 1, len(rectangles)):
            if dropped[other]:
                continue
            shared = overlap_area(rectangles[best], rectangles[other])
            union = area + rectangles[other, 2] * rectangles[other, 3] - shared
            overlap = np.float32(0.0)
            if shared > 0:
                overlap = np.float32(shared / max(union, smallest_union))
            dropped[other] = overlap > threshold or (inclusive and overlap == threshold)
    return kept[:count]


@njit(error_model="numpy")
def _soft_suppress(
    scored: Array,
    rows: Array,
    threshold: np.float32,
    sigma: np.float32,
    min_score: np.float32,
    method: int,
    offset: np.float32,
) -> int:
    """Sort and lower ``scored`` (N, 5) and ``rows`` (N,) in place; returns how many are kept."""
    count = len(scored)
    best = 0
    while best < count:
        top = best
        for other in range(best + 1, count):  # not argmax, which would put a NaN first
            if scored[other, 4] > scored[top, 4]:
                top = other
        for column in range(5):
            swap = scored[best, column]
            scored[best, column] = scored[top, column]
            scored[top, column] = swap
        rows[best], rows[top] = rows[top], rows[best]
        other = best + 1
        while other < count:
            overlap = _box_iou(scored[best], scored[other], offset)
            weight = np.float32(1)
            if method == 2:
                weight = np.float32(np.exp(-(overlap * overlap) / sigma))
            elif overlap >= threshold:
                weight = np.float32(0) if method == 0 else np.float32(1) - overlap
            scored[other, 4] *= weight
            if scored[other, 4] < min_score:  # drop: the last one takes its place, look at it next
                count -= 1
                scored[other] = scored[count]
                rows[other] = rows[count]
            else:
                other += 1
        best += 1
    return count
