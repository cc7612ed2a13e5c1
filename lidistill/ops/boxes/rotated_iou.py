# SPDX-License-Identifier: Apache-2.0
"""Overlap of rotated rectangles, in float64: exact for identical, touching and contained boxes.

A rectangle is ``(x, y, w, h, angle)``: centre, size along its own axes, and the angle in radians
from the frame's first axis towards its second. One rectangle is clipped by the four sides of the
other (Sutherland and Hodgman, "Reentrant polygon clipping", 1974); a clip moves corners only along
sides, so rounding moves the area by rounding only. mmcv sorts candidate corners in float32 instead.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from lidistill.jit import njit

Array: TypeAlias = np.ndarray

MODES = ("iou", "iof")
SMALLEST_AREA = 1e-14  # m2; boxes below have no overlap with anything, as in mmcv


def rotated_iou(boxes1: Tensor, boxes2: Tensor, mode: str = "iou", aligned: bool = False) -> Tensor:
    """Intersection over union of rotated rectangles.

    Args:
        boxes1: (N, 5+) x, y, w, h in metres, angle in radians; more columns are ignored.
        boxes2: (M, 5+) likewise, in the same frame.
        mode: ``iou``: over the union; ``iof``: over the area of the box of ``boxes1``.
        aligned: compare row i with row i only; needs N = M.

    Returns:
        (N, M), or (N,) if aligned, of ``boxes1``'s dtype and device; 0 for boxes without area.

    Raises:
        ValueError: for an unknown mode or shapes that do not fit.
    """
    if mode not in MODES:
        raise ValueError(f"expected mode in {MODES}, got {mode!r}")
    overlap = rotated_overlap(boxes1, boxes2, aligned=aligned).double()
    area1 = _area(boxes1)
    area2 = _area(boxes2)
    if not aligned:
        area1, area2 = area1[:, None], area2[None, :]
    base = area1 + area2 - overlap if mode == "iou" else area1.expand_as(overlap)
    base = torch.where(overlap > 0, base, torch.ones_like(base))
    return (overlap / base).to(boxes1.dtype)


def rotated_overlap(boxes1: Tensor, boxes2: Tensor, aligned: bool = False) -> Tensor:
    """Area of the intersection of rotated rectangles.

    Args:
        boxes1: (N, 5+) x, y, w, h in metres, angle in radians.
        boxes2: (M, 5+) likewise, in the same frame.
        aligned: compare row i with row i only; needs N = M.

    Returns:
        (N, M), or (N,) if aligned, float64 m2 on ``boxes1``'s device.
    """
    for name, boxes in (("boxes1", boxes1), ("boxes2", boxes2)):
        if boxes.ndim != 2 or boxes.shape[1] < 5:
            raise ValueError(f"expected {name} (N, 5): x, y, w, h, angle; got {tuple(boxes.shape)}")
    if aligned and len(boxes1) != len(boxes2):
        raise ValueError(
            f"expected as many boxes on both sides when aligned, got {len(boxes1)} and "
            f"{len(boxes2)}; pass aligned=False for all pairs"
        )
    rectangles1 = boxes1[:, :5].detach().cpu().double().numpy()
    rectangles2 = boxes2[:, :5].detach().cpu().double().numpy()
    kernel = _overlap_rows if aligned else _overlap_pairs
    return torch.from_numpy(kernel(rectangles1, rectangles2)).to(boxes1.device)


def bev_rectangles(boxes: Tensor) -> Tensor:
    """Footprints (N, 5) ``x, y, l, w, yaw`` of boxes (N, 7+) ``x, y, z, l, w, h, yaw``."""
    return boxes[:, [0, 1, 3, 4, 6]]


def _area(boxes: Tensor) -> Tensor:
    return boxes[:, 2].detach().double() * boxes[:, 3].detach().double()


@njit
def overlap_area(first: Array, second: Array) -> float:
    """Area shared by two rectangles, each (5,) float64 ``x, y, w, h, angle``; for numba callers."""
    if not (first[2] * first[3] >= SMALLEST_AREA and second[2] * second[3] >= SMALLEST_AREA):
        return 0.0
    dx, dy = first[0] - second[0], first[1] - second[1]
    # Apart if the centres are farther than both radii; (r1 + r2)^2 <= 2 (r1^2 + r2^2) saves roots.
    diagonals = first[2] ** 2 + first[3] ** 2 + second[2] ** 2 + second[3] ** 2
    if 2.0 * (dx * dx + dy * dy) > diagonals:
        return 0.0

    # Corners of the first box in the frame of the second, where its sides are |x| = w/2, |y| = h/2.
    cos2, sin2 = np.cos(second[4]), np.sin(second[4])
    centre_x, centre_y = cos2 * dx + sin2 * dy, cos2 * dy - sin2 * dx
    turn = first[4] - second[4]
    along_x, along_y = np.cos(turn) * first[2] / 2, np.sin(turn) * first[2] / 2
    across_x, across_y = -np.sin(turn) * first[3] / 2, np.cos(turn) * first[3] / 2
    corners = np.empty((2, 20, 2))  # a side adds at most half the corners: 4, 6, 9, 13, 19
    for corner in range(4):
        along = 1.0 if corner in (0, 3) else -1.0
        across = 1.0 if corner < 2 else -1.0
        corners[0, corner, 0] = centre_x + along * along_x + across * across_x
        corners[0, corner, 1] = centre_y + along * along_y + across * across_y

    count, current = 4, 0
    for side in range(4):
        axis = side % 2
        sign = 1.0 if side < 2 else -1.0
        count = _clip(
            corners[current], count, axis, sign, abs(second[2 + axis]) / 2, corners[1 - current]
        )
        current = 1 - current
        if count < 3:
            return 0.0
    return _polygon_area(corners[current], count)


@njit
def _clip(polygon: Array, count: int, axis: int, sign: float, limit: float, out: Array) -> int:
    """Keep what satisfies ``sign * coordinate[axis] <= limit``; returns the number of corners."""
    kept = 0
    for corner in range(count):
        after = (corner + 1) % count
        here = limit - sign * polygon[corner, axis]  # signed distance to the side, inside >= 0
        there = limit - sign * polygon[after, axis]
        if here >= 0:
            out[kept, 0], out[kept, 1] = polygon[corner, 0], polygon[corner, 1]
            kept += 1
        if (here > 0 and there < 0) or (here < 0 and there > 0):
            part = here / (here - there)
            out[kept, 0] = polygon[corner, 0] + part * (polygon[after, 0] - polygon[corner, 0])
            out[kept, 1] = polygon[corner, 1] + part * (polygon[after, 1] - polygon[corner, 1])
            kept += 1
    return kept


@njit
def _polygon_area(polygon: Array, count: int) -> float:
    doubled = 0.0
    for corner in range(1, count - 1):
        ax, ay = polygon[corner, 0] - polygon[0, 0], polygon[corner, 1] - polygon[0, 1]
        bx, by = polygon[corner + 1, 0] - polygon[0, 0], polygon[corner + 1, 1] - polygon[0, 1]
        doubled += ax * by - ay * bx
    return abs(doubled) / 2


@njit
def _overlap_pairs(rectangles1: Array, rectangles2: Array) -> Array:
    overlap = np.empty((len(rectangles1), len(rectangles2)))
    for row in range(len(rectangles1)):
        for column in range(len(rectangles2)):
            overlap[row, column] = overlap_area(rectangles1[row], rectangles2[column])
    return overlap


@njit
def _overlap_rows(rectangles1: Array, rectangles2: Array) -> Array:
    overlap = np.empty(len(rectangles1))
    for row in range(len(rectangles1)):
        overlap[row] = overlap_area(rectangles1[row], rectangles2[row])
    return overlap
