# SPDX-License-Identifier: Apache-2.0
"""True visibility: the share of an object's own pixels that it wins against everything else."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lidistill.world.jit import kernel
from lidistill.world.primitives import MISS, hit
from lidistill.world.scene.scene import Snapshot
from lidistill.world.sensing.sensors import Camera, sensor_origin

SAMPLES = 220.0  # rays tried per object and image


@kernel
def visible_kernel(objects, windows, view, rays, surface, world, total, seen):  # type: ignore[no-untyped-def]
    """Count sampled pixels that meet each object alone, and those in which it is the one seen."""
    origin, cos, sin = view
    prim, kinds, owner, span = world
    start = (origin[0], origin[1], origin[2])
    for i in range(objects.shape[0]):
        k = objects[i]
        u0, u1, v0, v1 = windows[i]
        stride = max(1, int(math.sqrt((u1 - u0) * (v1 - v0) / SAMPLES)))
        for u in range(u0, u1, stride):
            for v in range(v0, v1, stride):
                rx, ry, dz = rays[u, v, 0], rays[u, v, 1], rays[u, v, 2]
                ray = (cos * rx - sin * ry, sin * rx + cos * ry, dz)
                found = surface[u, v] >= 0 and owner[surface[u, v]] == k
                met = found
                p = span[k, 0]
                while not met and p < span[k, 1]:
                    met = hit(prim, p, kinds[p], start, ray) < MISS
                    p += 1
                if met:
                    total[i] += stride * stride
                    if found:
                        seen[i] += stride * stride


def pixel_windows(
    boxes: NDArray[np.float64], camera: Camera, ego: tuple[float, float, float]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Image windows of world-frame boxes.

    Args:
        boxes: (M, 7) x, y, z, l, w, h, yaw, world frame.
        camera: the camera.
        ego: x, y, yaw of its vehicle.

    Returns:
        windows (M, 4) int64 u0, u1, v0, v1 clipped to the image (empty where behind the camera),
        extents (M, 4) float64 unclipped u_min, v_min, u_max, v_max, and (M,) whether all eight
        corners lie in front.
    """
    corners = box_corners(boxes)  # (M, 8, 3) world
    x, y, yaw = ego
    cos, sin = math.cos(yaw), math.sin(yaw)
    in_ego = corners - np.array([x, y, 0.0])
    in_ego = in_ego @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    turn, shift = camera.ego_from_camera[:3, :3], camera.ego_from_camera[:3, 3]
    in_camera = (in_ego - shift) @ turn
    depth = in_camera[..., 2]
    pixels = in_camera @ camera.intrinsics.T
    pixels = pixels[..., :2] / np.maximum(depth, 0.05)[..., None]
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    extent = np.concatenate([low, high], axis=1)
    limit = np.array([camera.width, camera.height])
    first = np.clip(np.floor(low), 0, limit).astype(np.int64)
    last = np.clip(np.ceil(high) + 1, 0, limit).astype(np.int64)
    ahead = depth.max(axis=1) > 0.1
    last = np.where(ahead[:, None], np.maximum(last, first), first)
    windows = np.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], axis=1)
    return windows, extent, depth.min(axis=1) > 0.1


def box_corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 8, 3) corners of (M, 7) boxes x, y, z of the centre, l, w, h, yaw."""
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    local = 0.5 * signs[None] * boxes[:, None, 3:6]
    cos, sin = np.cos(boxes[:, 6])[:, None], np.sin(boxes[:, 6])[:, None]
    x = boxes[:, None, 0] + cos * local[..., 0] - sin * local[..., 1]
    y = boxes[:, None, 1] + sin * local[..., 0] + cos * local[..., 1]
    return np.stack([x, y, boxes[:, None, 2] + local[..., 2]], axis=-1)


def count_visible(
    snapshot: Snapshot,
    objects: NDArray[np.int64],
    boxes: NDArray[np.float64],
    camera: Camera,
    ego: tuple[float, float, float],
    surface: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels each object would cover alone, and pixels in which it is seen, in one image.

    Args:
        snapshot: the world at the picture's time.
        objects: (M,) indices of things.
        boxes: (M, 7) their boxes at that time, world frame.
        camera: the camera.
        ego: x, y, yaw of its vehicle.
        surface: (W, H) as returned by :func:`lidistill.world.sensing.render.render`.
    """
    windows, _, _ = pixel_windows(boxes, camera, ego)
    cos, sin = math.cos(ego[2]), math.sin(ego[2])
    origin = sensor_origin(camera.ego_from_camera, ego)
    total = np.zeros(len(objects), np.int64)
    seen = np.zeros(len(objects), np.int64)
    visible_kernel(
        objects,
        windows,
        (origin, cos, sin),
        camera.table.rays,
        surface,
        (snapshot.prim, snapshot.kinds, snapshot.owner, snapshot.span),
        total,
        seen,
    )
    return total, seen
