# SPDX-License-Identifier: Apache-2.0
"""Whether numbers can be what they are said to be: rotations, transforms, cameras, boxes.

Each function returns what is wrong in words, or None. The reader of a file puts file, record and
key around it, for these functions know of no file.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_METRES = 1000.0  # from a sensor: no sensor sits, and no box stands, farther away
MAX_MAP_METRES = 1e8  # coordinates of a map may count from the centre of the Earth
MAX_BOX_METRES = 200.0  # longer than any train that a LiDAR sees whole
MAX_TURN = 4 * math.pi  # of a box, radians; degrees are larger
MAX_SPEED = 1e4  # metres a second; a bad detector's boxes may fly, but not so fast
MAX_CLOCK = 2**62  # nanoseconds of a century are less
MAX_PIXELS = 1e5  # focal lengths and principal points
ROTATION_TOLERANCE = 1e-3
_QUATERNION_TOLERANCE = 1e-2


def finite_fault(values: ArrayLike) -> str | None:
    """Whether all values are finite numbers; any shape."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return f"expected numbers, got {_short(values)}"
    bad = ~np.isfinite(array)
    if not bad.any():
        return None
    return f"expected finite numbers, got {array[bad].flat[0]}{_times(bad)}"


def rotation_fault(matrix: ArrayLike, tolerance: float = ROTATION_TOLERANCE) -> str | None:
    """Whether a (3, 3) matrix turns: orthonormal within the tolerance, determinant +1."""
    fault = _shape_fault(matrix, ((3, 3),), "a rotation")
    if fault:
        return fault
    array = np.asarray(matrix, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(array @ array.T - np.eye(3))
    where = np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off))), (3, 3))
    if not off[where] <= tolerance:
        row = array[where[0]].tolist()
        return (
            f"expected a rotation (orthonormal within {tolerance:g}), but its row {where[0] + 1}, "
            f"{_short(row)}, is {'not of length 1' if where[0] == where[1] else 'not square'}"
            f"{'' if where[0] == where[1] else f' to row {where[1] + 1}'}"
        )
    if np.linalg.det(array) < 0:
        return "expected a rotation (determinant +1), but this matrix mirrors (determinant -1)"
    return None


def transform_fault(matrix: ArrayLike, max_metres: float = MAX_METRES) -> str | None:
    """Whether a matrix moves rigidly: a rotation, a shift, and a last row of 0 0 0 1.

    Args:
        matrix: (4, 4) or (3, 4).
        max_metres: longest shift; ``math.inf`` for poses in a map.
    """
    fault = _shape_fault(matrix, ((4, 4), (3, 4)), "a transform")
    if fault:
        return fault
    array = np.asarray(matrix, dtype=np.float64)
    fault = rotation_fault(array[:3, :3])
    if fault:
        return fault
    if len(array) == 4 and not np.array_equal(array[3], [0, 0, 0, 1]):
        return f"expected a transform with the last row 0 0 0 1, got {_short(array[3].tolist())}"
    return shift_fault(array[:3, 3], max_metres)


def shift_fault(shift: ArrayLike, max_metres: float = MAX_METRES) -> str | None:
    """Whether each part of a shift (3,) is finite and at most ``max_metres``."""
    fault = _shape_fault(shift, ((3,),), "a translation")
    if fault:
        return fault
    array = np.asarray(shift, dtype=np.float64)
    far = int(np.abs(array).argmax())
    if abs(array[far]) <= max_metres:
        return None
    return f"expected a translation within {max_metres:g} m, got {_short(array.tolist())}"


def intrinsics_fault(matrix: ArrayLike) -> str | None:
    """Whether a matrix projects as a camera does.

    Focal lengths are positive, and the last row is 0 0 1. A fourth column (KITTI's ``P2``) is the
    camera's place times the matrix before it; the place is within a kilometre.

    Args:
        matrix: (3, 3), (3, 4) or (4, 4), pixel from camera.
    """
    fault = _shape_fault(matrix, ((3, 3), (3, 4), (4, 4)), "a camera matrix")
    if fault:
        return fault
    array = np.asarray(matrix, dtype=np.float64)
    fx, fy = array[0, 0], array[1, 1]
    if not (0 < fx <= MAX_PIXELS and 0 < fy <= MAX_PIXELS):
        return f"expected focal lengths in 0..{MAX_PIXELS:g} pixels, got {fx:g} and {fy:g}"
    # projections rely on the last row as it is
    if abs(array[1, 0]) > ROTATION_TOLERANCE or not np.array_equal(array[2, :3], (0, 0, 1)):
        return (
            "expected a camera matrix of the form f 0 c / 0 f c / 0 0 1, got the rows "
            f"{_short(array[:3, :3].tolist())}"
        )
    if max(abs(array[0, 1]), abs(array[0, 2]), abs(array[1, 2])) > MAX_PIXELS:
        return (
            f"expected skew and principal point within {MAX_PIXELS:g} pixels, got "
            f"{_short([array[0, 1], array[0, 2], array[1, 2]])}"
        )
    if array.shape[1] == 3:
        return None
    return shift_fault(np.linalg.solve(array[:3, :3], array[:3, 3]))


def quaternion_fault(q: ArrayLike) -> str | None:
    """Whether four numbers are a rotation (w, x, y, z): of length 1 within a hundredth."""
    fault = _shape_fault(q, ((4,),), "a quaternion (w, x, y, z)")
    if fault:
        return fault
    array = np.asarray(q, dtype=np.float64)
    length = float(np.linalg.norm(array))
    if abs(length - 1) <= _QUATERNION_TOLERANCE:
        return None
    return f"expected a quaternion of length 1, got {_short(array.tolist())} of length {length:g}"


def boxes_fault(boxes: ArrayLike, max_metres: float = MAX_METRES) -> str | None:
    """Whether boxes can be things in front of a sensor; names the first that cannot.

    Args:
        boxes: (M, 7 or more): a place, three sizes in metres, an angle. What follows, such as
            velocities, may be unknown (NaN).
        max_metres: farthest place from the origin along an axis; ``math.inf`` in a map.
    """
    try:
        array = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return f"expected boxes of numbers, got {_short(boxes)}"
    if array.size == 0:
        return None
    if array.ndim != 2 or array.shape[1] < 7:
        return f"expected boxes (M, 7 or more), got shape {array.shape}"
    for number, row in enumerate(array):
        fault = _box_fault(row, max_metres)
        if fault:
            return fault if len(array) == 1 else f"box {number}: {fault}"
    return None


def size_fault(size: ArrayLike) -> str | None:
    """Whether three sizes (3,) of a box are positive and below 200 m."""
    array = np.asarray(size, dtype=np.float64)
    if bool(((array > 0) & (array < MAX_BOX_METRES)).all()):
        return None
    return f"expected sizes above 0 and below {MAX_BOX_METRES:g} m, got {_short(array.tolist())}"


def _box_fault(row: NDArray[np.float64], max_metres: float) -> str | None:
    far = None if math.isinf(max_metres) else shift_fault(row[:3], max_metres)
    return finite_fault(row[:7]) or size_fault(row[3:6]) or far


def _shape_fault(values: ArrayLike, shapes: tuple[tuple[int, ...], ...], what: str) -> str | None:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return f"expected {what}, got {_short(values)}"
    if array.shape not in shapes:
        wanted = " or ".join(" x ".join(map(str, shape)) for shape in shapes)
        return f"expected {what} of {wanted} numbers, got {array.size} in shape {array.shape}"
    return finite_fault(array)


def _times(bad: NDArray[np.bool_]) -> str:
    count = int(bad.sum())
    return f" ({count} of {bad.size} values)" if bad.size > 1 else ""


def _short(values: object, limit: int = 120) -> str:
    text = repr(values)
    return text if len(text) <= limit else f"{text[:limit]}..."
