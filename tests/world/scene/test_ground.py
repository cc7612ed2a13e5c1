# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from lidistill.world.ground import MISS, Ground, hit_ground

BANDS = [(-5.0, 3, 0.1), (-1.0, 0, 0.0), (4.0, 1, 0.15), (np.inf, 3, 0.1)]
PATCHES = [(2.0, 6.0, -8.0, 3.0, 7, 0.0), (4.0, 9.0, 1.0, 70.0, 8, 0.15)]


def look_up(x: float, y: float) -> tuple[int, float]:
    """The definition: the last patch that holds the point, else its band."""
    found = next(band[1:] for band in BANDS if y < band[0])
    for x0, x1, y0, y1, material, height in PATCHES:
        if x0 <= x < x1 and y0 <= y < y1:
            found = (material, height)
    return found


@pytest.fixture(scope="module")
def ground() -> Ground:
    return Ground.build(BANDS, PATCHES)


def test_bands_and_patches_equal_a_plain_search(ground):
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-12, 12, (2000, 2)), rng.uniform(-90, 90, (500, 2))])
    for x, y in points:
        assert (ground.material(x, y), ground.height(x, y)) == look_up(x, y)


def test_edges_belong_to_the_upper_band(ground):
    for edge in (-5.0, -1.0, 4.0):
        assert ground.material(0.0, edge) == look_up(0.0, edge)[0]
    assert ground.material(2.0, 0.0) == 7
    assert ground.material(6.0, 0.0) == 0 or look_up(6.0, 0.0)[0] == ground.material(6.0, 0.0)


def test_patches_widen_to_the_grid():
    ground = Ground.build(BANDS, [(0.1, 0.3, -1.0, 1.0, 9, 0.0)])
    assert ground.material(0.0, 0.0) == 9
    assert ground.material(0.49, 0.0) == 9
    assert ground.material(0.5, 0.0) == 1


def test_no_patches():
    ground = Ground.build(BANDS, [])
    assert ground.material(100.0, -3.0) == 0


def test_rays_meet_the_first_surface(ground):
    """Against walking down the ray in small steps until it is below the ground."""
    rng = np.random.default_rng(1)
    steps_met = 0
    for _ in range(400):
        origin = np.array([*rng.uniform(-10, 10, 2), rng.uniform(1.0, 2.5)])
        ray = rng.normal(size=3) * [1, 1, 0.2]
        ray /= np.linalg.norm(ray)
        t, material, step = hit_ground(*ground.arrays, tuple(origin), tuple(ray))
        if ray[2] >= 0:
            assert t == MISS
            continue
        if t > 60:
            continue
        walk = origin + np.arange(0.0, t + 0.5, 0.005)[:, None] * ray
        below = np.array([z < look_up(x, y)[1] for x, y, z in walk])
        assert t == pytest.approx(np.argmax(below) * 0.005, abs=0.01)
        x, y, z = origin + t * ray
        if step:
            steps_met += 1
            assert -1e-3 < z < 0.15
        else:
            assert z == pytest.approx(look_up(x, y)[1], abs=1e-9)
            assert material == look_up(x, y)[0]
    assert steps_met > 0


def test_a_sensor_below_a_level_looks_past_it(ground):
    t, material, _ = hit_ground(*ground.arrays, (0.0, -3.0, 0.12), (1.0, 0.0, -0.5))
    assert material == 0
    assert t == pytest.approx(0.24)
