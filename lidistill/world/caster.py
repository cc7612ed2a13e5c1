# SPDX-License-Identifier: Apache-2.0
"""The column caster: rays that share (almost) one vertical plane share one short list of objects.

For each column (a LiDAR firing, an image column) the objects whose bounding cylinder meets the
column's azimuth interval are listed once, near to far; each ray of the column then walks the list
until the next object begins behind its best hit. The result equals testing every primitive.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lidistill.world.ground import hit_ground
from lidistill.world.jit import kernel
from lidistill.world.primitives import hit

if TYPE_CHECKING:
    from lidistill.world.scene import Snapshot
    from lidistill.world.sensors import RayTable

SKY = -1
GROUND = -2  # ground hits are stored as GROUND - material, step faces as GROUND - material - STEP
STEP = 64


@kernel
def _list_objects(bound, count, ox, oy, azimuth, half_width):  # type: ignore[no-untyped-def]
    """Per object: azimuth and half angle as seen from (ox, oy), and the distance where it begins."""
    for k in range(count):
        dx, dy = bound[k, 0] - ox, bound[k, 1] - oy
        distance = math.sqrt(dx * dx + dy * dy)
        radius = bound[k, 2]
        azimuth[k, 0] = math.atan2(dy, dx)
        azimuth[k, 1] = distance - radius
        half_width[k] = 4.0 if distance <= radius else math.asin(radius / distance) + 1e-9


@kernel
def _column_list(azimuth, half_width, order, count, middle, half, chosen):  # type: ignore[no-untyped-def]
    """Write the objects that meet the azimuth interval into ``chosen``, keeping near to far order."""
    n = 0
    middle = middle - 2.0 * math.pi * math.floor(middle / (2.0 * math.pi) + 0.5)
    for i in range(count):
        k = order[i]
        turn = abs(azimuth[k, 0] - middle)
        if turn > math.pi:
            turn = 2.0 * math.pi - turn
        if turn <= half_width[k] + half:
            chosen[n] = k
            n += 1
    return n


@kernel
def cast_kernel(  # type: ignore[no-untyped-def]
    origin, cos, sin, rays, fan, count, prim, kinds, bound, span, ground, distance, surface
):
    """Cast all columns; see :func:`cast` for the meaning of the arrays."""
    ox, oy, oz = origin[0], origin[1], origin[2]
    azimuth = np.empty((count, 2))
    half_width = np.empty(count)
    _list_objects(bound, count, ox, oy, azimuth, half_width)
    order = np.argsort(azimuth[:, 1], kind="mergesort")
    chosen = np.empty(count, np.int64)
    yaw = math.atan2(sin, cos)
    edges, bands, patches, levels = ground
    for col in range(rays.shape[0]):
        n = _column_list(azimuth, half_width, order, count, fan[col, 0] + yaw, fan[col, 1], chosen)
        for row in range(rays.shape[1]):
            rx, ry, dz = rays[col, row, 0], rays[col, row, 1], rays[col, row, 2]
            dx, dy = cos * rx - sin * ry, sin * rx + cos * ry
            best, material, step = hit_ground(edges, bands, patches, levels, ox, oy, oz, dx, dy, dz)
            found = SKY if material < 0 else GROUND - material - (STEP if step else 0)
            level = math.sqrt(dx * dx + dy * dy)
            slope = dz / level
            for i in range(n):
                k = chosen[i]
                start = max(azimuth[k, 1], 0.0)
                if start > best * level:
                    break
                z0 = oz + slope * start
                z1 = oz + slope * (start + 2.0 * bound[k, 2] + 1e-6)
                if azimuth[k, 1] < 0.0:
                    z0 = oz
                if min(z0, z1) > bound[k, 4] or max(z0, z1) < bound[k, 3]:
                    continue
                for p in range(span[k, 0], span[k, 1]):
                    t = hit(kinds[p], prim[p], ox, oy, oz, dx, dy, dz)
                    if t < best:
                        best, found = t, p
            distance[col, row] = best
            surface[col, row] = found


def cast(
    snapshot: Snapshot,
    origin: NDArray[np.float64],
    yaw: float,
    table: RayTable,
    with_ego: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Cast a sensor's rays into the world at one instant.

    Args:
        snapshot: the scene at the instant.
        origin: (3,) position of the sensor, world frame, metres.
        yaw: heading of the ego vehicle, radians; ``table`` holds directions in the ego's frame.
        table: columns of unit rays with their azimuth intervals.
        with_ego: also hit the ego's own body (the LiDAR sees its roof; cameras do not).

    Returns:
        distance (C, R) float64 metres along each ray (1e30 for sky), and surface (C, R) int32: the
        primitive hit, ``SKY``, or ``GROUND - material`` (less ``STEP`` on a kerb's upright face).
    """
    distance = np.empty(table.rays.shape[:2])
    surface = np.empty(table.rays.shape[:2], np.int32)
    ground = snapshot.ground
    cast_kernel(
        origin,
        math.cos(yaw),
        math.sin(yaw),
        table.rays,
        table.fan,
        len(snapshot.bound) - (0 if with_ego else 1),
        snapshot.prim,
        snapshot.kinds,
        snapshot.bound,
        snapshot.span,
        (ground.edges, ground.bands, ground.patches, ground.levels),
        distance,
        surface,
    )
    return distance, surface
