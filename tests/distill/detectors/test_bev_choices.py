# SPDX-License-Identifier: Apache-2.0
"""Choices on BEV maps, on a grid that is neither square nor symmetric."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lidistill.distill.detectors.bev_choices import (
    BoxPoints,
    CentreGaussian,
    Changed,
    FalsePositives,
    Footprint,
)
from lidistill.distill.detectors.choices import Scene, TopK
from lidistill.distill.detectors.places import match_places
from lidistill.distill.outputs import FeatureMap
from lidistill.geometry.bev_cells import footprint_cells, gaussian_cells
from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.box_points import lattice_points, nine_points
from lidistill.losses import bev

GRID = BEVGrid((-3.0, 9.0), (-2.4, 4.8), (0.6, 0.6))  # 12 rows, 20 columns
BOXES = [
    torch.tensor(
        [[1.0, 0.5, 0, 4.5, 1.9, 1.6, 0.7, 2.0, 0.0], [6.5, 3.1, 0, 0.7, 0.6, 1.7, -2.0, 0, 0]]
    ),
    torch.zeros(0, 9),
    torch.tensor([[3.1, 1.3, 0, 2.1, 0.8, 1.4, 3.0, 0, 1.0]]),
]
CHOICES = [BoxPoints(), BoxPoints(3), CentreGaussian(), Footprint(), FalsePositives(0.9)]


def places_of(grid=GRID):
    generator = torch.Generator().manual_seed(0)
    sides = [torch.randn(3, c, *grid.shape, generator=generator) for c in (4, 6)]
    sides[0].requires_grad_()
    return match_places(*(FeatureMap(side, grid) for side in sides)), sides


def scene_of(heat=None, boxes=BOXES) -> Scene:
    return Scene(None, boxes, None if heat is None else FeatureMap(heat, GRID))


@pytest.mark.parametrize("side", [None, 3])
def test_box_points_are_bilinear_reads(side):
    places, maps = places_of()
    found = BoxPoints(side, dict(factor=1.6))(places, scene_of())
    grown = Changed(factor=1.6)
    for sample, boxes in enumerate(BOXES):
        points = nine_points(grown(boxes)) if side is None else lattice_points(grown(boxes), side)
        xy = points.flatten(0, 1)
        here = found.sample == sample
        for read, feature_map in ((found.student, maps[0]), (found.teacher, maps[1])):
            batch = torch.full((len(xy),), sample)
            expected = GRID.read_bilinear(feature_map, xy, batch)
            torch.testing.assert_close(read[here], expected, rtol=1e-4, atol=1e-5)
    assert found.form == "point"
    assert len(found) == 3 * (9 if side is None else side**2)
    loss = bev.gram_relation(found.student, found.teacher, points=len(found) // 3)
    loss.backward()
    assert maps[0].grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("choice", "cells"),
    [
        (CentreGaussian(0.1, 2), lambda boxes: gaussian_cells(boxes, GRID, 0.1, 2)),
        (Footprint("area"), lambda boxes: footprint_cells(boxes, GRID, "area")),
        (Footprint("sqrt", 0.2), lambda boxes: footprint_cells(boxes, GRID, "sqrt", 0.2)),
    ],
)
def test_cells_carry_features_and_weights(choice, cells):
    places, maps = places_of()
    found, known = choice(places, scene_of()), cells(BOXES).compact()
    rows = maps[0].permute(0, 2, 3, 1).reshape(-1, 4)[known.index]
    torch.testing.assert_close(found.student, rows)
    torch.testing.assert_close(found.weights, known.weights)
    assert torch.equal(found.sample, known.sample())
    column = (known.index % (12 * 20)) % 20
    torch.testing.assert_close(found.xy[:, 0], -3 + (column + 0.5) * 0.6)


def test_a_trajectory_is_the_union_of_its_moments():
    places, _ = places_of()
    seconds = (0.0, -0.5, -1.0)
    found = CentreGaussian(boxes=dict(seconds=seconds))(places, scene_of())
    index = set()
    for moment in seconds:
        moved = [Changed(seconds=(moment,))(each) for each in BOXES]
        index |= set(gaussian_cells(moved, GRID, 0.1, 2).compact().index.tolist())
    assert len(found) == len(index) > len(CentreGaussian()(places, scene_of()))


def test_false_positives_are_where_the_student_is_sure_and_no_box_is():
    places, _ = places_of()
    heat = torch.zeros(3, 1, *GRID.shape)
    row, column = (int(v) for v in GRID.index(BOXES[0][:1, :2])[0][0])
    heat[0, 0, row, column] = 0.95  # in a box
    heat[0, 0, 11, 2] = heat[1, 0, 0, 19] = 0.95
    heat[2, 0, 11, 2] = 0.4
    found = FalsePositives(0.5)(places, scene_of(heat))
    assert sorted(zip(found.sample.tolist(), found.xy.tolist(), strict=True)) == [
        (0, pytest.approx([-1.5, 4.5])),
        (1, pytest.approx([8.7, -2.1])),
    ]
    joined = Footprint("sqrt", false_positives=0.5)(places, scene_of(heat))
    assert len(joined) == len(Footprint("sqrt")(places, scene_of(heat))) + 2
    assert (joined.weights == 1).sum() >= 2


@pytest.mark.parametrize("choice", CHOICES[:-1], ids=lambda choice: type(choice).__name__)
def test_no_boxes_are_no_places(choice):
    places, _ = places_of()
    assert len(choice(places, scene_of(boxes=[BOXES[1]] * 3))) == 0


def test_what_is_missing_is_named():
    places, _ = places_of()
    with pytest.raises(ValueError, match=r"FeatureKD\(heatmaps="):
        FalsePositives()(places, scene_of())
    for choice in CHOICES[:-1]:
        with pytest.raises(ValueError, match="put it first"):
            choice(TopK(5)(places, scene_of()), scene_of())
        with pytest.raises(ValueError, match="needs ground-truth boxes"):
            choice(places, Scene(None, None))
    short = replace(scene_of(), boxes=[each[:, :7] for each in BOXES])
    with pytest.raises(ValueError, match="needs velocities"):
        CentreGaussian(boxes=dict(seconds=(1.0,)))(places, short)
