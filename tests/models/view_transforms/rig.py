# SPDX-License-Identifier: Apache-2.0
"""A made-up rig of cameras, for tests."""

from __future__ import annotations

import numpy as np

from lidistill.geometry.cameras import Cameras
from lidistill.geometry.frames import make_transform, rotation_about_z

# camera axes (x right, y down, z forward) in the LiDAR's (x forward, y left, z up)
LIDAR_FROM_CAMERA = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def rig(batch=1, count=2, image_hw=(32, 48), seed=0, augmented=True) -> Cameras:
    """Cameras that look around, with augmented images and an augmented scene."""
    rng = np.random.default_rng(seed)
    pose = make_transform(LIDAR_FROM_CAMERA, [0.5, 0.1, 1.2])
    poses = np.stack([rotation_about_z(2 * np.pi * k / count + 0.1) @ pose for k in range(count)])
    intrinsics = np.eye(4)
    intrinsics[:2, :3] = [[40, 0, image_hw[1] / 2], [0, 40, image_hw[0] / 2]]
    aug, turn = np.tile(np.eye(4), (batch, count, 1, 1)), np.tile(np.eye(4), (batch, 1, 1))
    if augmented:
        aug[..., :2, :3] += rng.normal(0, 0.05, (batch, count, 2, 3))
        for b in range(batch):
            turn[b] = rotation_about_z(rng.uniform(-1, 1)) @ np.diag([1.1, 1.1, 1.1, 1])
            turn[b, :3, 3] = rng.normal(0, 0.3, 3)
        if batch > 1:
            turn[1] = np.diag([1.0, -1, 1, 1]) @ turn[1]
    shape = (batch, count, 4, 4)
    return Cameras(
        np.broadcast_to(intrinsics, shape).copy(),
        np.broadcast_to(np.linalg.inv(poses), shape).copy(),
        aug,
        turn,
        np.ones((batch, count), bool),
    )
