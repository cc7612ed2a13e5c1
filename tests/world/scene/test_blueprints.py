# SPDX-License-Identifier: Apache-2.0
"""Vehicles, people and street furniture: sizes, fronts, margins."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill.world.catalog import CATEGORIES, KINDS
from lidistill.world.scene import people, street, vehicles
from lidistill.world.scene.blueprint import BOTTOM_MARGIN, MARGIN, Blueprint
from lidistill.world.scene.fleet import make_vehicle

# length, width, height of the annotated boxes: nuScenes' means with room to either side
SIZES = {
    "car": ((3.5, 5.2), (1.6, 2.3), (1.3, 2.0)),
    "van": ((4.5, 5.7), (1.8, 2.4), (1.9, 2.5)),
    "truck": ((6.0, 9.5), (2.2, 2.8), (2.6, 4.0)),
    "bus": ((8.5, 12.5), (2.3, 3.0), (2.9, 4.0)),
    "trailer": ((7.0, 12.5), (2.2, 2.9), (2.9, 4.2)),
    "construction": ((4.0, 7.0), (2.0, 3.0), (2.4, 4.2)),
    "motorcycle": ((1.7, 2.7), (0.6, 1.1), (1.0, 1.7)),
    "motorcyclist": ((1.7, 2.7), (0.6, 1.1), (1.6, 2.2)),
    "bicycle": ((1.6, 2.1), (0.5, 0.8), (0.9, 1.4)),
    "cyclist": ((1.6, 2.1), (0.5, 0.9), (1.7, 2.3)),
    "tram": ((17.0, 25.0), (2.3, 3.0), (2.9, 4.0)),
}


def surface_points(plan: Blueprint) -> np.ndarray:
    """Corners of every primitive's bounding box, in the thing's frame."""
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    points = []
    for row in plan.prim:
        local = signs * row[3:6]
        x = row[6] * local[:, 0] - row[7] * local[:, 1]
        y = row[7] * local[:, 0] + row[6] * local[:, 1]
        points.append(np.stack([x, y, local[:, 2]], axis=1) + row[:3])
    return np.concatenate(points)


@pytest.mark.parametrize("kind", SIZES)
def test_sizes(kind):
    for seed in range(12):
        plan = make_vehicle(np.random.default_rng(seed), kind)
        assert plan.kind == kind
        for value, (low, high) in zip(plan.size, SIZES[kind], strict=True):
            assert low <= value <= high


def makers():
    rng = np.random.default_rng(0)
    yield from (make_vehicle(rng, kind) for kind in SIZES)
    yield from (people.pedestrian(rng, kind, 0.3) for kind in ("pedestrian", "child", "worker"))
    yield from (people.sitting(rng), street.cone(rng), street.barrier(rng))


def test_boxes_hold_every_primitive_with_their_margins():
    for plan in makers():
        points = surface_points(plan)
        half = np.array(plan.size) / 2
        assert np.abs(points[:, 0]).max() == pytest.approx(half[0] - MARGIN)
        assert np.abs(points[:, 1]).max() == pytest.approx(half[1] - MARGIN)
        assert points[:, 2].min() == pytest.approx(0.0)
        assert points[:, 2].max() == pytest.approx(plan.size[2] - BOTTOM_MARGIN - MARGIN)


@pytest.mark.parametrize(
    "kind", ["car", "truck", "bus", "trailer", "construction", "motorcycle", "bicycle"]
)
def test_front_and_rear_differ_in_shape(kind):
    """The height profile along x is not its own mirror image."""
    for seed in range(4):
        plan = make_vehicle(np.random.default_rng(seed), kind)
        grid = np.linspace(-plan.size[0] / 2 + 0.1, plan.size[0] / 2 - 0.1, 60)
        top = np.zeros(60)
        for row in plan.prim:
            reach = np.clip(row[2] + row[5], 0, None)
            top = np.where(np.abs(grid - row[0]) <= row[3], np.maximum(top, reach), top)
        assert np.abs(top - top[::-1]).mean() > 0.02


def test_a_barrier_is_long_across_its_heading():
    plan = street.barrier(np.random.default_rng(0))
    assert plan.size[1] > 2 * plan.size[0]


def test_static_things_keep_their_foot_where_it_is():
    for seed in range(10):
        plan = street.pole(np.random.default_rng(seed))
        np.testing.assert_allclose(plan.prim[0, :2], 0.0)
        assert street.tree(np.random.default_rng(seed)).prim[0, :2].tolist() == [0.0, 0.0]


def test_crowns_leave_room_for_people():
    for seed in range(40):
        plan = street.tree(np.random.default_rng(seed))
        crown = plan.prim[1:]
        assert (crown[:, 2] - crown[:, 5]).min() > 1.95


@pytest.mark.parametrize("maker", [street.bush, street.tree, street.pole, street.cabinet])
def test_static_kinds_have_no_box(maker):
    assert KINDS[maker(np.random.default_rng(0)).kind].detection is None


def test_walls_hedges_and_buildings():
    rng = np.random.default_rng(0)
    assert street.wall(rng, 6.0).prim[0, 3] == 3.0
    assert street.hedge(rng, 6.0).kind == "vegetation"
    assert street.building(rng, 12.0, 9.0).prim[0, 5] > 2.0


def test_tints_of_classes_overlap():
    """No class can be told by its mean colour: each class's tints spread over the same palette."""
    rng = np.random.default_rng(0)
    cars = np.array([vehicles.car(rng).tints[0] for _ in range(150)])
    walls = np.array([street.building(rng, 9, 9).tints[0] for _ in range(150)])
    for values in (cars, walls):
        assert values.std(axis=0).min() > 0.08
    nearest = np.linalg.norm(cars[:, None] - walls[None], axis=2).min(axis=1)
    assert np.mean(nearest < 0.15) > 0.5


def test_catalogue_matches_lidarseg():
    assert len(CATEGORIES) == 32
    for kind in KINDS.values():
        assert CATEGORIES[kind.lidarseg] == kind.category
