# SPDX-License-Identifier: Apache-2.0
"""Rays against primitives: box, frustum, upright cylinder, lying cylinder, ellipsoid.

A primitive stands in its own frame: centre at the origin, half sizes (a, b, c) along x, y, z,
turned about z only. Rays are brought into that frame first; a ray that starts inside a primitive
ignores it.
"""

from __future__ import annotations

import math

from lidistill.world.jit import inlined

BOX, FRUSTUM, CYLINDER_Z, CYLINDER_Y, ELLIPSOID = 0, 1, 2, 3, 4

# Columns of the per-primitive float table ``prim`` (P, 11), world frame, metres.
CX, CY, CZ, HALF_A, HALF_B, HALF_C, COS, SIN, SLOPE_FRONT, SLOPE_REAR, SLOPE_SIDE = range(11)

MISS = 1e30


@inlined
def _hit_box(o, d, half):  # type: ignore[no-untyped-def]
    near, far = 0.0, MISS
    for axis in range(3):
        if d[axis] == 0.0:
            if abs(o[axis]) > half[axis]:
                return MISS
            continue
        inverse = 1.0 / d[axis]
        t0 = (-half[axis] - o[axis]) * inverse
        t1 = (half[axis] - o[axis]) * inverse
        if t0 > t1:
            t0, t1 = t1, t0
        near = max(near, t0)
        far = min(far, t1)
        if near > far:
            return MISS
    return near if near > 0.0 else MISS


@inlined
def _hit_frustum(o, d, half, front, rear, side):  # type: ignore[no-untyped-def]
    """A box whose front, rear and side planes lean inwards, metres per metre of height."""
    near, far = 0.0, MISS
    rise = o[2] + half[2]
    for plane in range(6):
        if plane == 0:
            room, speed = half[0] - front * rise - o[0], d[0] + front * d[2]
        elif plane == 1:
            room, speed = half[0] - rear * rise + o[0], -d[0] + rear * d[2]
        elif plane == 2:
            room, speed = half[1] - side * rise - o[1], d[1] + side * d[2]
        elif plane == 3:
            room, speed = half[1] - side * rise + o[1], -d[1] + side * d[2]
        elif plane == 4:
            room, speed = half[2] - o[2], d[2]
        else:
            room, speed = rise, -d[2]
        if speed > 0.0:
            far = min(far, room / speed)
        elif speed < 0.0:
            near = max(near, room / speed)
        elif room < 0.0:
            return MISS
        if near > far:
            return MISS
    return near if near > 0.0 else MISS


@inlined
def _hit_cylinder(o, d, half):  # type: ignore[no-untyped-def]
    """Upright elliptic cylinder with caps."""
    near, far = 0.0, MISS
    if d[2] == 0.0:
        if abs(o[2]) > half[2]:
            return MISS
    else:
        t0, t1 = (-half[2] - o[2]) / d[2], (half[2] - o[2]) / d[2]
        if t0 > t1:
            t0, t1 = t1, t0
        near, far = max(near, t0), t1
    px, py, qx, qy = o[0] / half[0], o[1] / half[1], d[0] / half[0], d[1] / half[1]
    qq = qx * qx + qy * qy
    inside = px * px + py * py - 1.0
    if qq == 0.0:
        if inside > 0.0:
            return MISS
    else:
        middle = px * qx + py * qy
        root = middle * middle - qq * inside
        if root < 0.0:
            return MISS
        root = math.sqrt(root)
        near = max(near, (-middle - root) / qq)
        far = min(far, (-middle + root) / qq)
    return near if 0.0 < near <= far else MISS


@inlined
def _hit_ellipsoid(o, d, half):  # type: ignore[no-untyped-def]
    px, py, pz = o[0] / half[0], o[1] / half[1], o[2] / half[2]
    qx, qy, qz = d[0] / half[0], d[1] / half[1], d[2] / half[2]
    qq = qx * qx + qy * qy + qz * qz
    middle = px * qx + py * qy + pz * qz
    root = middle * middle - qq * (px * px + py * py + pz * pz - 1.0)
    if root < 0.0:
        return MISS
    near = (-middle - math.sqrt(root)) / qq
    return near if near > 0.0 else MISS


@inlined
def hit(prim, p, kind, origin, ray):  # type: ignore[no-untyped-def]
    """Distance along a world-frame ray to primitive ``p`` of ``kind``, or ``MISS``.

    ``origin`` and ``ray`` are tuples of three numbers.
    """
    x, y, z = origin[0] - prim[p, CX], origin[1] - prim[p, CY], origin[2] - prim[p, CZ]
    cos, sin = prim[p, COS], prim[p, SIN]
    o = (cos * x + sin * y, cos * y - sin * x, z)
    d = (cos * ray[0] + sin * ray[1], cos * ray[1] - sin * ray[0], ray[2])
    half = (prim[p, HALF_A], prim[p, HALF_B], prim[p, HALF_C])
    if kind == BOX:
        return _hit_box(o, d, half)
    if kind == CYLINDER_Z:
        return _hit_cylinder(o, d, half)
    if kind == ELLIPSOID:
        return _hit_ellipsoid(o, d, half)
    if kind == CYLINDER_Y:
        return _hit_cylinder((o[0], o[2], o[1]), (d[0], d[2], d[1]), (half[0], half[2], half[1]))
    return _hit_frustum(o, d, half, prim[p, SLOPE_FRONT], prim[p, SLOPE_REAR], prim[p, SLOPE_SIDE])


@inlined
def local_point(prim, p, px, py, pz):  # type: ignore[no-untyped-def]
    """A world point in the primitive's frame."""
    x, y = px - prim[p, CX], py - prim[p, CY]
    return (
        prim[p, COS] * x + prim[p, SIN] * y,
        prim[p, COS] * y - prim[p, SIN] * x,
        pz - prim[p, CZ],
    )


@inlined
def local_normal(prim, p, kind, x, y, z):  # type: ignore[no-untyped-def]
    """Outward unit normal at a surface point, both in the primitive's frame."""
    a, b, c = prim[p, HALF_A], prim[p, HALF_B], prim[p, HALF_C]
    if kind == ELLIPSOID:
        nx, ny, nz = x / (a * a), y / (b * b), z / (c * c)
    elif kind == CYLINDER_Z:
        nx, ny, nz = x / (a * a), y / (b * b), 0.0
        if c - abs(z) < 1e-6:
            nx, ny, nz = 0.0, 0.0, math.copysign(1.0, z)
    elif kind == CYLINDER_Y:
        nx, ny, nz = x / (a * a), 0.0, z / (c * c)
        if b - abs(y) < 1e-6:
            nx, ny, nz = 0.0, math.copysign(1.0, y), 0.0
    else:
        rise = z + c
        nx, ny, nz, best = 1.0, 0.0, prim[p, SLOPE_FRONT], abs(a - prim[p, SLOPE_FRONT] * rise - x)
        room = abs(a - prim[p, SLOPE_REAR] * rise + x)
        if room < best:
            nx, ny, nz, best = -1.0, 0.0, prim[p, SLOPE_REAR], room
        room = abs(b - prim[p, SLOPE_SIDE] * rise - abs(y))
        if room < best:
            nx, ny, nz, best = 0.0, math.copysign(1.0, y), prim[p, SLOPE_SIDE], room
        if c - abs(z) < best:
            nx, ny, nz = 0.0, 0.0, math.copysign(1.0, z)
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    return nx / length, ny / length, nz / length
