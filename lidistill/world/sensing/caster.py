# SPDX-License-Identifier: Apache-2.0
"""The column caster: rays that share (almost) one vertical plane share one short list of objects.

For each column (a LiDAR firing, an image column) the primitives that meet the column's azimuth
interval are listed once, object by object from near to far; each ray of the column then walks the
list until the next object begins behind its best hit, and tests only what its slope can meet. The
result equals testing every primitive.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lidistill.world.ground import hit_ground
from lidistill.world.jit import helper, inlined, kernel
from lidistill.world.primitives import (
    CX,
    CY,
    CYLINDER_Z,
    CZ,
    ELLIPSOID,
    HALF_A,
    HALF_B,
    HALF_C,
    hit,
    local_point,
)

if TYPE_CHECKING:
    from lidistill.world.scene.scene import Snapshot
    from lidistill.world.sensing.sensors import RayTable

SKY = -1
GROUND = -2  # ground hits are stored as GROUND - material, step faces as GROUND - material - STEP
STEP = 64


@kernel
def bounds_kernel(prim, kinds, span, count, origin, prims, objects):  # type: ignore[no-untyped-def]
    """What each primitive and object covers as seen from the sensor.

    Columns of ``prims`` and ``objects``: azimuth of the middle, half angle, horizontal distance
    where it begins, least and greatest slope of a ray that can meet it; all on the safe side.
    """
    for k in range(count):
        begin, least, most = 1e30, 1e30, -1e30
        for p in range(span[k, 0], span[k, 1]):
            _bound_primitive(prim, p, kinds[p], origin, prims)
            begin = min(begin, prims[p, 2])
            least, most = min(least, prims[p, 3]), max(most, prims[p, 4])
        middle, reach = prims[span[k, 0], 0], 0.0
        for p in range(span[k, 0], span[k, 1]):
            turn = prims[p, 0] - middle
            turn -= 2.0 * math.pi * math.floor(turn / (2.0 * math.pi) + 0.5)
            reach = max(reach, abs(turn) + prims[p, 1])
        objects[k, 0], objects[k, 1], objects[k, 2] = middle, reach, begin
        objects[k, 3], objects[k, 4] = least, most


@helper
def _bound_primitive(prim, p, kind, origin, out):  # type: ignore[no-untyped-def]
    """Bounds of one primitive: by its footprint's corners, or its circle where it is round."""
    x, y, _ = local_point(prim, p, origin[0], origin[1], origin[2])
    a, b = prim[p, HALF_A], prim[p, HALF_B]
    low, high = prim[p, CZ] - prim[p, HALF_C] - origin[2], prim[p, CZ] + prim[p, HALF_C] - origin[2]
    near = math.hypot(max(abs(x) - a, 0.0), max(abs(y) - b, 0.0))
    far = math.hypot(abs(x) + a, abs(y) + b)
    azimuth = math.atan2(prim[p, CY] - origin[1], prim[p, CX] - origin[0])
    half = 4.0
    if near > 1e-3:
        if kind in (CYLINDER_Z, ELLIPSOID):
            radius = max(a, b)
            away = math.hypot(x, y)
            if away > radius:
                half = math.asin(radius / away)
        else:
            half = 0.0
            length = math.hypot(x, y)
            for corner in range(4):
                u = (a if corner & 1 else -a) - x
                v = (b if corner & 2 else -b) - y
                # angle between the corner and the middle, both as seen from the sensor
                cross, dot = -x * v + y * u, -x * u - y * v
                half = max(half, abs(math.atan2(cross, dot))) if length > 0.0 else 4.0
    out[p, 0], out[p, 1], out[p, 2] = azimuth, half + 1e-9, near - 1e-6
    out[p, 3], out[p, 4] = -1e30, 1e30
    if near > 1e-3:
        out[p, 3] = (low / near if low < 0.0 else low / far) - 1e-9
        out[p, 4] = (high / near if high > 0.0 else high / far) + 1e-9


@inlined
def _meets(table, k, middle, half):  # type: ignore[no-untyped-def]
    """Whether something's azimuth interval meets a column's; ``middle`` within [-pi, pi]."""
    turn = abs(table[k, 0] - middle)
    if turn > math.pi:
        turn = 2.0 * math.pi - turn
    return turn <= table[k, 1] + half


@inlined
def _column_list(prims, objects, order, span, middle, half, chosen, begins):  # type: ignore[no-untyped-def]
    """List a column's primitives, object by object from near to far; returns their number.

    ``begins`` holds, for each entry, where its object begins: beyond a ray's best hit, all that
    follows is hidden.
    """
    n = 0
    middle = middle - 2.0 * math.pi * math.floor(middle / (2.0 * math.pi) + 0.5)
    for i in range(order.shape[0]):
        k = order[i]
        if _meets(objects, k, middle, half):
            for p in range(span[k, 0], span[k, 1]):
                if _meets(prims, p, middle, half):
                    chosen[n], begins[n] = p, objects[k, 2]
                    n += 1
    return n


@kernel
def cast_kernel(view, rays, fan, bounds, world, ground, distance, surface):  # type: ignore[no-untyped-def]
    """Cast all columns; see :func:`cast` for the meaning of the arrays."""
    origin, cos, sin = view
    prim, kinds, span = world
    start = (origin[0], origin[1], origin[2])
    prims, objects, order = bounds
    chosen, begins = np.empty(prim.shape[0], np.int64), np.empty(prim.shape[0])
    yaw = math.atan2(sin, cos)
    begin, bins, hints, edges, bands, levels = ground
    for col in range(rays.shape[0]):
        n = _column_list(
            prims, objects, order, span, fan[col, 0] + yaw, fan[col, 1], chosen, begins
        )
        for row in range(rays.shape[1]):
            rx, ry, dz = (
                rays[col, row, 0],
                rays[col, row, 1],
                rays[col, row, 2],
            )
            ray = (cos * rx - sin * ry, sin * rx + cos * ry, dz)
            best, material, step = hit_ground(begin, bins, hints, edges, bands, levels, start, ray)
            found = SKY if material < 0 else GROUND - material - (STEP if step else 0)
            level, slope = rays[col, row, 3], rays[col, row, 4]
            reach = best * level
            for i in range(n):
                if begins[i] > reach:
                    break
                p = chosen[i]
                if slope < prims[p, 3] or slope > prims[p, 4] or prims[p, 2] > reach:
                    continue
                t = hit(prim, p, kinds[p], start, ray)
                if t < best:
                    best, found, reach = t, p, t * level
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
    count = len(snapshot.span) - (0 if with_ego else 1)
    prims, objects = np.empty((len(snapshot.prim), 5)), np.empty((count, 5))
    bounds_kernel(snapshot.prim, snapshot.kinds, snapshot.span, count, origin, prims, objects)
    order = np.argsort(objects[:, 2], kind="stable")
    distance = np.empty(table.rays.shape[:2])
    surface = np.empty(table.rays.shape[:2], np.int32)
    cast_kernel(
        (origin, math.cos(yaw), math.sin(yaw)),
        table.rays,
        table.fan,
        (prims, objects, order),
        (snapshot.prim, snapshot.kinds, snapshot.span),
        snapshot.ground.arrays,
        distance,
        surface,
    )
    return distance, surface
