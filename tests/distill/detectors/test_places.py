# SPDX-License-Identifier: Apache-2.0
"""Matching of maps and voxels in metres, and choices among the places, against loops."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lidistill.distill.detectors.bev_choices import Footprint
from lidistill.distill.detectors.choices import (
    Foreground,
    Gaussian,
    Occupied,
    RandomPlaces,
    Scene,
    Score,
    TopK,
    importance_of,
)
from lidistill.distill.detectors.places import Places, match_places
from lidistill.distill.outputs import FeatureMap, Points, Rows, SparseVoxels, wrap_output
from lidistill.geometry.bev_grid import BEVGrid

RANGE = (-2.0, 0.0, -1.0, 6.0, 3.0, 1.0)  # 8 x 3 m, neither square nor centred
SCENE = Scene(
    points=[torch.tensor([[-1.9, 0.1, 0.0], [5.9, 2.9, 0.0], [9.0, 0.0, 0.0]]), torch.zeros(0, 3)],
    boxes=[torch.tensor([[2.0, 1.5, 0.0, 4.0, 1.0, 1.5, 0.5]]), torch.zeros(0, 7)],
)


def bev(rows: int = 6, columns: int = 8, channels: int = 2, seed: int = 0) -> FeatureMap:
    generator = torch.Generator().manual_seed(seed)
    return FeatureMap(torch.randn(2, channels, rows, columns, generator=generator))


def dense() -> Places:
    return match_places(bev(), bev(channels=3, seed=1), (RANGE, RANGE))


def test_cells_of_maps_stand_where_they_are():
    places = dense()
    assert (len(places), places.batch_size, places.form) == (96, 2, "bev")
    first, last = places.xy[0].tolist(), places.xy[-1].tolist()
    assert first == pytest.approx([-1.5, 0.25])
    assert last == pytest.approx([5.5, 2.75])
    row, column = 4, 2
    at = 48 + row * 8 + column
    torch.testing.assert_close(places.student[at], bev().features[1, :, row, column])
    assert places.sample[at] == 1


def test_maps_of_unequal_cells_are_read_in_metres():
    """A map that is linear in metres reads the same through any grid."""

    def linear(grid: BEVGrid) -> FeatureMap:
        x, y = grid.centres().unbind(-1)
        return FeatureMap(torch.stack([2 * x + y, y])[None], grid)

    coarse = BEVGrid((-2.0, 6.0), (0.0, 3.0), (1.0, 0.5))
    fine = BEVGrid((0.0, 4.0), (0.5, 2.5), (0.25, 0.2))
    places = match_places(linear(coarse), linear(fine))
    torch.testing.assert_close(places.student, places.teacher, rtol=1e-4, atol=1e-4)
    wide = match_places(linear(fine), linear(coarse))  # cells outside of the student's are left out
    assert len(wide) < 48
    assert (wide.xy[:, 0] > 0).all()
    assert (wide.xy[:, 0] < 4).all()


def test_maps_of_unknown_range_are_resized():
    places = match_places(bev(3, 4), bev(6, 8, seed=1))
    assert places.xy is None
    assert places.student.shape == (96, 2)


def test_a_tap_has_the_grid_of_its_map():
    """Choices by boxes looked half as far from the corner as they should have."""
    twice = BEVGrid((-2.0, 6.0), (0.0, 3.0), (0.5, 0.25))  # 12 x 16 cells
    wrong = FeatureMap(bev().features, twice)
    with pytest.raises(ValueError, match=r"a map of \(12, 16\) cells .* got one of \(6, 8\)"):
        match_places(wrong, wrong)
    right = FeatureMap(bev().features, twice.strided(2))
    assert match_places(right, right).xy[0].tolist() == [-1.5, 0.25]


@pytest.mark.parametrize("choice", [Foreground(), Gaussian(), Occupied(), Footprint()])
def test_maps_of_several_cameras_are_no_samples(choice):
    """The first two of six images were taken for the samples' views from above."""
    six = FeatureMap(torch.randn(6, 2, 6, 8))
    with pytest.raises(ValueError, match="places of 2 samples, but the tapped maps are 6"):
        choice(match_places(six, six, (RANGE, RANGE)), SCENE)


def voxels(cells: list, shape: tuple, seed: int) -> SparseVoxels:
    generator = torch.Generator().manual_seed(seed)
    coords = torch.tensor(cells, dtype=torch.int32)
    features = torch.randn(len(cells), 3, generator=generator, requires_grad=True)
    return SparseVoxels(features, coords, shape, 2, torch.arange(1, len(cells) + 1))


def test_voxels_are_joined_by_coordinates():
    student = voxels([(0, 0, 1, 5), (1, 0, 0, 0), (1, 0, 2, 7)], (1, 3, 8), 0)
    teacher = voxels([(1, 0, 2, 7), (0, 0, 0, 3), (0, 0, 1, 5)], (1, 3, 8), 1)
    places = match_places(student, teacher, (RANGE, RANGE))
    assert places.coords.tolist() == [[0, 0, 1, 5], [1, 0, 2, 7]]
    torch.testing.assert_close(places.student, student.features[[0, 2]])
    torch.testing.assert_close(places.teacher, teacher.features[[2, 0]].detach())
    assert places.counts.tolist() == [3, 1]
    assert places.xy.tolist() == [[3.5, 1.5], [5.5, 2.5]]
    same = match_places(student, student, (RANGE, RANGE))
    assert torch.equal(same.coords, student.coords)


def test_finer_voxels_are_averaged_within_the_coarser():
    student = voxels([(0, 0, 1, 2), (0, 0, 2, 7)], (1, 3, 8), 0)
    teacher = voxels([(0, 0, 2, 4), (0, 1, 3, 5), (0, 0, 0, 0)], (2, 6, 16), 1)
    places = match_places(student, teacher, (RANGE, RANGE))
    assert places.coords.tolist() == [[0, 0, 1, 2]]
    torch.testing.assert_close(places.teacher[0], teacher.features[:2].mean(0).detach())
    assert places.counts.tolist() == [3]
    long = [replace(side, coords=side.coords.long()) for side in (student, teacher)]
    match_places(*long, (RANGE, RANGE))  # whole numbers of any width stay as they are
    assert [side.coords.tolist() for side in long] == [
        side.coords.tolist() for side in (student, teacher)
    ]
    with pytest.raises(ValueError, match="same point_range"):
        match_places(student, teacher, (RANGE, (0.0, *RANGE[1:])))
    unknown = SparseVoxels(teacher.features, teacher.coords, (), 2)
    with pytest.raises(ValueError, match="shape of their grids is not known"):
        match_places(student, unknown)


def test_points_and_rows():
    points = torch.randn(2, 3, 5)
    places = match_places(points, torch.randn(2, 4, 5))
    assert (len(places), places.form) == (10, "point")
    torch.testing.assert_close(places.student[7], points[1, :, 2])
    assert len(match_places(Rows(points[0].T), Rows(points[1].T))) == 5
    with pytest.raises(ValueError, match="same points"):
        match_places(points, points[:, :, :4])
    with pytest.raises(ValueError, match=r"Tensor \(2, 3, 5\) .* FeatureMap"):
        match_places(points, bev())


def test_boxes_choose_what_a_loop_chooses():
    places = dense()
    x, y, _, length, width, _, yaw = SCENE.boxes[0][0].tolist()
    inside, near = [], {}
    for row, (px, py) in enumerate(places.xy.tolist()):
        along = (px - x) * math.cos(yaw) + (py - y) * math.sin(yaw)
        across = (py - y) * math.cos(yaw) - (px - x) * math.sin(yaw)
        if places.sample[row] == 0 and abs(along) <= length / 2 and abs(across) <= width / 2:
            inside.append(row)
        weight = math.exp(-0.5 * ((along / 1.0) ** 2 + (across / 0.4) ** 2))
        if places.sample[row] == 0 and weight >= 0.01:
            near[row] = weight
    assert 3 < len(inside) < len(near) < 48
    chosen = Foreground()(places, SCENE)
    torch.testing.assert_close(chosen.teacher, places.teacher[inside])
    chosen = Gaussian()(places, SCENE)  # deviations: half of 2 m, and the smallest, 0.4 m
    torch.testing.assert_close(chosen.student, places.student[list(near)])
    np.testing.assert_allclose(chosen.weights, list(near.values()), rtol=1e-4)
    assert len(Foreground(margin=1.0)(places, SCENE)) > len(inside)


def test_occupied_cells():
    chosen = Occupied()(dense(), SCENE)
    assert chosen.xy.tolist() == [[-1.5, 0.25], [5.5, 2.75]]
    assert chosen.sample.tolist() == [0, 0]
    with pytest.raises(ValueError, match="before other choices"):
        Occupied()(chosen, SCENE)
    by_voxel = match_places(*[voxels([(0, 0, 0, 0)], (1, 3, 8), 0)] * 2)
    assert len(Occupied()(by_voxel, SCENE)) == 1


def test_top_score_and_random():
    places = dense()
    best = TopK(3)(places, SCENE)
    expected = places.teacher[:48].amax(1).sort().values[-3:]
    torch.testing.assert_close(best.teacher[:3].amax(1).sort().values, expected)
    score = Score(0.7, weigh=True)(Gaussian()(places, SCENE), SCENE)
    assert len(score) > 0
    assert (score.teacher.amax(1).sigmoid() >= 0.7).all()
    gauss = Gaussian()(places, SCENE)
    assert score.weights.max() < gauss.weights.max()  # both weights, multiplied
    assert RandomPlaces(5)(places, SCENE).sample.bincount().tolist() == [5, 5]
    with pytest.raises(ValueError, match="no point counts"):
        importance_of(places, "points")
    with pytest.raises(ValueError, match="by must be"):
        TopK(3, by="size")


def test_scene_of_a_batch():
    sample = SimpleNamespace(gt_instances_3d=SimpleNamespace(bboxes_3d=SCENE.boxes[0]))
    scene = Scene.of({"inputs": {"points": SCENE.points}, "data_samples": [sample]})
    assert scene.labelled("Gaussian")[0] is SCENE.boxes[0]
    unlabelled = Scene.of({"inputs": {}, "data_samples": [SimpleNamespace()]})
    with pytest.raises(ValueError, match="Gaussian needs ground-truth boxes"):
        unlabelled.labelled("Gaussian")
    with pytest.raises(ValueError, match="where the places are"):
        Gaussian()(match_places(bev(), bev()), SCENE)


def test_voxel_encoders_keep_coordinates_and_counts():
    rows, coords = torch.randn(4, 2), torch.zeros(4, 4, dtype=torch.int32)
    coords[:, 0] = torch.tensor([0, 0, 1, 1])
    counts = torch.tensor([1, 2, 3, 4])
    found = wrap_output(rows, None, (torch.zeros(4, 5, 3), counts, coords), (1, 8, 8))
    assert isinstance(found, SparseVoxels)
    assert (found.batch_size, found.spatial_shape) == (2, (1, 8, 8))
    assert found.counts is counts
    dynamic = wrap_output((rows, coords), None, (torch.zeros(9, 3), torch.zeros(9, 4)))
    assert dynamic.coords is coords
    assert dynamic.counts is None
    assert isinstance(wrap_output(rows, None, (torch.zeros(4, 4),)), Rows)


def test_points_stand_where_they_are():
    """A layer of PointNet++ takes the places of its points first, of those it reads from second."""
    made = torch.Generator().manual_seed(0)
    xyz = torch.rand(2, 7, 3, generator=made) * 6
    inputs = (xyz, torch.rand(2, 4, 3, generator=made), None, torch.rand(2, 5, 4, generator=made))
    own, target = (wrap_output(torch.randn(2, c, 7, generator=made), None, inputs) for c in (3, 5))
    assert isinstance(own, Points)
    places = match_places(own, target)
    assert (places.form, len(places), places.batch_size) == ("point", 14, 2)
    kept = Foreground(0.2)(places, SCENE)
    box = SCENE.boxes[0][0]
    cos, sin = math.cos(box[6]), math.sin(box[6])
    expected = []
    for row in range(7):  # the second sample has no box
        x, y = (xyz[0, row, :2] - box[:2]).tolist()
        if (
            abs(x * cos + y * sin) <= box[3] / 2 + 0.2
            and abs(y * cos - x * sin) <= box[4] / 2 + 0.2
        ):
            expected.append(own.features[0, :, row])
    assert 0 < len(expected) < 7
    assert torch.equal(kept.student, torch.stack(expected))
    moved = Points(target.features, xyz.flip(1))
    with pytest.raises(ValueError, match=r"unequal places.*FP_modules"):
        match_places(own, moved)
    with pytest.raises(ValueError, match="same points"):
        match_places(own, Points(target.features[..., :4], xyz[:, :4]))
    assert isinstance(wrap_output(own.features, None, (own.features,)), torch.Tensor)
