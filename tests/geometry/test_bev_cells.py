# SPDX-License-Identifier: Apache-2.0
"""Cells of boxes against loops over all cells, on a grid that is neither square nor symmetric."""

import math

import numpy as np
import pytest
import torch

from lidistill.geometry import bev_cells
from lidistill.geometry.bev_cells import (
    Cells,
    cells_of,
    footprint_cells,
    gaussian_cells,
    gaussian_radius,
    whole_map,
)
from lidistill.geometry.bev_grid import BEVGrid

GRID = BEVGrid((-4.0, 12.0), (-3.0, 7.0), (0.5, 0.25))  # 40 rows, 32 columns; no square cells


def drawn(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    low, high = (
        torch.tensor([-5.0, -4.0, 0, 0.3, 0.3, 1, -4]),
        torch.tensor([13.0, 8, 0, 9, 3, 2, 4]),
    )
    return low + (high - low) * torch.rand(count, 7, generator=generator)


BATCH = [drawn(6), drawn(0), drawn(4, 1)]


def three_roots(a, b, overlap):
    total, area = a + b, a * b
    roots = (
        (total + math.sqrt(total**2 - 4 * area * (1 - overlap) / (1 + overlap))) / 2,
        (2 * total + math.sqrt(4 * total**2 - 16 * (1 - overlap) * area)) / 2,
        (
            -2 * overlap * total
            + math.sqrt(4 * overlap**2 * total**2 + 16 * overlap * (1 - overlap) * area)
        )
        / 2,
    )
    return min(roots)


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.7, 0.9])
def test_the_third_root_is_the_smallest(overlap):
    sizes = torch.rand(200, 2, dtype=torch.float64) * 40 + 0.01
    expected = [three_roots(a, b, overlap) for a, b in sizes.tolist()]
    np.testing.assert_allclose(gaussian_radius(sizes, overlap), expected, rtol=1e-9)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(("overlap", "least", "compat"), [(0.7, 0, False), (0.1, 2, True)])
def test_gaussian_equals_loops(overlap, least, compat, waits, monkeypatch):
    if not waits:
        monkeypatch.setattr(bev_cells, "WAITS_FOR_NOTHING", ())
    expected = np.zeros((3, *GRID.shape))
    cut = math.trunc if compat else math.floor
    for sample, boxes in enumerate(BATCH):
        for box in boxes.double().tolist():
            radius = three_roots(box[3] / 0.5, box[4] / 0.25, overlap)
            radius = max(least, int(radius))
            centre = cut((box[1] + 3) / 0.25), cut((box[0] + 4) / 0.5)
            for row in range(GRID.shape[0]):
                for column in range(GRID.shape[1]):
                    i, j = row - centre[0], column - centre[1]
                    if max(abs(i), abs(j)) <= radius:
                        value = math.exp(-(i * i + j * j) / (2 * ((2 * radius + 1) / 6) ** 2))
                        expected[sample, row, column] = max(expected[sample, row, column], value)
    found = gaussian_cells(BATCH, GRID, overlap, least, compat)
    assert expected[2].any()
    np.testing.assert_allclose(found.mask(), expected, atol=1e-6)
    tidy = found.compact()
    assert len(tidy.index) == len(tidy.index.unique()) == (expected > 0).sum()
    np.testing.assert_allclose(tidy.mask(), expected, atol=1e-6)
    assert set(tidy.sample().tolist()) == {0, 2}


def test_a_box_of_any_size_has_no_more_cells_than_the_largest():
    huge = torch.tensor([[4.0, 2.0, 0, 200.0, 100.0, 3.0, 0.0]])
    square = bev_cells.LARGEST**0.5
    largest = torch.tensor([[4.0, 2.0, 0, square, square, 3.0, 0.0]])
    assert torch.equal(gaussian_cells([huge], GRID).index, gaussian_cells([largest], GRID).index)


@pytest.mark.parametrize(
    ("size_weight", "power", "outside"), [("none", 0, 0.0), ("sqrt", 0.5, 0.1), ("area", 1, 0.0)]
)
def test_footprint_equals_loops(size_weight, power, outside):
    expected = np.full((3, *GRID.shape), outside)
    for sample, boxes in enumerate(BATCH):
        for row in range(GRID.shape[0]):
            for column in range(GRID.shape[1]):
                x, y = -4 + (column + 0.5) * 0.5, -3 + (row + 0.5) * 0.25
                weights = []
                for bx, by, _, length, width, _, yaw in boxes.tolist():
                    along = (x - bx) * math.cos(yaw) + (y - by) * math.sin(yaw)
                    across = (y - by) * math.cos(yaw) - (x - bx) * math.sin(yaw)
                    if abs(along) <= length / 2 and abs(across) <= width / 2:
                        weights.append(min(1.0, 0.125 / (length * width)) ** power)
                if weights:
                    expected[sample, row, column] = max(weights)
    found = footprint_cells(BATCH, GRID, size_weight, outside)
    np.testing.assert_allclose(found.mask(), expected, rtol=1e-4, atol=1e-7)


def test_every_box_weighs_the_same_by_area():
    one = torch.tensor([[4.0, 2.0, 0, 8.0, 4.0, 1.5, 0.3]])
    assert footprint_cells([one], GRID, "area").weights.sum().item() == pytest.approx(1, abs=0.05)


def test_whole_map_and_no_boxes():
    every = whole_map(2, GRID)
    assert every.mask().min() == every.mask().max() == 1
    for make in (gaussian_cells, footprint_cells):
        none = make([drawn(0), drawn(0)], GRID)
        assert none.mask().shape == (2, *GRID.shape)
        assert not none.mask().any()
        assert len(make([], GRID).index) == 0


def test_the_same_places_on_a_shifted_grid():
    other = BEVGrid((-2.0, 20.0), (-4.0, 6.0), (0.5, 0.25))
    cells = gaussian_cells(BATCH, GRID)
    moved = cells_of(cells, GRID, other, "test")
    rows, columns = other.shape
    for here, there, before, weight in zip(
        cells.index, moved.index, cells.weights, moved.weights, strict=True
    ):
        place = int(here) % (GRID.shape[0] * GRID.shape[1])
        x = -4 + (place % GRID.shape[1] + 0.5) * 0.5
        y = -3 + (place // GRID.shape[1] + 0.5) * 0.25
        if not (-2 < x < 20 and -4 < y < 6):
            assert weight == 0
            continue
        sample, place = divmod(int(there), rows * columns)
        assert sample == int(here) // (GRID.shape[0] * GRID.shape[1])
        assert -2 + (place % columns + 0.5) * 0.5 == pytest.approx(x)
        assert -4 + (place // columns + 0.5) * 0.25 == pytest.approx(y)
        assert weight == before
    assert cells_of(cells, GRID, GRID, "test") is cells


def test_errors_say_what_to_do():
    cells = Cells(torch.zeros(1).long(), torch.ones(1), (1, *GRID.shape))
    for other in (GRID.strided(2), BEVGrid((-4.1, 11.9), (-3.0, 7.0), (0.5, 0.25))):
        with pytest.raises(ValueError, match="same voxel size and stride"):
            cells_of(cells, GRID, other, "test")
    with pytest.raises(ValueError, match="overlap between 0 and 1"):
        gaussian_cells(BATCH, GRID, 1.0)
    with pytest.raises(ValueError, match="size_weight"):
        footprint_cells(BATCH, GRID, "root")
