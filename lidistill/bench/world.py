# SPDX-License-Identifier: Apache-2.0
"""Benches of the embedded world's ray casting: our column caster beside a plain two-level loop.

The reference is compiled too: for each ray it tests every object's bounding cylinder, then every
primitive of the objects met, and keeps the nearest hit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lidistill.bench.case import Case
from lidistill.world.ground import hit_ground
from lidistill.world.jit import kernel
from lidistill.world.primitives import hit
from lidistill.world.scene.compose import compose
from lidistill.world.scene.scene import Snapshot
from lidistill.world.scene.site import Profile
from lidistill.world.sensing.caster import GROUND, SKY, STEP, cast
from lidistill.world.sensing.sensors import (
    RayTable,
    kitti_camera,
    kitti_lidar,
    nuscenes_cameras,
    nuscenes_lidar,
)


@kernel
def _bounding_cylinders(prim, span, bound):  # type: ignore[no-untyped-def]
    for k in range(span.shape[0]):
        x, y, n = 0.0, 0.0, span[k, 1] - span[k, 0]
        for p in range(span[k, 0], span[k, 1]):
            x, y = x + prim[p, 0] / n, y + prim[p, 1] / n
        radius, low, high = 0.0, 1e30, -1e30
        for p in range(span[k, 0], span[k, 1]):
            reach = math.hypot(prim[p, 0] - x, prim[p, 1] - y) + math.hypot(prim[p, 3], prim[p, 4])
            radius = max(radius, reach)
            low = min(low, prim[p, 2] - prim[p, 5])
            high = max(high, prim[p, 2] + prim[p, 5])
        bound[k, 0], bound[k, 1], bound[k, 2], bound[k, 3], bound[k, 4] = x, y, radius, low, high


@kernel
def _meets_cylinder(bound, k, origin, ray):  # type: ignore[no-untyped-def]
    dx, dy = bound[k, 0] - origin[0], bound[k, 1] - origin[1]
    level = math.sqrt(ray[0] * ray[0] + ray[1] * ray[1])
    along = (dx * ray[0] + dy * ray[1]) / level
    across = abs(dx * ray[1] - dy * ray[0]) / level
    return across <= bound[k, 2] and along >= -bound[k, 2]


@kernel
def brute_kernel(view, rays, world, ground, distance, surface):  # type: ignore[no-untyped-def]
    """Cast every ray against every object; same results as the column caster's."""
    origin, cos, sin = view
    prim, kinds, span = world
    bound = np.empty((span.shape[0], 5))
    _bounding_cylinders(prim, span, bound)
    start = (origin[0], origin[1], origin[2])
    begin, bins, hints, edges, bands, levels = ground
    for col in range(rays.shape[0]):
        for row in range(rays.shape[1]):
            rx, ry = rays[col, row, 0], rays[col, row, 1]
            ray = (cos * rx - sin * ry, sin * rx + cos * ry, rays[col, row, 2])
            best, material, step = hit_ground(begin, bins, hints, edges, bands, levels, start, ray)
            found = SKY if material < 0 else GROUND - material - (STEP if step else 0)
            for k in range(span.shape[0]):
                if _meets_cylinder(bound, k, start, ray):
                    for p in range(span[k, 0], span[k, 1]):
                        t = hit(prim, p, kinds[p], start, ray)
                        if t < best:
                            best, found = t, p
            distance[col, row] = best
            surface[col, row] = found


def brute_cast(
    snapshot: Snapshot, origin: NDArray[np.float64], yaw: float, table: RayTable
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Cast a sensor's rays by trying every object (the ego's own body left out).

    Args:
        snapshot: the world at one instant.
        origin: (3,) sensor position, world frame, metres.
        yaw: heading of the ego, radians.
        table: rays in the ego's frame.

    Returns:
        distance (C, R) and surface (C, R), as :func:`lidistill.world.sensing.caster.cast`.
    """
    distance = np.empty(table.rays.shape[:2])
    surface = np.empty(table.rays.shape[:2], np.int32)
    brute_kernel(
        (origin, math.cos(yaw), math.sin(yaw)),
        table.rays,
        (snapshot.prim, snapshot.kinds, snapshot.span[:-1]),
        snapshot.ground.arrays,
        distance,
        surface,
    )
    return distance, surface


def cases(size: str) -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = the sensors of nuScenes and KITTI; "quick" = a few columns.

    Returns:
        Casting of a nuScenes scan, a KITTI scan, a nuScenes and a KITTI image.
    """
    full = size == "full"
    scene = compose("bench", (0, 0), 10.0, Profile())
    snapshot, (x, y, yaw) = scene.snapshot(2.0), scene.ego.pose(2.0)
    tables = {
        "world_lidar_nuscenes": (nuscenes_lidar(1084 if full else 60).table, 1.84),
        "world_lidar_kitti": (kitti_lidar(2048 if full else 60).table, 1.73),
        "world_camera_nuscenes": (nuscenes_cameras(400 if full else 48)[0].table, 1.51),
    }
    if full:
        tables["world_camera_kitti"] = (kitti_camera().table, 1.65)
    made = []
    for name, (table, height) in tables.items():
        origin = np.array([x, y, height])
        count = table.rays.shape[0] * table.rays.shape[1]
        words = f"{count} rays, {len(scene.things)} objects, {len(snapshot.kinds)} primitives"
        made.append(
            Case(
                name,
                words,
                lambda o=origin, t=table: brute_cast(snapshot, o, yaw, t),  # type: ignore[misc]
                lambda o=origin, t=table: cast(snapshot, o, yaw, t),  # type: ignore[misc]
            )
        )
    return made
