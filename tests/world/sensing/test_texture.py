# SPDX-License-Identifier: Apache-2.0
"""Noise and patterns: what they are made of, and that they tell classes apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lidistill.world import materials as m
from lidistill.world.sensing import noise as n
from lidistill.world.sensing import patterns, texture

TABLE = m.texture_table()
SIDE = (0.0, 1.0, 0.0)


def patch(name: str, footprint: float = 0.0, side: float = 2.0, size: int = 48) -> np.ndarray:
    """(size, size) gains of a material on an upright wall, second colour mixed in as its grey."""
    steps = np.linspace(-side / 2, side / 2, size)
    out = np.empty((size, size))
    for i, x in enumerate(steps):
        for j, z in enumerate(steps):
            gain, r, g, b, w = texture.object_texture(
                TABLE, m.INDEX[name], (x, 0.0, z), (2.0, 1.0, 1.5), SIDE, footprint, 5
            )
            out[i, j] = gain * (1 - w) + 2.0 * w * (r + g + b) / 3
    return out


def ground_patch(
    name: str, footprint: float = 0.0, side: float = 4.0, size: int = 64
) -> np.ndarray:
    steps = np.linspace(10.0, 10.0 + side, size)
    marks = np.zeros((0, 6))
    index = m.INDEX[name]
    return np.array(
        [
            [texture.ground_texture(TABLE, index, x, y, footprint, marks, 5)[0] for y in steps]
            for x in steps
        ]
    )


def roughness(gains: np.ndarray) -> float:
    """Mean absolute step between neighbours: how busy a texture is."""
    return float(np.abs(np.diff(gains, axis=0)).mean() + np.abs(np.diff(gains, axis=1)).mean())


def test_hash_is_uniform_and_depends_on_every_argument():
    values = np.array(
        [n.hash01(i, j, k, 3) for i in range(-8, 8) for j in range(16) for k in range(8)]
    )
    assert values.min() >= 0.0
    assert values.max() < 1.0
    histogram = np.histogram(values, bins=8, range=(0, 1))[0] / len(values)
    np.testing.assert_allclose(histogram, 1 / 8, atol=0.03)
    base = n.hash01(1, 2, 3, 4)
    assert base not in (
        n.hash01(2, 2, 3, 4),
        n.hash01(1, 3, 3, 4),
        n.hash01(1, 2, 4, 4),
        n.hash01(1, 2, 3, 5),
    )


def naive_noise(x: float, y: float, z: float, seed: int) -> float:
    total = 0.0
    for di in (0, 1):
        for dj in (0, 1):
            for dk in (0, 1):
                weight = 1.0
                for value, step in ((x, di), (y, dj), (z, dk)):
                    u = value - math.floor(value)
                    u = u * u * (3 - 2 * u)
                    weight *= u if step else 1 - u
                corner = (math.floor(x) + di, math.floor(y) + dj, math.floor(z) + dk)
                total += weight * n.hash01(*corner, seed)
    return 2 * total - 1


def test_noise_equals_the_plain_formula_and_is_smooth():
    rng = np.random.default_rng(0)
    for x, y, z in rng.uniform(-9, 9, (200, 3)):
        assert n.noise(x, y, z, 7) == pytest.approx(naive_noise(x, y, z, 7), abs=1e-12)
        assert n.noise(x + 1e-7, y, z, 7) == pytest.approx(n.noise(x, y, z, 7), abs=1e-6)


def test_fade_hides_what_a_pixel_cannot_resolve():
    assert n.fade(1.0, 0.0) == 1.0
    assert n.fade(1.0, 0.25) == 1.0
    assert n.fade(1.0, 0.5) == pytest.approx(0.5)
    assert n.fade(1.0, 5.0) == 0.0


def test_cells_and_lines():
    assert n.cell(-0.25, 1.0) == pytest.approx(0.75)
    assert n.line(1.05, 1.0, 0.1) == 1.0
    assert n.line(1.15, 1.0, 0.1) == 0.0


def test_far_textures_are_calm():
    for name in ("leaf", "truck_box", "cloth"):
        assert roughness(patch(name, footprint=20.0)) < 0.2 * roughness(patch(name))
    assert roughness(ground_patch("grass", 20.0)) < 0.05 * roughness(ground_patch("grass"))


def test_texture_statistics_differ_by_class():
    """Leaves and grass are busy, paint and road are calm; slabs and hatching have their lines."""
    leaf, paint = patch("leaf"), patch("car_cabin", side=0.2)
    assert roughness(leaf) > 5 * roughness(paint)
    grass, road, walk = ground_patch("grass"), ground_patch("road"), ground_patch("sidewalk")
    assert roughness(grass) > 2 * roughness(road)
    assert grass.std() > 1.5 * road.std()
    assert walk.min() < 0.75  # seams
    assert road.min() > 0.7
    gravel = ground_patch("gravel")
    assert np.abs(gravel - gravel.mean()).mean() > 0.15  # two tones


def test_planks_run_level_and_ribs_run_upright():
    def along(gains: np.ndarray) -> tuple[float, float]:
        return gains.mean(axis=1).std(), gains.mean(axis=0).std()

    level_x, level_z = along(patch("truck_box"))
    upright_x, upright_z = along(patch("trailer_box"))
    assert level_z > 3 * level_x
    assert upright_x > 3 * upright_z


def test_road_paint_follows_the_marks():
    marks = np.array([[1.0, 0.1, 6.0, 3.0, -50.0, 50.0], [-2.0, 0.1, 0.0, 0.0, 0.0, 10.0]])
    assert texture.lane_paint(1.0, 1.05, marks) > 0  # in a dash
    assert texture.lane_paint(4.0, 1.05, marks) == 0  # between dashes
    assert texture.lane_paint(60.0, 1.05, marks) == 0  # beyond the line
    assert texture.lane_paint(5.0, -2.0, marks) > 0  # solid
    assert texture.lane_paint(5.0, 0.0, marks) == 0


@pytest.mark.parametrize(
    ("pattern", "front", "rear"),
    [
        (patterns.car_body, (0.95, 0.95, 0.85), (0.80, 0.08, 0.06)),
        (patterns.coach, None, (0.80, 0.06, 0.06)),
    ],
)
def test_fronts_and_rears_differ(pattern, front, rear):
    half = (2.0, 0.9, 0.4)
    found = {}
    for sign in (1.0, -1.0):
        colours = {
            tuple(pattern((sign * 2.0, y, z), half, (sign, 0.0, 0.0), 1.0, 0.0, 1)[1:4])
            for y in np.linspace(-0.89, 0.89, 25)
            for z in np.linspace(-0.39, 0.39, 25)
        }
        found[sign] = colours
    assert front is None or front in found[1.0]
    assert rear in found[-1.0]
    assert rear not in found[1.0]


def test_windows_are_darker_than_their_wall():
    half = (8.0, 5.0, 6.0)
    points = [(x, 5.0, z) for x in np.linspace(-7, 7, 40) for z in np.linspace(-5.5, 5.5, 40)]
    weights = [patterns.windows(p, half, SIDE, 3.1, 0.0, 1)[4] for p in points]
    assert 0.1 < np.mean(np.array(weights) > 0) < 0.4
    assert patterns.windows((0.0, 0.0, 6.0), half, (0.0, 0.0, 1.0), 3.1, 0.0, 1)[4] == 0.0


def test_materials_tables_follow_the_names():
    assert TABLE.shape == (len(m.NAMES), 5)
    lidar = m.lidar_table()
    for name, material in m.MATERIALS.items():
        assert TABLE[m.INDEX[name], 0] == material.frequency
        assert lidar[m.INDEX[name], 0] == material.reflectivity


def test_reflectivities_nearly_coincide():
    """Medians within a factor of 1.9 of each other, far less than the spread of single points."""
    medians = m.lidar_table()[:, 0]
    assert medians.max() / medians.min() < 1.9
