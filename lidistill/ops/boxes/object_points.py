# SPDX-License-Identifier: Apache-2.0
"""Points of objects: found for all boxes in one pass over a cloud, and put back into another.

A point on a face is inside (``|q| <= half`` on all three axes, in double precision), as in
nuScenes' devkit. Boxes are rotated freely, not about z alone. Points with NaN or infinity, and
boxes with a negative side or such numbers, hold nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.jit import njit

MILLIMETRE = 1e-3
_CELLS = 256  # of the table of boxes, on each side
_SLACK = 1e-6  # by which a box's outline is widened before the exact test


@dataclass(frozen=True)
class BoxPoints:
    """The points of some boxes, box by box, each in the cloud's order.

    Attributes:
        offsets: (M + 1,) int64; box m owns rows ``offsets[m]:offsets[m + 1]`` of the others.
        rows: (K,) int64 row of each point in the cloud; a point in two boxes is there twice.
        xyz: (K, 3) float64 metres in the frame of the box's object.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]
    xyz: NDArray[np.float64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(M,) points in each box."""
        return np.diff(self.offsets)


def points_by_box(
    points: NDArray,
    box_from_sensor: NDArray,
    half_sizes: NDArray,
    ground_margin: float = 0.0,
    object_from_sensor: NDArray | None = None,
) -> BoxPoints:
    """Points inside each box; one pass over the cloud, whatever the number of boxes.

    Args:
        points: (N, 3+) x, y, z in the sensor's frame, float32 or float64.
        box_from_sensor: (M, 4, 4) float64, one composed transform a box.
        half_sizes: (M, 3) half length, half width, half height along the box's axes.
        ground_margin: metres above the bottom face that do not count, to leave the ground out.
        object_from_sensor: (M, 4, 4) in which frame to give the points; None = the box's.

    Raises:
        ValueError: arrays of other shapes.
    """
    boxes = np.ascontiguousarray(box_from_sensor, dtype=np.float64)
    half = np.array(half_sizes, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(f"expected points (N, 3 or more), got {points.shape}")
    if boxes.shape != (len(half), 4, 4) or half.shape != (len(boxes), 3):
        raise ValueError(
            f"expected box_from_sensor (M, 4, 4) and half_sizes (M, 3), got {boxes.shape} and "
            f"{half.shape}"
        )
    if object_from_sensor is not None and np.shape(object_from_sensor) != boxes.shape:
        raise ValueError(
            f"expected object_from_sensor {boxes.shape}, got {np.shape(object_from_sensor)}"
        )
    if len(half) == 0 or len(points) == 0:
        nothing = np.zeros(len(half) + 1, dtype=np.int64)
        return BoxPoints(nothing, nothing[:0], np.zeros((0, 3)))
    finite = np.isfinite(boxes).all(axis=(1, 2)) & np.isfinite(half).all(axis=1)
    half[~(finite & (half >= 0).all(axis=1))] = -1.0
    frames = boxes if object_from_sensor is None else np.asarray(object_from_sensor, np.float64)
    outline = _outlines(boxes, half)
    table = _box_table(outline, half[:, 0] >= 0)
    offsets, rows, xyz = _collect(
        points, boxes, half, ground_margin, np.ascontiguousarray(frames), *table
    )
    return BoxPoints(offsets, rows, xyz)


def membership(found: BoxPoints, count: int) -> NDArray[np.bool_]:
    """Which of a cloud's points lie in any box.

    Args:
        found: of that cloud.
        count: N, its points.

    Returns:
        (N,) bool.
    """
    inside = np.zeros(count, dtype=np.bool_)
    inside[found.rows] = True
    return inside


def paste_objects(
    xyz: NDArray,
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    sensor_from_object: NDArray,
    unit: float,
    out: NDArray[np.float32],
    values: Sequence[tuple[int, NDArray, float]] = (),
) -> None:
    """Write clouds of objects, moved to the sensor's frame, one behind the other.

    Args:
        xyz: (K, 3) all clouds, each in its object's frame: int16 or floating.
        starts: (P,) first row of each cloud to write.
        counts: (P,) its rows.
        sensor_from_object: (P, 4, 4) float64.
        unit: metres of one number of ``xyz``.
        out: (sum of counts, 3+) float32; columns that nothing is given for become 0.
        values: (column of ``out``, (K,) numbers, their unit) of further columns.
    """
    total = int(counts.sum())
    if len(out) != total:
        raise ValueError(f"expected room for {total} points, got {len(out)}")
    _paste(xyz, starts, counts, np.ascontiguousarray(sensor_from_object, np.float64), unit, out)
    given = {column: (numbers, step) for column, numbers, step in values}
    for column in range(3, out.shape[1]):
        if column in given:
            numbers, step = given[column]
            _paste_values(numbers, starts, counts, np.float32(step), column, out)
        else:
            out[:, column] = 0.0


def _outlines(boxes: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 4) x0, y0, x1, y1 of the boxes, seen from above in the sensor's frame."""
    rotation = boxes[:, :3, :3].transpose(0, 2, 1)  # sensor_from_box
    centres = -np.einsum("mij,mj->mi", rotation, boxes[:, :3, 3])
    reach = np.einsum("mij,mj->mi", np.abs(rotation), np.abs(half))
    reach += _SLACK * (1.0 + np.abs(centres))
    return np.concatenate([(centres - reach)[:, :2], (centres + reach)[:, :2]], axis=1)


def _box_table(
    outline: NDArray[np.float64], real: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Which boxes may reach into each cell of a coarse grid over all of them."""
    if not real.any():
        return np.zeros(2, np.int64), np.zeros(0, np.int64), np.zeros(3), np.zeros(2, np.int64)
    low, high = outline[real, :2].min(axis=0), outline[real, 2:].max(axis=0)
    side = max(0.5, float((high - low).max()) / _CELLS)
    shape = np.floor((high - low) / side).astype(np.int64) + 1
    starts, boxes = _fill_table(outline, real, low, side, shape)
    return starts, boxes, np.array([low[0], low[1], 1.0 / side]), shape


@njit
def _fill_table(outline, real, low, side, shape):  # type: ignore[no-untyped-def]
    counts = np.zeros(shape[0] * shape[1] + 1, np.int64)
    boxes = np.zeros(0, np.int64)
    for turn in range(2):
        for m in range(len(outline)):
            if not real[m]:
                continue
            x0 = max(0, int(np.floor((outline[m, 0] - low[0]) / side)))
            y0 = max(0, int(np.floor((outline[m, 1] - low[1]) / side)))
            x1 = min(shape[0] - 1, int(np.floor((outline[m, 2] - low[0]) / side)))
            y1 = min(shape[1] - 1, int(np.floor((outline[m, 3] - low[1]) / side)))
            for x in range(x0, x1 + 1):
                for y in range(y0, y1 + 1):
                    cell = x * shape[1] + y
                    if turn == 1:
                        boxes[counts[cell]] = m
                    counts[cell] += 1
        if turn == 0:
            total = np.int64(0)
            for cell in range(len(counts)):
                here = counts[cell]
                counts[cell] = total
                total += here
            boxes = np.empty(total, np.int64)
    starts = np.zeros(len(counts), np.int64)  # the second turn moved each start to its end
    starts[1:] = counts[:-1]
    return starts, boxes


@njit
def _collect(points, boxes, half, margin, frames, starts, table, origin, shape):  # type: ignore[no-untyped-def]
    capacity = max(1024, len(points) // 4)
    of_box = np.empty(capacity, np.int64)
    of_row = np.empty(capacity, np.int64)
    offsets = np.zeros(len(boxes) + 1, np.int64)
    count = 0
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        u, v = (x - origin[0]) * origin[2], (y - origin[1]) * origin[2]
        # NaN fails every comparison
        if not (0.0 <= u < shape[0] and 0.0 <= v < shape[1] and abs(z) < np.inf):
            continue
        cell = int(u) * shape[1] + int(v)
        for k in range(starts[cell], starts[cell + 1]):
            m = table[k]
            t = boxes[m]
            qx = t[0, 0] * x + t[0, 1] * y + t[0, 2] * z + t[0, 3]
            if not abs(qx) <= half[m, 0]:
                continue
            qy = t[1, 0] * x + t[1, 1] * y + t[1, 2] * z + t[1, 3]
            if not abs(qy) <= half[m, 1]:
                continue
            qz = t[2, 0] * x + t[2, 1] * y + t[2, 2] * z + t[2, 3]
            if not (qz <= half[m, 2] and qz >= margin - half[m, 2]):
                continue
            if count == capacity:
                capacity *= 2
                longer = np.empty(capacity, np.int64)
                longer[:count] = of_box
                of_box = longer
                longer = np.empty(capacity, np.int64)
                longer[:count] = of_row
                of_row = longer
            of_box[count], of_row[count] = m, i
            offsets[m + 1] += 1
            count += 1
    for m in range(len(boxes)):
        offsets[m + 1] += offsets[m]
    place = offsets[:-1].copy()
    rows = np.empty(count, np.int64)
    xyz = np.empty((count, 3), np.float64)
    for k in range(count):
        m, i = of_box[k], of_row[k]
        at = place[m]
        place[m] += 1
        rows[at] = i
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        for axis in range(3):
            t = frames[m, axis]
            xyz[at, axis] = t[0] * x + t[1] * y + t[2] * z + t[3]
    return offsets, rows, xyz


@njit
def _paste(xyz, starts, counts, frames, unit, out):  # type: ignore[no-untyped-def]
    at = 0
    for p in range(len(starts)):
        t = frames[p]
        for k in range(starts[p], starts[p] + counts[p]):
            x = np.float64(xyz[k, 0]) * unit
            y = np.float64(xyz[k, 1]) * unit
            z = np.float64(xyz[k, 2]) * unit
            for axis in range(3):
                out[at, axis] = t[axis, 0] * x + t[axis, 1] * y + t[axis, 2] * z + t[axis, 3]
            at += 1


@njit
def _paste_values(numbers, starts, counts, step, column, out):  # type: ignore[no-untyped-def]
    at = 0
    for p in range(len(starts)):
        for k in range(starts[p], starts[p] + counts[p]):
            out[at, column] = np.float32(numbers[k]) * step
            at += 1
