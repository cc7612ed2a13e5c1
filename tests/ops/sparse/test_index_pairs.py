# SPDX-License-Identifier: Apache-2.0
"""mmcv's own sparse convolutions over the stand-in, beside dense ones."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lidistill.ops.mmcv import ext
from lidistill.ops.sparse.index_pairs import index_pairs, pair_conv, pair_max, pair_max_grad

ext.install()
SHAPE = (4, 5, 6)


def voxels(seed: int = 0, count: int = 30):
    """Coordinates (V, 4) in no order, features (V, 3)."""
    generator = torch.Generator().manual_seed(seed)
    every = torch.cartesian_prod(*[torch.arange(n) for n in (2, *SHAPE)])
    coords = every[torch.randperm(len(every), generator=generator)[:count]].int()
    return coords, torch.randn(count, 3, generator=generator)


def dense(coords, features, shape=SHAPE):
    grid = features.new_zeros((2, features.shape[1], *shape))
    b, z, y, x = coords.long().T
    grid = grid.permute(0, 2, 3, 4, 1).index_put((b, z, y, x), features)
    return grid.permute(0, 4, 1, 2, 3)


def at(grid, coords):
    b, z, y, x = coords.long().T
    return grid[b, :, z, y, x]


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (3, 1, 1)])
def test_submanifold_layers_equal_dense_ones(kernel) -> None:
    from mmcv.ops import SparseConvTensor, SubMConv3d

    coords, features = voxels()
    features.requires_grad_()
    layer = SubMConv3d(3, 4, kernel, padding=1, bias=True, indice_key="a")
    out = layer(SparseConvTensor(features, coords, SHAPE, 2))
    weight = layer.weight.permute(4, 3, 0, 1, 2)
    pad = tuple(k // 2 for k in kernel)
    wanted = at(F.conv3d(dense(coords, features), weight, layer.bias, padding=pad), coords)
    torch.testing.assert_close(out.features, wanted, rtol=0, atol=1e-5)
    leaves = [features, layer.weight, layer.bias]
    got = torch.autograd.grad(out.features.square().sum(), leaves)
    expected = torch.autograd.grad(wanted.square().sum(), leaves)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_strided_and_inverse_layers_equal_dense_ones() -> None:
    from mmcv.ops import SparseConv3d, SparseConvTensor, SparseInverseConv3d

    coords, features = voxels()
    features.requires_grad_()
    down = SparseConv3d(3, 4, 3, (2, 2, 1), padding=1, bias=False, indice_key="d")
    up = SparseInverseConv3d(4, 3, 3, indice_key="d", bias=False)
    low = down(SparseConvTensor(features, coords, SHAPE, 2))
    high = up(low)
    weight = down.weight.permute(4, 3, 0, 1, 2)
    grid = F.conv3d(dense(coords, features), weight, stride=(2, 2, 1), padding=1)
    torch.testing.assert_close(low.features, at(grid, low.indices), rtol=0, atol=1e-5)
    every = dense(low.indices, torch.ones(len(low.indices), 1), low.spatial_shape)
    assert ((grid.abs().amax(1) > 0) <= (every[:, 0] > 0)).all()  # no output is missing
    grid = grid * every
    back = F.conv_transpose3d(grid, up.weight.permute(3, 4, 0, 1, 2), None, (2, 2, 1), 1, (1, 0, 0))
    assert torch.equal(high.indices, coords)
    wanted = at(back[:, :, :4, :5, :6], coords)
    torch.testing.assert_close(high.features, wanted, rtol=0, atol=1e-4)
    leaves = [features, down.weight, up.weight]
    got = torch.autograd.grad(high.features.square().sum(), leaves)
    expected = torch.autograd.grad(wanted.square().sum(), leaves)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_pool_takes_true_maxima_and_the_first_of_equals() -> None:
    from mmcv.ops import SparseConvTensor, SparseMaxPool3d

    coords, features = voxels()
    features = (-features.abs()).requires_grad_()
    found = SparseMaxPool3d(2, 2)(SparseConvTensor(features, coords, SHAPE, 2))
    full = torch.full((2, 3, *SHAPE), -torch.inf)
    b, z, y, x = coords.long().T
    full = full.permute(0, 2, 3, 4, 1).index_put((b, z, y, x), features).permute(0, 4, 1, 2, 3)
    wanted = at(F.max_pool3d(full, 2), found.indices)
    assert torch.equal(found.features, wanted)
    got = torch.autograd.grad(found.features.square().sum(), features)
    expected = torch.autograd.grad(wanted.square().sum(), features)
    torch.testing.assert_close(got, expected)
    pairs = torch.tensor([[[0], [0]], [[1], [0]]], dtype=torch.int32)
    counts = torch.tensor([1, 1])
    equal = torch.ones(2, 1)
    best = pair_max(equal, pairs, counts, 2)
    assert best.tolist() == [[1], [0]]  # nothing reaches the second output
    grad = pair_max_grad(torch.ones(2, 1), equal, best, pairs, counts)
    assert grad.tolist() == [[1], [0]]


def test_flat_and_four_dimensional_grids() -> None:
    coords = torch.tensor([[0, 1, 1], [0, 1, 2]], dtype=torch.int32)
    shapes = ((3, 4), (3, 4), (3, 3), (1, 1), (1, 1), (1, 1))
    out, pairs, counts = index_pairs(coords, *shapes, submanifold=True)
    assert torch.equal(out, coords)
    assert counts.tolist() == [0, 0, 0, 1, 2, 1, 0, 0, 0]
    assert pairs[3, :, :1].tolist() == [[0], [1]]  # the right voxel reads the left one
    four = torch.tensor([[0, 0, 1, 1, 1]], dtype=torch.int32)
    shapes = ((2, 3, 3, 3),) * 2 + ((1, 3, 3, 3),) + ((1, 1, 1, 1),) * 3
    assert int(index_pairs(four, *shapes, submanifold=True)[2].sum()) == 1


def test_no_voxels() -> None:
    coords = torch.zeros(0, 4, dtype=torch.int32)
    shapes = (SHAPE, SHAPE, (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1))
    out, pairs, counts = index_pairs(coords, *shapes)
    assert (len(out), pairs.shape, int(counts.sum())) == (0, (27, 2, 0), 0)
    weight = torch.zeros(3, 3, 3, 2, 5)
    assert pair_conv(torch.zeros(0, 2), weight, pairs, counts, 0, False).shape == (0, 5)
