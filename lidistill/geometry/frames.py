# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms named ``target_from_source``: ``x_target = transform @ x_source``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def quaternion_to_matrix(quaternion: ArrayLike) -> NDArray[np.float64]:
    """Rotation matrix of a quaternion ``(w, x, y, z)``, normalised first.

    Args:
        quaternion: (4,) scalar first, as nuScenes stores it; need not have unit length.

    Returns:
        (3, 3) float64 rotation, determinant +1.

    Raises:
        ValueError: If the shape is not (4,) or the length is zero or not finite.
    """
    q = np.asarray(quaternion, dtype=np.float64)
    if q.shape != (4,):
        raise ValueError(f"expected a quaternion (w, x, y, z) of shape (4,), got shape {q.shape}")
    length = float(np.linalg.norm(q))
    if not np.isfinite(length) or length == 0.0:
        raise ValueError(f"expected a quaternion of finite, non-zero length, got {q.tolist()}")
    w, x, y, z = q / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def make_transform(rotation: ArrayLike, translation: ArrayLike) -> NDArray[np.float64]:
    """4x4 ``target_from_source`` from a rotation and the source's origin in the target frame.

    Args:
        rotation: (3, 3) matrix, or (4,) quaternion ``(w, x, y, z)``.
        translation: (3,) metres.

    Returns:
        (4, 4) float64.

    Raises:
        ValueError: If a shape is neither of the above.
    """
    matrix = np.asarray(rotation, dtype=np.float64)
    shift = np.asarray(translation, dtype=np.float64)
    if matrix.shape == (4,):
        matrix = quaternion_to_matrix(matrix)
    if matrix.shape != (3, 3) or shift.shape != (3,):
        raise ValueError(
            "expected rotation (3, 3) or quaternion (4,) and translation (3,), "
            f"got {matrix.shape} and {shift.shape}"
        )
    transform = np.eye(4)
    transform[:3, :3] = matrix
    transform[:3, 3] = shift
    return transform


def invert(transform: NDArray) -> NDArray[np.float64]:
    """``source_from_target`` of a rigid ``target_from_source``, also batched.

    The inverse is written as transpose and product, which keeps the rotation orthonormal. A
    transform that mirrors (a flipped cloud) is orthonormal too and inverts the same way.

    Args:
        transform: (..., 4, 4) rigid.

    Returns:
        (..., 4, 4) float64.
    """
    matrix = np.asarray(transform, dtype=np.float64)
    rotation = np.swapaxes(matrix[..., :3, :3], -1, -2)
    result = np.zeros_like(matrix)
    result[..., :3, :3] = rotation
    result[..., :3, 3] = -(rotation @ matrix[..., :3, 3:])[..., 0]
    result[..., 3, 3] = 1.0
    return result


def compose(*transforms: NDArray) -> NDArray[np.float64]:
    """Product of transforms read as a chain: ``compose(a_from_b, b_from_c)`` is ``a_from_c``.

    Args:
        transforms: One or more (..., 4, 4), broadcast against each other.

    Returns:
        (..., 4, 4) float64.
    """
    if not transforms:
        raise ValueError("expected at least one transform, got none")
    result = np.asarray(transforms[0], dtype=np.float64)
    for transform in transforms[1:]:
        result = result @ np.asarray(transform, dtype=np.float64)
    return result


def apply_transform(transform: NDArray, xyz: NDArray) -> NDArray[np.float64]:
    """Points moved from the source frame into the target frame.

    Args:
        transform: (4, 4) ``target_from_source``.
        xyz: (N, 3) in the source frame.

    Returns:
        (N, 3) float64 in the target frame.
    """
    matrix = np.asarray(transform, dtype=np.float64)
    points = np.asarray(xyz, dtype=np.float64)
    if matrix.shape != (4, 4) or points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(
            f"expected transform (4, 4) and xyz (N, 3), got {matrix.shape} and {points.shape}"
        )
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def rotation_about_z(angle: float) -> NDArray[np.float64]:
    """4x4 turn by ``angle`` radians about z, counter-clockwise seen from above (x towards y)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return make_transform([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], np.zeros(3))


def mirror(axes: Sequence[bool]) -> NDArray[np.float64]:
    """4x4 diagonal transform that negates the axes (x, y, z) marked True."""
    return np.diag([*(-1.0 if flag else 1.0 for flag in axes), 1.0])
