# SPDX-License-Identifier: Apache-2.0
"""The ground: bands along the street (material and height by y), crossed by rectangular patches.

Patches begin and end on a grid of ``BIN`` metres along x, so that a point's bands are found
without a search: each bin of x names a profile, the bands from right to left at that x, and each
bin of y says where to start in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.world.jit import inlined, kernel

MISS = 1e30
BIN = 0.25
REACH = 64.0  # y up to which bins of y exist; beyond them the search starts at the first band

Band = tuple[float, int, float]  # upper y, material, height
Patch = tuple[float, float, float, float, int, float]  # x0, x1, y0, y1, material, height


@dataclass(frozen=True)
class Ground:
    """Piecewise flat ground of a scene, world frame, metres.

    Attributes:
        start: x where the first bin begins; beyond the bins profile 0 holds.
        bins: (X,) int64 profile of each bin.
        edges: (Q, K) float64 ascending y where the bands of a profile meet, padded with infinity.
        bands: (Q, K + 1, 2) float64 material and height of each band of a profile.
        hints: (Q, Y) int64 first band of a profile that can hold a y of this bin.
        levels: (L,) float64 all heights that occur, highest first.
    """

    start: float
    bins: NDArray[np.int64]
    hints: NDArray[np.int64]
    edges: NDArray[np.float64]
    bands: NDArray[np.float64]
    levels: NDArray[np.float64]

    @classmethod
    def build(cls, bands: list[Band], patches: list[Patch]) -> Ground:
        """Make a ground from bands, right to left, and patches; later patches lie on top.

        The last band reaches to infinity. Patches are widened to the grid of bins.
        """
        low = np.floor([patch[0] / BIN for patch in patches]).astype(int)
        high = np.ceil([patch[1] / BIN for patch in patches]).astype(int)
        first, last = (int(low.min()), int(high.max())) if patches else (0, 1)
        profiles: dict[tuple[Band, ...], int] = {tuple(bands): 0}
        bins = []
        for k in range(first, last):
            over = [p for p, i, j in zip(patches, low, high, strict=True) if i <= k < j]
            bins.append(profiles.setdefault(_cut(bands, over), len(profiles)))
        width = max(map(len, profiles))
        edges = np.full((len(profiles), width), np.inf)
        table = np.zeros((len(profiles), width, 2))
        for row, profile in enumerate(profiles):
            edges[row, : len(profile)] = [band[0] for band in profile]
            table[row, : len(profile)] = [band[1:] for band in profile]
        heights = {band[2] for profile in profiles for band in profile}
        levels = np.array(sorted(heights, reverse=True))
        rows = np.arange(-REACH, REACH, BIN)
        hints = np.stack([np.searchsorted(edge, rows, side="right") for edge in edges])
        return cls(first * BIN, np.array(bins, dtype=np.int64), hints, edges, table, levels)

    @property
    def arrays(self) -> tuple[float, NDArray, NDArray, NDArray, NDArray, NDArray]:
        """The fields as the kernels take them."""
        return self.start, self.bins, self.hints, self.edges, self.bands, self.levels

    def look_up(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) material and height at (N, 2) points."""
        found = np.empty((len(points), 2))
        look_up_kernel(*self.arrays[:5], np.ascontiguousarray(points, dtype=np.float64), found)
        return found

    def height(self, x: float, y: float) -> float:
        """Height of the ground at (x, y)."""
        return float(self.look_up(np.array([[x, y]]))[0, 1])

    def material(self, x: float, y: float) -> int:
        """Material of the ground at (x, y)."""
        return int(self.look_up(np.array([[x, y]]))[0, 0])


def _cut(bands: list[Band], patches: list[Patch]) -> tuple[Band, ...]:
    """The bands along y once patches lie on them."""
    marks = [band[0] for band in bands[:-1]] + [y for patch in patches for y in patch[2:4]]
    stops = [*sorted(set(marks)), np.inf]
    result: list[Band] = []
    begin = stops[0] - 2.0 if len(stops) > 1 else 0.0
    for stop in stops:
        middle = 0.5 * (begin + min(stop, begin + 2.0))
        material, height = next(band[1:] for band in bands if middle < band[0])
        for patch in patches:
            if patch[2] <= middle < patch[3]:
                material, height = patch[4:]
        if result and result[-1][1:] == (material, height):
            result.pop()
        result.append((stop, material, height))
        begin = stop
    return tuple(result)


@inlined
def ground_at(start, bins, hints, edges, bands, x, y):  # type: ignore[no-untyped-def]
    """Material (int) and height at (x, y)."""
    q = 0
    offset = (x - start) * (1.0 / BIN)
    if 0.0 <= offset < bins.shape[0]:
        q = bins[int(offset)]
    k = 0
    if -REACH <= y < REACH:
        k = hints[q, int((y + REACH) * (1.0 / BIN))]
    while y >= edges[q, k]:
        k += 1
    return int(bands[q, k, 0]), bands[q, k, 1]


@kernel
def look_up_kernel(start, bins, hints, edges, bands, points, found):  # type: ignore[no-untyped-def]
    """Material and height at many points; see :meth:`Ground.look_up`."""
    for i in range(points.shape[0]):
        x, y = points[i, 0], points[i, 1]
        found[i, 0], found[i, 1] = ground_at(start, bins, hints, edges, bands, x, y)


@inlined
def hit_ground(start, bins, hints, edges, bands, levels, origin, ray):  # type: ignore[no-untyped-def]
    """Distance along a ray to the ground, its material, whether a step's upright face was met."""
    dx, dy, dz = ray
    ox, oy, oz = origin
    if dz >= -1e-9:
        return MISS, -1, False
    before = 0.0
    for k in range(levels.shape[0]):
        level = levels[k]
        t = (level - oz) / dz
        if t <= 0.0:
            continue
        material, height = ground_at(start, bins, hints, edges, bands, ox + t * dx, oy + t * dy)
        if height == level:
            return t, material, False
        if height > level:  # the ray ran into a step between the last level and this one
            low, high = before, t
            for _ in range(16):
                middle = 0.5 * (low + high)
                x, y = ox + middle * dx, oy + middle * dy
                if ground_at(start, bins, hints, edges, bands, x, y)[1] > oz + middle * dz:
                    high = middle
                else:
                    low = middle
            x, y = ox + high * dx, oy + high * dy
            return high, ground_at(start, bins, hints, edges, bands, x, y)[0], True
        before = t
    return MISS, -1, False
