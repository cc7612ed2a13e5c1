# SPDX-License-Identifier: Apache-2.0
"""Rays against primitives, compared with an implicit function walked in small steps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lidistill.world import primitives as pr

KINDS = [pr.BOX, pr.FRUSTUM, pr.CYLINDER_Z, pr.CYLINDER_Y, pr.ELLIPSOID]


def table(kind: int, rng: np.random.Generator) -> np.ndarray:
    yaw = rng.uniform(-3, 3)
    slopes = rng.uniform(0.0, 0.3, 3) if kind == pr.FRUSTUM else np.zeros(3)
    half = rng.uniform(0.5, 1.5, 3)
    half[2] = min(half[2], 0.9)
    return np.array([[*rng.uniform(-1, 1, 3), *half, math.cos(yaw), math.sin(yaw), *slopes]])


def outside(kind: int, row: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Positive outside, negative inside; written from the definition of each shape."""
    cx, cy, cz, a, b, c, cos, sin, front, rear, side = row
    d = point - np.array([cx, cy, cz])
    x, y, z = cos * d[..., 0] + sin * d[..., 1], cos * d[..., 1] - sin * d[..., 0], d[..., 2]
    if kind == pr.ELLIPSOID:
        return (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 - 1
    if kind == pr.CYLINDER_Z:
        return np.maximum((x / a) ** 2 + (y / b) ** 2 - 1, np.abs(z) - c)
    if kind == pr.CYLINDER_Y:
        return np.maximum((x / a) ** 2 + (z / c) ** 2 - 1, np.abs(y) - b)
    rise = z + c
    planes = [
        x + front * rise - a,
        -x + rear * rise - a,
        np.abs(y) + side * rise - b,
        np.abs(z) - c,
    ]
    return np.max(planes, axis=0)


@pytest.mark.parametrize("kind", KINDS)
def test_first_crossing_of_the_implicit_surface(kind):
    rng = np.random.default_rng(kind)
    hits = 0
    for _ in range(150):
        prim = table(kind, rng)
        origin = rng.uniform(-5, 5, 3)
        if outside(kind, prim[0], origin) < 0.05:
            continue
        ray = prim[0, :3] + rng.normal(0, 0.8, 3) - origin
        ray /= np.linalg.norm(ray)
        t = pr.hit(prim, 0, kind, tuple(origin), tuple(ray))
        steps = np.arange(0.0, 14.0, 0.002)
        inside = outside(kind, prim[0], origin + steps[:, None] * ray) < 0
        if inside.any():
            assert t == pytest.approx(steps[np.argmax(inside)], abs=0.003)
            hits += 1
        elif t < pr.MISS:  # a graze shorter than one step: the point must lie on the surface
            assert abs(outside(kind, prim[0], origin + t * ray)) < 0.01
    assert hits > 40


@pytest.mark.parametrize("kind", KINDS)
def test_a_ray_from_inside_or_away_misses(kind):
    prim = table(kind, np.random.default_rng(5))
    centre = prim[0, :3]
    assert pr.hit(prim, 0, kind, tuple(centre), (1.0, 0.0, 0.0)) == pr.MISS
    assert pr.hit(prim, 0, kind, (centre[0] + 9, centre[1], centre[2]), (1.0, 0.0, 0.0)) == pr.MISS
    above = (centre[0] + 9, centre[1], centre[2] + 50)
    assert pr.hit(prim, 0, kind, above, (-1.0, 0.0, 0.0)) == pr.MISS


@pytest.mark.parametrize("kind", KINDS)
def test_rays_along_an_axis(kind):
    prim = np.array([[0.0, 0, 0, 1.0, 0.8, 0.6, 1, 0, 0, 0, 0]])
    for axis, half in enumerate(prim[0, 3:6]):
        origin, ray = np.zeros(3), np.zeros(3)
        origin[axis], ray[axis] = 5.0, -1.0
        assert pr.hit(prim, 0, kind, tuple(origin), tuple(ray)) == pytest.approx(5.0 - half)


@pytest.mark.parametrize("kind", KINDS)
def test_normal_is_the_gradient_of_the_implicit_function(kind):
    rng = np.random.default_rng(10 + kind)
    checked = 0
    for _ in range(80):
        prim = table(kind, rng)
        direction = rng.normal(size=3)
        origin = prim[0, :3] + 6 * direction / np.linalg.norm(direction)
        ray = prim[0, :3] + rng.normal(0, 0.3, 3) - origin
        ray /= np.linalg.norm(ray)
        t = pr.hit(prim, 0, kind, tuple(origin), tuple(ray))
        if t >= pr.MISS:
            continue
        point = origin + t * ray
        local = pr.local_point(prim, 0, *point)
        nx, ny, nz = pr.local_normal(prim, 0, kind, *local)
        cos, sin = prim[0, 6:8]
        normal = np.array([cos * nx - sin * ny, sin * nx + cos * ny, nz])
        eps = 1e-5 * np.eye(3)
        gradient = outside(kind, prim[0], point + eps) - outside(kind, prim[0], point - eps)
        gradient /= np.linalg.norm(gradient)
        assert np.linalg.norm(normal) == pytest.approx(1.0)
        checked += float(normal @ gradient) > 0.999
        assert normal @ ray < 0
    assert checked >= 60


def test_local_point_inverts_the_pose():
    prim = table(pr.BOX, np.random.default_rng(1))
    x, y, z = pr.local_point(prim, 0, 3.0, -2.0, 1.0)
    cos, sin = prim[0, 6:8]
    back = prim[0, :3] + [cos * x - sin * y, sin * x + cos * y, z]
    np.testing.assert_allclose(back, [3.0, -2.0, 1.0], atol=1e-12)
