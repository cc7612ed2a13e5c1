# SPDX-License-Identifier: Apache-2.0
"""Upright boxes ``(x, y, z, l, w, h, yaw[, vx, vy])``: corners, membership, changes of frame.

The origin is the box centre unless a name says ``bottom``. Length runs along the heading, yaw turns
from x towards y about z, in radians.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.frames import apply_transform
from lidistill.jit import njit

# (length, width, height) signs: front-left, rear-left, rear-right, front-right, bottom then top.
CORNER_SIGNS = np.array(
    [(+1, +1), (-1, +1), (-1, -1), (+1, -1)] * 2, dtype=np.float64
)  # (8, 2), the height sign is -1 for the first four and +1 for the others


def wrap_angle(angle: NDArray | float) -> NDArray[np.float64]:
    """Angles moved into [-pi, pi) by whole turns."""
    return np.asarray((np.asarray(angle, dtype=np.float64) + np.pi) % (2 * np.pi) - np.pi)


def yaw_of_rotation(rotation: NDArray) -> NDArray[np.float64]:
    """Heading of a rotated body: angle of its x axis in the horizontal plane.

    Args:
        rotation: (..., 3, 3) ``frame_from_body``.

    Returns:
        (...) radians in (-pi, pi].
    """
    matrix = np.asarray(rotation, dtype=np.float64)
    return np.asarray(np.arctan2(matrix[..., 1, 0], matrix[..., 0, 0]))


def boxes_to_corners(boxes: NDArray) -> NDArray[np.float64]:
    """Corners of boxes.

    Args:
        boxes: (M, 7+) centre origin.

    Returns:
        (M, 8, 3): bottom face front-left, rear-left, rear-right, front-right, then the top face.
    """
    array = _check_boxes(boxes)
    half = array[:, None, 3:6] / 2
    along, across = (CORNER_SIGNS[:, 0] * half[..., 0], CORNER_SIGNS[:, 1] * half[..., 1])
    up = np.repeat([-1.0, 1.0], 4) * half[..., 2]  # (M, 8)
    cos, sin = np.cos(array[:, 6:7]), np.sin(array[:, 6:7])
    corners = np.stack([cos * along - sin * across, sin * along + cos * across, up], axis=-1)
    return np.asarray(corners + array[:, None, :3])


def points_in_boxes(xyz: NDArray, boxes: NDArray) -> NDArray[np.bool_]:
    """Which points lie in which boxes; a point on a face is inside.

    Args:
        xyz: (N, 3+) metres; further columns are ignored.
        boxes: (M, 7+) centre origin, same frame. A box with a negative side holds nothing.

    Returns:
        (N, M) bool.
    """
    array = _check_boxes(boxes)
    if xyz.ndim != 2 or xyz.shape[1] < 3:
        raise ValueError(f"expected xyz (N, 3 or more), got shape {xyz.shape}")
    mask = np.zeros((len(array), len(xyz)), dtype=np.bool_)
    _fill_membership(xyz, array, mask)
    return mask.T


def transform_boxes(target_from_source: NDArray, boxes: NDArray) -> NDArray[np.float64]:
    """Boxes moved to another frame whose z axis is (nearly) parallel.

    Centres move exactly. Heading and velocity are turned by the rotation and projected onto the
    horizontal plane, because a box has no pitch or roll.

    Args:
        target_from_source: (4, 4) rigid, may mirror.
        boxes: (M, 7) or (M, 9) centre origin.

    Returns:
        Boxes of the same shape, float64, yaw in [-pi, pi).
    """
    array = _check_boxes(boxes)
    rotation = np.asarray(target_from_source, dtype=np.float64)[:3, :3]
    moved = array.copy()
    moved[:, :3] = apply_transform(target_from_source, array[:, :3])
    heading = np.stack([np.cos(array[:, 6]), np.sin(array[:, 6])], axis=1) @ rotation[:2, :2].T
    moved[:, 6] = wrap_angle(np.arctan2(heading[:, 1], heading[:, 0]))
    if array.shape[1] >= 9:
        moved[:, 7:9] = array[:, 7:9] @ rotation[:2, :2].T
    return moved


def bottom_to_center(boxes: NDArray) -> NDArray[np.float64]:
    """Boxes whose z is the bottom face, with z moved up to the centre."""
    array = _check_boxes(boxes).copy()
    array[:, 2] += array[:, 5] / 2
    return array


def center_to_bottom(boxes: NDArray) -> NDArray[np.float64]:
    """Boxes whose z is the centre, with z moved down to the bottom face."""
    array = _check_boxes(boxes).copy()
    array[:, 2] -= array[:, 5] / 2
    return array


def kitti_to_lidar_boxes(labels: NDArray, lidar_from_camera: NDArray) -> NDArray[np.float64]:
    """KITTI labels as boxes in the LiDAR frame.

    Args:
        labels: (M, 7) (h, w, l, x, y, z, rotation_y) in file order: rectified camera frame, the
            location is the centre of the bottom face, rotation_y turns from x towards -z.
        lidar_from_camera: (4, 4) from the rectified camera to the LiDAR frame.

    Returns:
        (M, 7) float64 boxes, centre origin, ``yaw = -rotation_y - pi / 2``.
    """
    array = np.asarray(labels, dtype=np.float64).reshape(-1, 7)
    boxes = np.empty_like(array)
    boxes[:, :3] = apply_transform(lidar_from_camera, array[:, 3:6])
    boxes[:, 3:6] = array[:, [2, 1, 0]]
    boxes[:, 6] = wrap_angle(-array[:, 6] - np.pi / 2)
    return bottom_to_center(boxes)


def lidar_to_kitti_boxes(boxes: NDArray, camera_from_lidar: NDArray) -> NDArray[np.float64]:
    """Inverse of `kitti_to_lidar_boxes`: (M, 7) (h, w, l, x, y, z, rotation_y)."""
    array = center_to_bottom(boxes)
    labels = np.empty((len(array), 7))
    labels[:, 3:6] = apply_transform(camera_from_lidar, array[:, :3])
    labels[:, :3] = array[:, [5, 4, 3]]
    labels[:, 6] = wrap_angle(-array[:, 6] - np.pi / 2)
    return labels


def _check_boxes(boxes: NDArray) -> NDArray[np.float64]:
    array = np.asarray(boxes, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] < 7:
        raise ValueError(f"expected boxes (M, 7 or more), got shape {array.shape}")
    return array


@njit
def _fill_membership(xyz, boxes, mask):  # type: ignore[no-untyped-def]
    for m in range(boxes.shape[0]):
        cos, sin = np.cos(boxes[m, 6]), np.sin(boxes[m, 6])
        length, width, height = boxes[m, 3] / 2, boxes[m, 4] / 2, boxes[m, 5] / 2
        for i in range(xyz.shape[0]):
            dz = np.float64(xyz[i, 2]) - boxes[m, 2]
            if not abs(dz) <= height:
                continue
            dx, dy = np.float64(xyz[i, 0]) - boxes[m, 0], np.float64(xyz[i, 1]) - boxes[m, 1]
            if abs(cos * dx + sin * dy) <= length and abs(cos * dy - sin * dx) <= width:
                mask[m, i] = True
