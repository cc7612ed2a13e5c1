# SPDX-License-Identifier: Apache-2.0
"""Texture kernels: value noise and the patterns that tell one class from another.

Each pattern works in the primitive's own frame, so a texture travels with its object. Detail finer
than the pixel's footprint fades out instead of flickering.
"""

from __future__ import annotations

import math

from lidistill.world import materials as m
from lidistill.world.jit import kernel

(
    PLAIN, WINDOWS, BRICK, SLABS, LANES, STRIPES, DIAGONAL, CAR_BODY, CABIN,
    COACH, RIBS, CHECKS, LEAVES, WHEEL, HAZARD, PLANKS, SPECKLE, HATCH, FACE,
) = (
    m.PLAIN, m.WINDOWS, m.BRICK, m.SLABS, m.LANES, m.STRIPES, m.DIAGONAL, m.CAR_BODY, m.CABIN,
    m.COACH, m.RIBS, m.CHECKS, m.LEAVES, m.WHEEL, m.HAZARD, m.PLANKS, m.SPECKLE, m.HATCH, m.FACE,
)  # fmt: skip


@kernel
def hash01(ix, iy, iz, seed):  # type: ignore[no-untyped-def]
    """A number in [0, 1) from three lattice indices and a seed (32-bit integer mixing)."""
    h = (ix * 374761393 + iy * 668265263 + iz * 1274126177 + seed * 974634533) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    return (h ^ (h >> 16)) / 4294967296.0


@kernel
def noise(x, y, z, seed):  # type: ignore[no-untyped-def]
    """Smooth value noise in [-1, 1] on the unit lattice."""
    ix, iy, iz = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - ix, y - iy, z - iz
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    i, j, k = int(ix), int(iy), int(iz)
    total = 0.0
    for dk in range(2):
        wk = w if dk else 1.0 - w
        for dj in range(2):
            wj = v if dj else 1.0 - v
            a = hash01(i, j + dj, k + dk, seed)
            b = hash01(i + 1, j + dj, k + dk, seed)
            total += wk * wj * (a + u * (b - a))
    return 2.0 * total - 1.0


@kernel
def _fade(period, footprint):  # type: ignore[no-untyped-def]
    """1 where detail of this period is resolved by the pixel, falling to 0 where it is not."""
    return min(max(1.5 - 2.0 * footprint / period, 0.0), 1.0)


@kernel
def _cell(value, period):  # type: ignore[no-untyped-def]
    """Position within a periodic cell, in [0, 1)."""
    q = value / period
    return q - math.floor(q)


@kernel
def _line(value, period, width):  # type: ignore[no-untyped-def]
    """1 on a line of the given width (same unit as the period), else 0."""
    return 1.0 if _cell(value, period) * period < width else 0.0


@kernel
def _ground_pattern(pattern, scale, x, y, footprint, marks, seed):  # type: ignore[no-untyped-def]
    """Gain and paint (0-1, white) of ground patterns at world (x, y)."""
    gain, paint = 1.0, 0.0
    if pattern == LANES:
        for k in range(marks.shape[0]):  # y, width, dash period, dash length, x0, x1
            if abs(y - marks[k, 0]) < marks[k, 1] and marks[k, 4] <= x < marks[k, 5]:
                period = marks[k, 2]
                if period <= 0.0 or _cell(x, period) * period < marks[k, 3]:
                    paint = 0.85
        gain = 1.0 + 0.10 * noise(0.25 * x, 0.9 * y, 0.0, seed + 5)
    elif pattern == SLABS:
        fade = _fade(scale, footprint)
        seam = max(_line(x, scale, 0.09), _line(y, scale, 0.09))
        tone = hash01(int(math.floor(x / scale)), int(math.floor(y / scale)), 7, seed) - 0.5
        gain = 1.0 + fade * (0.22 * tone - 0.40 * seam)
    elif pattern == HATCH:
        fade = _fade(scale, footprint)
        gain = 1.0 + fade * 0.35 * (1.0 if _cell(x + y, scale) < 0.5 else -1.0)
    return gain, paint


@kernel
def ground_texture(table, material, x, y, footprint, marks, seed):  # type: ignore[no-untyped-def]
    """Gain on the tint and amount of white paint at a ground point of the world frame."""
    f, amp, fine = table[material, 0], table[material, 1], table[material, 2]
    gain = 1.0 + amp * _fade(1.0 / f, footprint) * noise(f * x, f * y, 0.0, seed)
    f *= 3.1
    fade = _fade(1.0 / f, footprint)
    if fade > 0.0 and fine > 0.0:
        gain += fine * fade * noise(f * x, f * y, 0.5, seed + 1)
    pattern = int(table[material, 3])
    if pattern != PLAIN:
        more, paint = _ground_pattern(pattern, table[material, 4], x, y, footprint, marks, seed)
        return gain * more, paint
    return gain, 0.0


@kernel
def _vehicle_pattern(pattern, scale, x, y, z, a, b, c, nx, ny, nz):  # type: ignore[no-untyped-def]
    """Gain, and a second colour with its weight (r, g, b, w), for vehicle surfaces.

    Headlights, a grille and a plate in front, red lights and a plate at the rear: +x is the front.
    """
    v, h = abs(y) / b, z / c
    if pattern == CAR_BODY:
        if nx > 0.6:
            if v > 0.62 and -0.15 < h < 0.55:
                return 1.0, 0.95, 0.95, 0.85, 1.0
            if v < 0.55 and -0.35 < h < 0.25:
                return 1.0, 0.06, 0.06, 0.07, 0.9
            if v < 0.25 and -0.80 < h < -0.45:
                return 1.0, 0.90, 0.90, 0.90, 1.0
        elif nx < -0.6:
            if v > 0.66 and 0.05 < h < 0.70:
                return 1.0, 0.80, 0.08, 0.06, 1.0
            if v < 0.28 and -0.30 < h < 0.10:
                return 1.0, 0.90, 0.88, 0.70, 1.0
        elif abs(ny) > 0.6:
            if h < -0.70:
                return 0.45, 0.0, 0.0, 0.0, 0.0
            if _line(x + 0.55, 1.1 * scale, 0.06) > 0.0:
                return 0.60, 0.0, 0.0, 0.0, 0.0
        return 1.0, 0.0, 0.0, 0.0, 0.0
    if pattern == CABIN:
        if nz > 0.8:
            return 1.0, 0.0, 0.0, 0.0, 0.0
        glass = h < 0.72 and (abs(x) > 0.10 * a or abs(ny) < 0.6)
        if glass:
            return 1.0, 0.13, 0.17, 0.20, 0.92
        return 0.9, 0.0, 0.0, 0.0, 0.0
    # COACH: a band of windows with pillars, wide windscreen in front, lights low
    if abs(nz) > 0.8:
        return 1.05, 0.0, 0.0, 0.0, 0.0
    if abs(nx) > 0.6:
        if h > (-0.1 if nx > 0 else 0.3) and h < 0.75 and v < 0.9:
            return 1.0, 0.12, 0.15, 0.18, 0.95
        if v > 0.70 and -0.75 < h < -0.50:
            red = 0.95 if nx > 0 else 0.80
            white = 0.92 if nx > 0 else 0.06
            return 1.0, red, white, white, 1.0
        return 1.0, 0.0, 0.0, 0.0, 0.0
    if 0.05 < h < 0.62 and _cell(x, scale) > 0.14:
        return 1.0, 0.12, 0.15, 0.18, 0.92
    return (1.25 if h > 0.7 else 1.0), 0.0, 0.0, 0.0, 0.0


@kernel
def _wall_pattern(pattern, scale, x, y, z, c, nx, ny, nz, footprint, seed):  # type: ignore[no-untyped-def]
    """Gain and second colour of walls: brick courses and a grid of windows."""
    along = y if abs(nx) > abs(ny) else x
    if abs(nz) > 0.8:
        return 0.8, 0.0, 0.0, 0.0, 0.0
    gain = 1.0
    if pattern == BRICK:
        course = math.floor(z / 0.26)
        seam = max(_line(z, 0.26, 0.05), _line(along + 0.31 * (course % 2), 0.62, 0.05))
        gain = 1.0 + _fade(0.40, footprint) * (0.38 * seam - 0.12)
    if scale > 0.0:
        u, v = _cell(along, scale), _cell(z + c, 3.0)
        if 0.28 < u < 0.74 and 0.30 < v < 0.78:
            column = int(math.floor(along / scale))
            lit = hash01(column, int(math.floor((z + c) / 3.0)), 3, seed)
            tone = 0.10 + 0.30 * lit * lit
            return gain, tone, tone * 1.08, tone * 1.18, 0.9
        if 0.24 < u < 0.78 and 0.26 < v < 0.82:
            gain *= 1.22
    return gain, 0.0, 0.0, 0.0, 0.0


@kernel
def _small_pattern(pattern, scale, x, y, z, a, c, nx, nz, footprint, seed):  # type: ignore[no-untyped-def]
    """Gain and second colour of cones, barriers, cloth, wheels, boards, leaves and faces."""
    fade = _fade(scale, footprint)
    if pattern == STRIPES and _cell(z + c, scale) > 0.55:
        return 1.0, 0.92, 0.92, 0.90, 0.4 + 0.5 * fade
    if pattern == DIAGONAL and _cell(x + y + z, scale) > 0.5:
        return 1.0, 0.92, 0.92, 0.90, 0.4 + 0.5 * fade
    if pattern == HAZARD and _cell(x + y - z, 2.0 * scale) > 0.70:
        return 1.0, 0.07, 0.07, 0.07, 0.85 * fade
    if pattern == RIBS:
        return 1.0 + 0.30 * fade * (1.0 if _cell(x + y, scale) > 0.5 else -1.0), 0.0, 0.0, 0.0, 0.0
    if pattern == PLANKS:
        return 1.0 - 0.42 * fade * _line(z + c, scale, 0.22 * scale), 0.0, 0.0, 0.0, 0.0
    if pattern == CHECKS:
        u = 1.0 if _cell(x + y, scale) > 0.5 else 0.0
        v = 1.0 if _cell(z, scale) > 0.5 else 0.0
        return 1.0 + 0.36 * fade * (u + v - 1.0), 0.0, 0.0, 0.0, 0.0
    if pattern == WHEEL:
        r = math.sqrt(x * x + z * z) / a
        if r < 0.55:
            return 1.0, 0.62, 0.62, 0.64, 0.9
    if pattern == LEAVES:
        clump = hash01(int(math.floor(4 * x)), int(math.floor(4 * y)), int(math.floor(4 * z)), seed)
        return 1.0 + 0.45 * _fade(0.30, footprint) * (clump - 0.5), 0.0, 0.0, 0.0, 0.0
    if pattern == FACE and abs(nx) > 0.6 and abs(nz) < 0.6 and abs(z) < 0.3 * c:
        return 0.7, 0.0, 0.0, 0.0, 0.0
    return 1.0, 0.0, 0.0, 0.0, 0.0


@kernel
def object_texture(table, material, prim, p, x, y, z, nx, ny, nz, footprint, seed):  # type: ignore[no-untyped-def]
    """Gain on the tint and a second colour (r, g, b, weight) at a point of the primitive's frame.

    The half sizes of primitive ``p`` place the pattern.
    """
    f, amp, fine = table[material, 0], table[material, 1], table[material, 2]
    gain = 1.0 + amp * _fade(1.0 / f, footprint) * noise(f * x, f * y, f * z, seed)
    f *= 3.1
    fade = _fade(1.0 / f, footprint)
    if fade > 0.0 and fine > 0.0:
        gain += fine * fade * noise(f * x, f * y, f * z, seed + 1)
    pattern, scale = int(table[material, 3]), table[material, 4]
    a, b, c = prim[p, 3], prim[p, 4], prim[p, 5]
    if pattern in (PLAIN, SPECKLE):
        return gain, 0.0, 0.0, 0.0, 0.0
    if pattern in (CAR_BODY, CABIN, COACH):
        more, r, g, bl, w = _vehicle_pattern(pattern, scale, x, y, z, a, b, c, nx, ny, nz)
    elif pattern in (WINDOWS, BRICK):
        more, r, g, bl, w = _wall_pattern(pattern, scale, x, y, z, c, nx, ny, nz, footprint, seed)
    else:
        more, r, g, bl, w = _small_pattern(pattern, scale, x, y, z, a, c, nx, nz, footprint, seed)
    return gain * more, r, g, bl, w
