# SPDX-License-Identifier: Apache-2.0
"""2-D boxes of 3-D boxes in an image: hull of the projected corners, cut at the image border."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

_FIRST, _SECOND = np.array(list(combinations(range(8), 2))).T  # the 28 segments between corners


def image_boxes(
    corners: NDArray[np.float64], camera_matrix: NDArray[np.float64], width: int, height: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Smallest upright rectangles around what of each box's projection lies inside the image.

    Corners behind the camera are left out, as nuScenes' exporter of 2-D annotations does; the
    rectangle of a box that passes through the camera plane is therefore smaller than its true
    projection.

    Args:
        corners: (M, 8, 3) box corners in the camera frame, metres.
        camera_matrix: (3, 3) or (3, 4) or (4, 4), pixel from camera.
        width: Image width in pixels: the rectangle lies within 0..width.
        height: Image height in pixels.

    Returns:
        Rectangles (M, 4) float64 x1 y1 x2 y2, and (M,) whether a box is in the image at all (the
        rectangle of one that is not holds zeros).

    Source: nuscenes-devkit, export_2d_annotations_as_json: convex hull of the projected corners
        intersected with the image. Differs: the image's own size, not 1600 x 900.
    """
    size = np.array([width, height], dtype=np.float64)
    boxes = np.zeros((len(corners), 4))
    inside = np.zeros(len(corners), dtype=bool)
    front = corners[..., 2] > 0  # (M, 8)
    uv = _project(corners, camera_matrix, front)  # (M, 8, 2) NaN behind the camera
    low = np.where(front[..., None], uv, np.inf).min(axis=1)  # (M, 2)
    high = np.where(front[..., None], uv, -np.inf).max(axis=1)
    # Three corners span an area; fewer give a line or a point, which is no rectangle.
    near = (front.sum(axis=1) >= 3) & (low < size).all(axis=1) & (high > 0).all(axis=1)
    whole = near & (low >= 0).all(axis=1) & (high <= size).all(axis=1)
    boxes[whole] = np.concatenate([low, high], axis=1)[whole]
    inside[whole] = True
    for index in np.flatnonzero(near & ~whole):
        rectangle = _clipped_hull(uv[index], size)
        if rectangle is not None:
            boxes[index], inside[index] = rectangle, True
    return boxes, inside


def _project(
    corners: NDArray[np.float64], camera_matrix: NDArray[np.float64], front: NDArray[np.bool_]
) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[: camera_matrix.shape[0], : camera_matrix.shape[1]] = camera_matrix
    homogeneous = corners @ matrix[:3, :3].T + matrix[:3, 3]  # (M, 8, 3)
    depth = np.where(front, homogeneous[..., 2], np.nan)
    return homogeneous[..., :2] / depth[..., None]


def _clipped_hull(uv: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Bounds of (convex hull of the points) within the image: (4,), None when they miss.

    The bounds are reached at a projected corner inside the image or where the hull meets the
    border. On a border line the hull is the span between the extreme crossings of the segments
    between any two corners, so the hull itself need not be found.
    """
    points = uv[np.isfinite(uv[:, 0])]
    within = ((points >= 0) & (points <= size)).all(axis=1)
    found = [points[within]]
    for axis, line in ((0, 0.0), (0, size[0]), (1, 0.0), (1, size[1])):
        span = _span_on_line(uv, axis, line, size[1 - axis])
        if span is not None:
            ends = np.empty((2, 2))
            ends[:, axis], ends[:, 1 - axis] = line, span
            found.append(ends)
    everything = np.concatenate(found)
    if len(everything) < 2:
        return None
    low, high = everything.min(axis=0), everything.max(axis=0)
    return np.concatenate([low, high]) if (high > low).all() else None


def _span_on_line(
    uv: NDArray[np.float64], axis: int, line: float, extent: float
) -> tuple[float, float] | None:
    """Where the hull meets the border line ``coordinate[axis] == line``, cut to 0..extent."""
    first, second = uv[_FIRST], uv[_SECOND]  # (28, 2)
    a, b = first[:, axis] - line, second[:, axis] - line
    with np.errstate(invalid="ignore", divide="ignore"):
        crossing = np.isfinite(a) & np.isfinite(b) & (a * b <= 0) & (a != b)
        share = a / (a - b)
        other = first[:, 1 - axis] + share * (second[:, 1 - axis] - first[:, 1 - axis])
    if not crossing.any():
        return None
    low, high = max(other[crossing].min(), 0.0), min(other[crossing].max(), extent)
    return (float(low), float(high)) if low <= high else None
