# SPDX-License-Identifier: Apache-2.0
"""Texture of a surface point: two octaves of noise times the pattern of its material."""

from __future__ import annotations

import math

from lidistill.world import materials as m
from lidistill.world.jit import helper
from lidistill.world.sensing import patterns
from lidistill.world.sensing.noise import cell, fade, hash01, line, noise

PLAIN, SPECKLE, LANES, SLABS, HATCH = m.PLAIN, m.SPECKLE, m.LANES, m.SLABS, m.HATCH
CAR_BODY, CABIN, COACH, WINDOWS, BRICK = m.CAR_BODY, m.CABIN, m.COACH, m.WINDOWS, m.BRICK
STRIPES, DIAGONAL, HAZARD, RIBS, PLANKS = m.STRIPES, m.DIAGONAL, m.HAZARD, m.RIBS, m.PLANKS
CHECKS, WHEEL, LEAVES = m.CHECKS, m.WHEEL, m.LEAVES

_car_body, _cabin, _coach = patterns.car_body, patterns.cabin, patterns.coach
_windows, _brick, _stripes = patterns.windows, patterns.brick, patterns.stripes
_diagonal, _hazard, _ribs = patterns.diagonal, patterns.hazard, patterns.ribs
_planks, _checks, _wheel = patterns.planks, patterns.checks, patterns.wheel
_leaves, _face = patterns.leaves, patterns.face


@helper
def octaves(table, material, x, y, z, footprint, seed):  # type: ignore[no-untyped-def]
    """Gain of a material's two noise octaves at a point."""
    f, gain = table[material, 0], 1.0
    gain += table[material, 1] * fade(1.0 / f, footprint) * noise(f * x, f * y, f * z, seed)
    f *= 3.1
    weight = table[material, 2] * fade(1.0 / f, footprint)
    if weight > 0.0:
        gain += weight * noise(f * x, f * y, f * z, seed + 1)
    return gain


@helper
def lane_paint(x, y, marks):  # type: ignore[no-untyped-def]
    """Amount of paint at a point of the road; ``marks`` as in :class:`scene.Scene`."""
    for k in range(marks.shape[0]):
        if abs(y - marks[k, 0]) < marks[k, 1] and marks[k, 4] <= x < marks[k, 5]:
            period = marks[k, 2]
            if period <= 0.0 or cell(x, period) * period < marks[k, 3]:
                return 0.85
    return 0.0


@helper
def ground_texture(table, material, x, y, footprint, marks, seed):  # type: ignore[no-untyped-def]
    """Gain on the tint and amount of white paint at a ground point of the world frame."""
    gain = octaves(table, material, x, y, 0.0, footprint, seed)
    pattern, scale = int(table[material, 3]), table[material, 4]
    if pattern == LANES:
        gain *= 1.0 + 0.10 * noise(0.25 * x, 0.9 * y, 0.0, seed + 5)
        return gain, lane_paint(x, y, marks)
    if pattern == SLABS:
        seam = max(line(x, scale, 0.09), line(y, scale, 0.09))
        tone = hash01(math.floor(x / scale), math.floor(y / scale), 7, seed) - 0.5
        gain *= 1.0 + fade(scale, footprint) * (0.22 * tone - 0.40 * seam)
    elif pattern == HATCH:
        sign = 1.0 if cell(x + y, scale) < 0.5 else -1.0
        gain *= 1.0 + 0.35 * fade(scale, footprint) * sign
    return gain, 0.0


@helper
def _built(pattern, at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    if pattern == CAR_BODY:
        return _car_body(at, half, normal, scale, footprint, seed)
    if pattern == CABIN:
        return _cabin(at, half, normal, scale, footprint, seed)
    if pattern == COACH:
        return _coach(at, half, normal, scale, footprint, seed)
    if pattern == WINDOWS:
        return _windows(at, half, normal, scale, footprint, seed)
    if pattern == BRICK:
        return _brick(at, half, normal, scale, footprint, seed)
    if pattern == PLANKS:
        return _planks(at, half, normal, scale, footprint, seed)
    return _ribs(at, half, normal, scale, footprint, seed)


@helper
def _small(pattern, at, half, normal, scale, footprint, seed):  # type: ignore[no-untyped-def]
    if pattern == CHECKS:
        return _checks(at, half, normal, scale, footprint, seed)
    if pattern == LEAVES:
        return _leaves(at, half, normal, scale, footprint, seed)
    if pattern == WHEEL:
        return _wheel(at, half, normal, scale, footprint, seed)
    if pattern == STRIPES:
        return _stripes(at, half, normal, scale, footprint, seed)
    if pattern == DIAGONAL:
        return _diagonal(at, half, normal, scale, footprint, seed)
    if pattern == HAZARD:
        return _hazard(at, half, normal, scale, footprint, seed)
    return _face(at, half, normal, scale, footprint, seed)


@helper
def object_texture(table, material, at, half, normal, footprint, seed):  # type: ignore[no-untyped-def]
    """Gain on the tint and a second colour (r, g, b, weight) at a point of the primitive's frame.

    Point, half sizes and normal are tuples; see :mod:`lidistill.world.sensing.patterns`.
    """
    gain = octaves(table, material, at[0], at[1], at[2], footprint, seed)
    pattern, scale = int(table[material, 3]), table[material, 4]
    if pattern in (PLAIN, SPECKLE):
        return gain, 0.0, 0.0, 0.0, 0.0
    if pattern in (CAR_BODY, CABIN, COACH, WINDOWS, BRICK, PLANKS, RIBS):
        more, r, g, b, weight = _built(pattern, at, half, normal, scale, footprint, seed)
    else:
        more, r, g, b, weight = _small(pattern, at, half, normal, scale, footprint, seed)
    return gain * more, r, g, b, weight
