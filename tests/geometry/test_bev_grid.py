# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from lidistill.geometry.bev_grid import BEVGrid

# Neither square nor symmetric: a swap of axes cannot hide.
GRID = BEVGrid(x_range=(-2.0, 10.0), y_range=(-3.0, 1.0), cell=(0.5, 1.0))


def test_shape_is_rows_of_y_and_columns_of_x():
    assert GRID.shape == (4, 24)
    assert GRID.centres().shape == (4, 24, 2)
    assert GRID.centres()[0, 0].tolist() == [-1.75, -2.5]
    assert GRID.centres()[3, 23].tolist() == [9.75, 0.5]


def test_metres_and_cells_are_inverse():
    xy = torch.rand(50, 2, dtype=torch.float64) * 8 - 2
    torch.testing.assert_close(GRID.metres_from_cells(GRID.cells_from_metres(xy)), xy)


def test_index_names_the_cell_and_what_is_outside():
    cells, inside = GRID.index(torch.tensor([[-2.0, -3.0], [9.99, 0.99], [10.0, 0.0], [0.0, -3.1]]))
    assert cells[:2].tolist() == [[0, 0], [3, 23]]
    assert inside.tolist() == [True, True, False, False]


def test_normalised_coordinates_are_grid_sample_s():
    bev = torch.rand(1, 3, *GRID.shape, dtype=torch.float64)
    xy = GRID.centres().double().reshape(-1, 2)
    grid = GRID.normalised_from_metres(xy)[None, None]
    read = grid_sample(bev, grid, align_corners=False)[0, :, 0].T
    torch.testing.assert_close(read, bev[0].permute(1, 2, 0).reshape(-1, 3))


def test_read_equals_grid_sample_value_and_gradient():
    torch.manual_seed(0)
    bev = torch.rand(2, 3, *GRID.shape, dtype=torch.float64, requires_grad=True)
    xy = torch.rand(60, 2, dtype=torch.float64) * torch.tensor([14.0, 6.0]) - torch.tensor(
        [3.0, 4.0]
    )
    batch = torch.randint(0, 2, (60,))
    ours = GRID.read_bilinear(bev, xy, batch)
    upstream = torch.rand_like(ours)
    (gradient,) = torch.autograd.grad(ours, bev, upstream)
    theirs = torch.stack(
        [
            grid_sample(
                bev[b : b + 1],
                GRID.normalised_from_metres(p)[None, None, None],
                align_corners=False,
            )[0, :, 0, 0]
            for b, p in zip(batch.tolist(), xy, strict=True)
        ]
    )
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, bev, upstream)[0])


def test_compat_read_equals_a_naive_loop():
    torch.manual_seed(1)
    bev = torch.rand(1, 2, *GRID.shape, dtype=torch.float64)
    xy = torch.rand(80, 2, dtype=torch.float64) * torch.tensor([12.0, 4.0]) - torch.tensor(
        [2.0, 3.0]
    )
    read = GRID.read_bilinear(bev, xy, compat=True)
    for (x, y), value in zip(xy.tolist(), read, strict=True):
        row, column = (y + 3.0) / 1.0, (x + 2.0) / 0.5
        r0, c0 = min(int(np.floor(row)), 3), min(int(np.floor(column)), 23)
        r1, c1 = min(int(np.floor(row)) + 1, 3), min(int(np.floor(column)) + 1, 23)
        expected = (
            bev[0, :, r0, c0] * (r1 - row) * (c1 - column)
            + bev[0, :, r1, c0] * (row - r0) * (c1 - column)
            + bev[0, :, r0, c1] * (r1 - row) * (column - c0)
            + bev[0, :, r1, c1] * (row - r0) * (column - c0)
        )
        torch.testing.assert_close(value, expected)


def test_no_points_read_nothing_but_keep_the_gradient():
    bev = torch.rand(1, 2, *GRID.shape, requires_grad=True)
    read = GRID.read_bilinear(bev, torch.zeros(0, 2))
    assert read.shape == (0, 2)
    read.sum().backward()
    assert bev.grad is not None
    assert float(bev.grad.abs().sum()) == 0.0


def test_strided_covers_the_same_rectangle():
    coarse = GRID.strided(4)
    assert coarse.shape == (1, 6)
    assert coarse.cell == (2.0, 4.0)
    with pytest.raises(ValueError, match="divides"):
        GRID.strided(5)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="start < end"):
        BEVGrid((1.0, 0.0), (0.0, 1.0), (0.1, 0.1))
    with pytest.raises(ValueError, match="cell size"):
        BEVGrid((0.0, 1.0), (0.0, 1.0), (0.1, 0.0))
    with pytest.raises(ValueError, match=r"\(B, C, 4, 24\)"):
        GRID.read_bilinear(torch.zeros(1, 2, 24, 4), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="batch"):
        GRID.read_bilinear(torch.zeros(2, 2, 4, 24), torch.zeros(1, 2))


def test_a_moved_map_is_where_the_scene_went():
    """Map of a Gaussian blob, seen from a vehicle that has turned, driven on and been mirrored."""
    grid = BEVGrid((-8.0, 12.0), (-6.0, 6.0), (0.5, 0.4))
    turn = torch.tensor([[0.6, -0.8, 0, 1.5], [0.8, 0.6, 0, -0.5], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    mirror = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0]))
    source_from_target = torch.stack([turn, mirror @ turn])
    place = torch.tensor([2.0, 1.0, 0.0, 1.0])  # in the target frame

    def blob(xy):
        return (-(grid.centres() - xy).square().sum(-1) / 4).exp()

    source = torch.stack([blob((m @ place)[:2]) for m in source_from_target])[:, None]
    moved = grid.moved(source, source_from_target)
    assert (moved - blob(place[:2])).abs()[..., 8:-8, 8:-8].max() < 0.03
    still = grid.moved(source, torch.eye(4).repeat(2, 1, 1))
    torch.testing.assert_close(still, source, atol=1e-5, rtol=0)


def test_a_map_of_half_precision_is_moved_to_the_same_place():
    """As under --amp, where a detector of several frames moves the earlier ones."""
    grid = BEVGrid((-51.2, 51.2), (-51.2, 51.2), (0.8, 0.8))
    source = torch.randn(1, 2, *grid.shape, generator=torch.Generator().manual_seed(0))
    source_from_target = torch.eye(4)[None]
    source_from_target[0, :2, 3] = torch.tensor([3.0, 0.5])
    for dtype in (torch.bfloat16, torch.float16):
        half = source.to(dtype)
        wanted = grid.moved(half.float(), source_from_target).to(dtype)
        assert torch.equal(grid.moved(half, source_from_target), wanted)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(grid.moved(half, source_from_target), wanted)
