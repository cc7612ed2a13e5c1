# SPDX-License-Identifier: Apache-2.0
"""The ground: bands along the road (material and height by y) with rectangular patches on top."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.world.jit import kernel

MISS = 1e30


@dataclass(frozen=True)
class Ground:
    """Piecewise flat ground of a scene, world frame, metres.

    Attributes:
        edges: (K-1,) float64 ascending y where bands meet.
        bands: (K, 2) float64 material and height of each band.
        patches: (Q, 6) float64 x0, x1, y0, y1, material, height; later rows lie on top.
        levels: (L,) float64 all heights that occur, highest first.
    """

    edges: NDArray[np.float64]
    bands: NDArray[np.float64]
    patches: NDArray[np.float64]
    levels: NDArray[np.float64]

    @classmethod
    def build(
        cls, bands: list[tuple[float, int, float]], patches: list[tuple[float, ...]]
    ) -> Ground:
        """Make a ground from ``(upper y, material, height)`` bands, bottom to top, and patches."""
        table = np.array([band[1:] for band in bands], dtype=np.float64)  # (K, 2)
        rows = np.array(patches, dtype=np.float64).reshape(-1, 6)
        levels = np.unique(np.concatenate([table[:, 1], rows[:, 5]]))[::-1].copy()
        return cls(np.array([band[0] for band in bands[:-1]]), table, rows, levels)

    def height(self, x: float, y: float) -> float:
        """Height of the ground at (x, y)."""
        return float(ground_at(self.edges, self.bands, self.patches, float(x), float(y))[1])

    def material(self, x: float, y: float) -> int:
        """Material of the ground at (x, y)."""
        return int(ground_at(self.edges, self.bands, self.patches, float(x), float(y))[0])


@kernel
def ground_at(edges, bands, patches, x, y):  # type: ignore[no-untyped-def]
    """Material (int) and height at (x, y)."""
    for q in range(patches.shape[0] - 1, -1, -1):
        if patches[q, 0] <= x < patches[q, 1] and patches[q, 2] <= y < patches[q, 3]:
            return int(patches[q, 4]), patches[q, 5]
    k = 0
    while k < edges.shape[0] and y >= edges[k]:
        k += 1
    return int(bands[k, 0]), bands[k, 1]


@kernel
def hit_ground(edges, bands, patches, levels, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Distance along a ray to the ground, its material, and whether a step's upright face was met."""
    if dz >= -1e-9:
        return MISS, -1, False
    before = 0.0
    for level in levels:
        t = (level - oz) / dz
        if t <= 0.0:
            continue
        material, height = ground_at(edges, bands, patches, ox + t * dx, oy + t * dy)
        if height == level:
            return t, material, False
        if height > level:  # the ray ran into a step between the last level and this one
            low, high = before, t
            for _ in range(30):
                middle = 0.5 * (low + high)
                _, h = ground_at(edges, bands, patches, ox + middle * dx, oy + middle * dy)
                if h > oz + middle * dz:
                    high = middle
                else:
                    low = middle
            material, _ = ground_at(edges, bands, patches, ox + high * dx, oy + high * dy)
            return high, material, True
        before = t
    return MISS, -1, False
