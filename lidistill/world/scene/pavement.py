# SPDX-License-Identifier: Apache-2.0
"""The ground of a street: its bands, side streets, painted marks and tints."""

from __future__ import annotations

import numpy as np

from lidistill.world.ground import Band, Ground, Patch
from lidistill.world.materials import EARTH, INDEX, MATERIALS, PLANTS
from lidistill.world.scene.site import CROSSING, CYCLE, LANE, PARKING, Site


def make_ground(site: Site) -> Ground:
    """Bands from the middle of the street outwards, and side streets across them."""
    rng, s = site.rng, site.street
    inner = [s.half, s.half + 0.25, s.half + s.path, s.half + s.path + s.green]
    right = ["road", "kerb", "sidewalk", str(rng.choice(["grass", "gravel"])), "grass"]
    left = ["road", "kerb", "sidewalk", str(rng.choice(["grass", "gravel"])), "grass"]
    height = [0.0, s.kerb, s.kerb, s.kerb, s.kerb]
    bands: list[Band] = []
    for k in range(4, 0, -1):
        bands.append((-inner[k - 1], INDEX[right[k]], height[k]))
    if s.median > 0.0:
        bands.append((-s.median, INDEX["road"], 0.0))
        bands.append((s.median, INDEX["gravel"], s.kerb))
    bands.append((inner[0], INDEX["road"], 0.0))
    for k in range(1, 5):
        bands.append((inner[k] if k < 4 else np.inf, INDEX[left[k]], height[k]))
    patches: list[Patch] = []
    for _ in range(3):  # gravel lots in the green, so that no scene lacks the class
        x, side = rng.uniform(site.near[0], site.near[1]), rng.choice([-1.0, 1.0])
        y0, y1 = sorted((side * inner[2], side * (inner[3] + 6.0)))
        patches.append((x, x + rng.uniform(6, 14), y0, y1, INDEX["gravel"], s.kerb))
    for x in site.crossings:
        x0, x1 = x - CROSSING / 2, x + CROSSING / 2
        patches.append((x0, x1, inner[0] - 0.01, 70.0, INDEX["road"], 0.0))
        patches.append((x0, x1, -70.0, 0.01 - inner[0], INDEX["road"], 0.0))
        if s.median > 0.0:
            patches.append((x0, x1, -s.median - 0.01, s.median + 0.01, INDEX["road"], 0.0))
    return Ground.build(bands, patches)


def make_marks(site: Site) -> np.ndarray:
    """Painted lines: (K, 6) y, half width, dash period, dash length, x0, x1."""
    s, far = site.street, 1e4
    rows = []
    if s.median == 0.0:
        rows.append((0.0, 0.07, 6.0, 3.0, -far, far))
    for side in (-1.0, 1.0):
        for lane in range(1, s.lanes):
            rows.append((side * (s.median + LANE * lane), 0.06, 9.0, 3.0, -far, far))
        rows.append((side * (s.half - PARKING - CYCLE), 0.06, 0.0, 0.0, -far, far))
        rows.append((side * (s.half - PARKING), 0.06, 2.0, 1.0, -far, far))
    for x in site.crossings:
        for y in np.arange(-s.half + 0.6, s.half - 0.3, 1.1):
            rows.append((y, 0.28, 0.0, 0.0, x - CROSSING / 2 - 4.0, x - CROSSING / 2 - 1.0))
    return np.array(rows)


def draw_ground_tints(rng: np.random.Generator) -> np.ndarray:
    """(M, 3): road, pavement and gravel share grey earths; grass runs from green to straw."""
    tints = np.full((len(MATERIALS), 3), 0.4)
    for name in ("road", "sidewalk", "kerb", "gravel"):
        tints[INDEX[name]] = EARTH[rng.integers(len(EARTH))] * rng.uniform(0.8, 1.25)
    tints[INDEX["grass"]] = PLANTS[rng.integers(len(PLANTS))] * rng.uniform(0.85, 1.25)
    return np.clip(tints, 0.05, 0.9)
