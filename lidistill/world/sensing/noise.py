# SPDX-License-Identifier: Apache-2.0
"""Building blocks of textures: hashing, value noise, periodic cells, fading of fine detail."""

from __future__ import annotations

import math

from lidistill.world.jit import helper


@helper
def hash01(ix, iy, iz, seed):  # type: ignore[no-untyped-def]
    """A number in [0, 1) from three lattice indices and a seed (32-bit integer mixing)."""
    h = (
        int(ix) * 374761393 + int(iy) * 668265263 + int(iz) * 1274126177 + int(seed) * 974634533
    ) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    return (h ^ (h >> 16)) / 4294967296.0


@helper
def noise(x, y, z, seed):  # type: ignore[no-untyped-def]
    """Smooth value noise in [-1, 1] on the unit lattice."""
    i, j, k = int(math.floor(x)), int(math.floor(y)), int(math.floor(z))
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for dk in range(2):
        wk = w if dk else 1.0 - w
        for dj in range(2):
            wj = v if dj else 1.0 - v
            a = hash01(i, j + dj, k + dk, seed)
            b = hash01(i + 1, j + dj, k + dk, seed)
            total += wk * wj * (a + u * (b - a))
    return 2.0 * total - 1.0


@helper
def fade(period, footprint):  # type: ignore[no-untyped-def]
    """1 where detail of this period is resolved by the pixel, falling to 0 where it is not."""
    return min(max(1.5 - 2.0 * footprint / period, 0.0), 1.0)


@helper
def cell(value, period):  # type: ignore[no-untyped-def]
    """Position within a periodic cell, in [0, 1)."""
    q = value / period
    return q - math.floor(q)


@helper
def line(value, period, width):  # type: ignore[no-untyped-def]
    """1 on a line of the given width (same unit as the period), else 0."""
    return 1.0 if cell(value, period) * period < width else 0.0
