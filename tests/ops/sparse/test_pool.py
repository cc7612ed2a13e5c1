# SPDX-License-Identifier: Apache-2.0
"""Sparse pooling against a naive loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill.ops.sparse.neighbours import strided_table
from lidistill.ops.sparse.pool import sparse_avg_pool, sparse_max_pool
from tests.ops.sparse_cases import random_grid


def pooled(seed):
    grid = random_grid(np.random.default_rng(seed))
    out_shape = [(n - 1) // 2 + 1 for n in grid.shape]
    geometry = ([3] * 3, [2] * 3, [1] * 3, [1] * 3)
    _, table = strided_table(grid.coords, grid.shape, out_shape, *geometry)
    torch.manual_seed(seed)
    return table, torch.randn(table.num_in, 5, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("pool", [sparse_max_pool, sparse_avg_pool])
@pytest.mark.parametrize("seed", range(3))
def test_equals_naive_loop(pool, seed):
    table, features = pooled(seed)
    rows = []
    for column in table.sources().T:
        seen = features[column[column >= 0]]
        rows.append(seen.amax(0) if pool is sparse_max_pool else seen.mean(0))
    expected = torch.stack(rows)
    out = pool(features, table)
    torch.testing.assert_close(out, expected)
    seed_grad = torch.randn_like(out)
    torch.testing.assert_close(
        torch.autograd.grad(out, features, seed_grad),
        torch.autograd.grad(expected, features, seed_grad),
    )


def test_first_of_equal_maxima_gets_the_gradient():
    coords = torch.tensor([[0, 0], [0, 1]], dtype=torch.int32)
    _, table = strided_table(coords, [2], [1], [2], [2], [0], [1])
    features = torch.zeros(2, 1, requires_grad=True)
    sparse_max_pool(features, table).sum().backward()
    assert features.grad.tolist() == [[1.0], [0.0]]


def test_negative_maxima_and_nan_survive():
    coords = torch.tensor([[0, 0], [0, 1]], dtype=torch.int32)
    _, table = strided_table(coords, [2], [1], [2], [2], [0], [1])
    assert sparse_max_pool(torch.tensor([[-3.0], [-2.0]]), table).item() == -2
    assert sparse_max_pool(torch.tensor([[-3.0], [torch.nan]]), table).isnan().all()


@pytest.mark.parametrize("pool", [sparse_max_pool, sparse_avg_pool])
def test_no_voxels(pool):
    nothing = torch.zeros((0, 2), dtype=torch.int32)
    _, table = strided_table(nothing, [4], [2], [2], [2], [0], [1])
    features = torch.zeros(0, 3, requires_grad=True)
    out = pool(features, table)
    out.sum().backward()
    assert out.shape == features.grad.shape == (0, 3)
