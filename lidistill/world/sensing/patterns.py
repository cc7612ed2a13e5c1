# SPDX-License-Identifier: Apache-2.0
"""Patterns on objects: what tells a car's front from its rear, brick from planks, cloth from paint.

Each pattern sees a point of the primitive's own frame: ``at`` (x, y, z), the primitive's half sizes
``half`` (a, b, c), the unit normal there, the pattern's scale in metres, the pixel's footprint in
metres and the object's seed. It returns a gain on the tint and a second colour with its weight:
(gain, r, g, b, weight). Detail finer than the footprint fades out instead of flickering.
"""

from __future__ import annotations

import math

from lidistill.world.jit import helper
from lidistill.world.sensing.noise import cell, fade, hash01, line

DARK_GLASS = (1.0, 0.12, 0.16, 0.19, 0.92)
UNCHANGED = (1.0, 0.0, 0.0, 0.0, 0.0)


@helper
def car_front(v, h):  # type: ignore[no-untyped-def]
    """Headlights, grille and plate; v, h are the distances from the middle in half sizes."""
    if v > 0.62 and -0.15 < h < 0.55:
        return 1.0, 0.95, 0.95, 0.85, 1.0
    if v < 0.55 and -0.35 < h < 0.25:
        return 1.0, 0.06, 0.06, 0.07, 0.9
    if v < 0.25 and -0.80 < h < -0.45:
        return 1.0, 0.90, 0.90, 0.90, 1.0
    return UNCHANGED


@helper
def car_rear(v, h):  # type: ignore[no-untyped-def]
    """Red lights at the corners, a plate in the middle."""
    if v > 0.66 and 0.05 < h < 0.70:
        return 1.0, 0.80, 0.08, 0.06, 1.0
    if v < 0.28 and -0.30 < h < 0.10:
        return 1.0, 0.90, 0.88, 0.70, 1.0
    return UNCHANGED


@helper
def car_body(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """Painted steel: +x is the front; dark sills and door gaps on the sides."""
    v, h = abs(at[1]) / half[1], at[2] / half[2]
    if normal[0] > 0.6:
        return car_front(v, h)
    if normal[0] < -0.6:
        return car_rear(v, h)
    if abs(normal[1]) > 0.6:
        if h < -0.70:
            return 0.45, 0.0, 0.0, 0.0, 0.0
        if line(at[0] + 0.55, 1.1 * scale, 0.06) > 0.0:
            return 0.60, 0.0, 0.0, 0.0, 0.0
    return UNCHANGED


@helper
def cabin(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """Windows all round under a painted roof, with a pillar in the middle of each side."""
    if normal[2] > 0.8:
        return UNCHANGED
    if at[2] < 0.72 * half[2] and (abs(at[0]) > 0.10 * half[0] or abs(normal[1]) < 0.6):
        return DARK_GLASS
    return 0.9, 0.0, 0.0, 0.0, 0.0


@helper
def coach_end(v, h, front):  # type: ignore[no-untyped-def]
    """Wide windscreen and white lamps in front; small window and red lamps at the rear."""
    if (-0.1 if front else 0.3) < h < 0.75 and v < 0.9:
        return DARK_GLASS
    if v > 0.70 and -0.75 < h < -0.50:
        if front:
            return 1.0, 0.95, 0.92, 0.92, 1.0
        return 1.0, 0.80, 0.06, 0.06, 1.0
    return UNCHANGED


@helper
def coach(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """A band of windows with pillars along the sides of a bus."""
    if abs(normal[2]) > 0.8:
        return 1.05, 0.0, 0.0, 0.0, 0.0
    h = at[2] / half[2]
    if abs(normal[0]) > 0.6:
        return coach_end(abs(at[1]) / half[1], h, normal[0] > 0.0)
    if 0.05 < h < 0.62 and cell(at[0], scale) > 0.14:
        return DARK_GLASS
    if h > 0.7:
        return 1.25, 0.0, 0.0, 0.0, 0.0
    return UNCHANGED


@helper
def windows(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """A grid of framed windows on the upright faces, three metres a storey."""
    if abs(normal[2]) > 0.8:
        return 0.8, 0.0, 0.0, 0.0, 0.0
    along = at[1] if abs(normal[0]) > abs(normal[1]) else at[0]
    rise = at[2] + half[2]
    u, v = cell(along, scale), cell(rise, 3.0)
    if 0.28 < u < 0.74 and 0.30 < v < 0.78:
        shade = hash01(math.floor(along / scale), math.floor(rise / 3.0), 3, seed)
        tone = 0.10 + 0.30 * shade * shade
        return 1.0, tone, tone * 1.08, tone * 1.18, 0.9
    if 0.24 < u < 0.78 and 0.26 < v < 0.82:
        return 1.22, 0.0, 0.0, 0.0, 0.0
    return UNCHANGED


@helper
def brick(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """Courses of brick, with windows where the scale is not zero."""
    gain, r, g, b, weight = UNCHANGED
    if scale > 0.0:
        gain, r, g, b, weight = windows(at, half, normal, scale, footprint, seed)
    if abs(normal[2]) < 0.8:
        along = at[1] if abs(normal[0]) > abs(normal[1]) else at[0]
        course = math.floor(at[2] / 0.26)
        seam = max(line(at[2], 0.26, 0.05), line(along + 0.31 * (course % 2), 0.62, 0.05))
        gain *= 1.0 + fade(0.40, footprint) * (0.38 * seam - 0.12)
    return gain, r, g, b, weight


@helper
def stripes(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """White rings around a cone."""
    if cell(at[2] + half[2], scale) > 0.55:
        return 1.0, 0.92, 0.92, 0.90, 0.4 + 0.5 * fade(scale, footprint)
    return UNCHANGED


@helper
def diagonal(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """Broad white diagonals on a barrier."""
    if cell(at[0] + at[1] + at[2], scale) > 0.5:
        return 1.0, 0.92, 0.92, 0.90, 0.4 + 0.5 * fade(scale, footprint)
    return UNCHANGED


@helper
def hazard(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """Black diagonals of construction machines."""
    if cell(at[0] + at[1] - at[2], 2.0 * scale) > 0.70:
        return 1.0, 0.07, 0.07, 0.07, 0.85 * fade(scale, footprint)
    return UNCHANGED


@helper
def ribs(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """Upright corrugation of a trailer."""
    sign = 1.0 if cell(at[0] + at[1], scale) > 0.5 else -1.0
    return 1.0 + 0.30 * fade(scale, footprint) * sign, 0.0, 0.0, 0.0, 0.0


@helper
def planks(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """Level dark joints: boards of a fence, panels of a truck."""
    joint = line(at[2] + half[2], scale, 0.22 * scale)
    return 1.0 - 0.42 * fade(scale, footprint) * joint, 0.0, 0.0, 0.0, 0.0


@helper
def checks(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """Checked cloth."""
    u = 1.0 if cell(at[0] + at[1], scale) > 0.5 else 0.0
    v = 1.0 if cell(at[2], scale) > 0.5 else 0.0
    return 1.0 + 0.36 * fade(scale, footprint) * (u + v - 1.0), 0.0, 0.0, 0.0, 0.0


@helper
def wheel(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """A light hub within a dark tyre."""
    if at[0] * at[0] + at[2] * at[2] < 0.3 * half[0] * half[0]:
        return 1.0, 0.62, 0.62, 0.64, 0.9
    return UNCHANGED


@helper
def leaves(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """Clumps of leaves, a quarter of a metre across."""
    clump = hash01(math.floor(4 * at[0]), math.floor(4 * at[1]), math.floor(4 * at[2]), seed)
    return 1.0 + 0.45 * fade(0.30, footprint) * (clump - 0.5), 0.0, 0.0, 0.0, 0.0


@helper
def face(at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    """Eyes of a head, or the darker print of a sign."""
    if abs(normal[0]) > 0.6 and abs(normal[2]) < 0.6 and abs(at[2]) < 0.3 * half[2]:
        return 0.7, 0.0, 0.0, 0.0, 0.0
    return UNCHANGED
