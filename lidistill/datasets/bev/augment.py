# SPDX-License-Identifier: Apache-2.0
"""Augmentation of the ground plane: one matrix that points, boxes and cameras all follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lidistill.geometry.frames import mirror, rotation_about_z
from lidistill.registry import TRANSFORMS


@TRANSFORMS.register_module()
class AugmentBEV:
    """Turn, scale, mirror and shift the scene.

    Changes ``points`` and ``gt_bboxes_3d`` and leaves the matrix in ``lidar_aug_matrix``, by which
    :class:`lidistill.geometry.cameras.Cameras` moves the cameras. In place of mmdet3d's
    GlobalRotScaleTrans and RandomFlip3D, which leave the cameras where they were.

    Args:
        rotate: degrees; drawn from [-rotate, rotate].
        scale: (low, high).
        flip_x, flip_y: share of samples whose x, whose y is negated.
        shift: standard deviation along x, y, z, metres.
    """

    def __init__(
        self,
        rotate: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        flip_x: float = 0.0,
        flip_y: float = 0.0,
        shift: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> None:
        self.rotate, self.scale = rotate, scale
        self.flip_x, self.flip_y, self.shift = flip_x, flip_y, tuple(shift)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draw a matrix and move everything."""
        return move_scene(results, self.draw())

    def draw(self) -> NDArray[np.float64]:
        """4x4 augmented from recorded: turn and scale, then mirror, then shift."""
        draw = np.random
        turn = rotation_about_z(np.deg2rad(draw.uniform(-self.rotate, self.rotate)))
        turn[:3, :3] *= draw.uniform(*self.scale)
        flips = mirror((draw.uniform() < self.flip_x, draw.uniform() < self.flip_y, False))
        matrix: NDArray[np.float64] = flips @ turn
        matrix[:3, 3] += draw.normal(0.0, 1.0, 3) * self.shift
        return matrix


def move_scene(results: dict[str, Any], matrix: NDArray) -> dict[str, Any]:
    """Move points and boxes of mmdet3d's sample, and note the matrix for the cameras.

    Args:
        results: changed.
        matrix: (4, 4); turns about z, scales all axes alike, mirrors, shifts.
    """
    moved = np.asarray(matrix, dtype=np.float64)
    before = results.get("lidar_aug_matrix", np.eye(4))
    results["lidar_aug_matrix"] = moved @ before
    if "points" in results:
        xyz = results["points"].tensor
        xyz[:, :3] = _apply(moved, xyz[:, :3])
    boxes = results.get("gt_bboxes_3d")
    if boxes is not None and len(boxes):
        rows, scale = boxes.tensor, float(np.cbrt(abs(np.linalg.det(moved[:3, :3]))))
        plane = torch.from_numpy(moved[:2, :2]).to(rows.dtype)
        heading = torch.stack([rows[:, 6].cos(), rows[:, 6].sin()], 1) @ plane.T
        rows[:, :3] = _apply(moved, rows[:, :3])
        rows[:, 3:6] *= scale
        rows[:, 6] = torch.atan2(heading[:, 1], heading[:, 0])
        if rows.shape[1] > 7:
            rows[:, 7:9] = rows[:, 7:9] @ plane.T
    return results


def _apply(matrix: NDArray, xyz: torch.Tensor) -> torch.Tensor:
    done = xyz.double() @ torch.from_numpy(matrix[:3, :3]).T + torch.from_numpy(matrix[:3, 3])
    return done.to(xyz.dtype)
