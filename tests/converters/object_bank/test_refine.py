# SPDX-License-Identifier: Apache-2.0
"""Registration of views: helps where it should, and leaves aligned views alone."""

import numpy as np
import pytest

from lidistill.converters.object_bank.accumulate import Clouds
from lidistill.converters.object_bank.bank import REFINED
from lidistill.converters.object_bank.refine import Match, accepted_step, accepts, refine_views
from lidistill.geometry.frames import apply_transform, rotation_about_z
from tests.converters.object_bank.scenes import surface

open3d = pytest.importorskip("open3d", exc_type=(ImportError, OSError))


def car(seed, count=600):
    return surface("car0", np.random.default_rng(seed), count)


def step(x, y, degrees):
    pose = rotation_about_z(np.deg2rad(degrees))
    pose[:2, 3] = x, y
    return pose


def test_a_shifted_view_is_moved_back():
    view = apply_transform(step(0.15, -0.08, 2.0), car(1))
    found = accepted_step(view, car(0))
    assert found is not None
    moved = np.linalg.norm(apply_transform(found, view) - car(1), axis=1).mean()
    before = np.linalg.norm(view - car(1), axis=1).mean()
    assert moved < 0.3 * before


def test_few_points_and_far_views_stay():
    assert accepted_step(car(1, 20), car(0)) is None
    assert accepted_step(car(1) + 3.0, car(0)) is None


def test_what_is_accepted():
    better = Match(0.9, 0.05)
    assert accepts(step(0.1, 0, 1), Match(0.8, 0.1), better)
    assert not accepts(step(0.6, 0, 0), Match(0.8, 0.1), better)
    assert not accepts(step(0.1, 0, 12), Match(0.8, 0.1), better)
    assert not accepts(step(0.1, 0, 1), Match(0.95, 0.1), better)  # fewer points match
    assert not accepts(step(0.1, 0, 1), Match(0.8, 0.055), better)  # hardly closer


def test_views_of_an_instance():
    views = [car(0), apply_transform(step(0.2, 0.1, 3.0), car(1)), car(2)]
    xyz = np.rint(np.concatenate(views) * 1000).astype(np.int16)
    count = len(xyz)
    cloud = Clouds(
        np.array([0, count]),
        xyz,
        np.zeros(count, np.uint8),
        np.zeros(0, np.uint8),
        np.repeat([0, 4, 7], 600).astype(np.uint16),
        np.zeros(count, np.uint8),
    )
    refined, moved = refine_views(cloud)
    assert moved >= 1
    assert (refined.flags[600:1200] & REFINED).all()
    assert not (refined.flags[:600] & REFINED).any()
    before = np.linalg.norm(cloud.xyz[600:1200] / 1e3 - car(1), axis=1).mean()
    after = np.linalg.norm(refined.xyz[600:1200] / 1e3 - car(1), axis=1).mean()
    assert after < 0.3 * before
