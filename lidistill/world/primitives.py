# SPDX-License-Identifier: Apache-2.0
"""Rays against primitives: box, frustum, upright cylinder, lying cylinder, ellipsoid.

A primitive stands in its own frame: centre at the origin, half sizes (a, b, c) along x, y, z, turned
about z only. Rays are brought into that frame first; a ray that starts inside a primitive ignores it.
"""

from __future__ import annotations

import math

from lidistill.world.jit import inlined

BOX, FRUSTUM, CYLINDER_Z, CYLINDER_Y, ELLIPSOID = 0, 1, 2, 3, 4

# Columns of the per-primitive float table ``prim`` (P, 11), world frame, metres.
CX, CY, CZ, HALF_A, HALF_B, HALF_C, COS, SIN, SLOPE_FRONT, SLOPE_REAR, SLOPE_SIDE = range(11)

MISS = 1e30


@inlined
def _hit_box(ox, oy, oz, dx, dy, dz, a, b, c):  # type: ignore[no-untyped-def]
    near, far = 0.0, MISS
    for axis in range(3):
        if axis == 0:
            o, d, h = ox, dx, a
        elif axis == 1:
            o, d, h = oy, dy, b
        else:
            o, d, h = oz, dz, c
        if d == 0.0:
            if abs(o) > h:
                return MISS
            continue
        inverse = 1.0 / d
        t0 = (-h - o) * inverse
        t1 = (h - o) * inverse
        if t0 > t1:
            t0, t1 = t1, t0
        near = max(near, t0)
        far = min(far, t1)
        if near > far:
            return MISS
    return near if near > 0.0 else MISS


@inlined
def _hit_frustum(ox, oy, oz, dx, dy, dz, a, b, c, front, rear, side):  # type: ignore[no-untyped-def]
    """A box whose front, rear and side planes lean inwards by a slope (metres per metre of height)."""
    near, far = 0.0, MISS
    for plane in range(6):
        if plane == 0:
            room, speed = a - front * (oz + c) - ox, dx + front * dz
        elif plane == 1:
            room, speed = a - rear * (oz + c) + ox, -dx + rear * dz
        elif plane == 2:
            room, speed = b - side * (oz + c) - oy, dy + side * dz
        elif plane == 3:
            room, speed = b - side * (oz + c) + oy, -dy + side * dz
        elif plane == 4:
            room, speed = c - oz, dz
        else:
            room, speed = c + oz, -dz
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
def _hit_cylinder(ox, oy, oz, dx, dy, dz, a, b, c):  # type: ignore[no-untyped-def]
    """Upright elliptic cylinder with caps."""
    near, far = 0.0, MISS
    if dz == 0.0:
        if abs(oz) > c:
            return MISS
    else:
        t0, t1 = (-c - oz) / dz, (c - oz) / dz
        if t0 > t1:
            t0, t1 = t1, t0
        near, far = max(near, t0), t1
    px, py, qx, qy = ox / a, oy / b, dx / a, dy / b
    qq = qx * qx + qy * qy
    inside = px * px + py * py - 1.0
    if qq == 0.0:
        if inside > 0.0:
            return MISS
    else:
        half = px * qx + py * qy
        root = half * half - qq * inside
        if root < 0.0:
            return MISS
        root = math.sqrt(root)
        near = max(near, (-half - root) / qq)
        far = min(far, (-half + root) / qq)
    return near if 0.0 < near <= far else MISS


@inlined
def _hit_ellipsoid(ox, oy, oz, dx, dy, dz, a, b, c):  # type: ignore[no-untyped-def]
    px, py, pz, qx, qy, qz = ox / a, oy / b, oz / c, dx / a, dy / b, dz / c
    qq = qx * qx + qy * qy + qz * qz
    half = px * qx + py * qy + pz * qz
    root = half * half - qq * (px * px + py * py + pz * pz - 1.0)
    if root < 0.0:
        return MISS
    near = (-half - math.sqrt(root)) / qq
    return near if near > 0.0 else MISS


@inlined
def hit(prim, p, kind, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Distance along a world-frame ray to primitive ``p`` of ``kind``, or ``MISS``."""
    x, y, z = ox - prim[p, CX], oy - prim[p, CY], oz - prim[p, CZ]
    cos, sin = prim[p, COS], prim[p, SIN]
    lx, ly = cos * x + sin * y, cos * y - sin * x
    ex, ey = cos * dx + sin * dy, cos * dy - sin * dx
    a, b, c = prim[p, HALF_A], prim[p, HALF_B], prim[p, HALF_C]
    if kind == BOX:
        return _hit_box(lx, ly, z, ex, ey, dz, a, b, c)
    if kind == CYLINDER_Z:
        return _hit_cylinder(lx, ly, z, ex, ey, dz, a, b, c)
    if kind == ELLIPSOID:
        return _hit_ellipsoid(lx, ly, z, ex, ey, dz, a, b, c)
    if kind == CYLINDER_Y:
        return _hit_cylinder(lx, z, ly, ex, dz, ey, a, c, b)
    return _hit_frustum(
        lx,
        ly,
        z,
        ex,
        ey,
        dz,
        a,
        b,
        c,
        prim[p, SLOPE_FRONT],
        prim[p, SLOPE_REAR],
        prim[p, SLOPE_SIDE],
    )


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
    """Outward unit normal, in the primitive's frame, at a surface point of the primitive's frame."""
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
