# SPDX-License-Identifier: Apache-2.0
"""Voxels looked up, points put into voxels and read from them, beside loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lidistill.ops.torchsparse.nn.functional import (
    calc_ti_weights,
    spcount,
    spdevoxelize,
    sphash,
    sphashquery,
    spvoxelize,
)
from lidistill.ops.torchsparse.nn.functional.hash import REACH, SAMPLES
from lidistill.ops.torchsparse.nn.utils import get_kernel_offsets
from tests.ops.torchsparse.cases import cells_of, random_voxels


def test_hashes_are_one_to_one_and_ordered() -> None:
    edge = [[-REACH, REACH - 1, 0, 0], [REACH - 1, -REACH, -1, SAMPLES - 1], [0, 0, 0, 1]]
    coords = torch.cat([random_voxels(0), torch.tensor(edge, dtype=torch.int32)])
    numbers = sphash(coords)
    assert (numbers.dtype, numbers.shape) == (torch.int64, (len(coords),))
    assert len(torch.unique(numbers)) == len(torch.unique(coords, dim=0)) == len(coords)
    cells = cells_of(coords[numbers.argsort()])
    assert cells == sorted(cells, key=lambda u: (u[3], *u[:3]))


@pytest.mark.parametrize("stride", [1, 4])
def test_neighbours_are_found_as_in_a_loop(stride) -> None:
    coords = random_voxels(1, stride=stride)
    offsets = get_kernel_offsets(2, stride)
    found = sphashquery(sphash(coords, offsets), sphash(coords))
    rows = {cell: row for row, cell in enumerate(cells_of(coords))}
    for k, offset in enumerate(offsets.tolist()):
        for v, (x, y, z, b) in enumerate(cells_of(coords)):
            cell = (x + offset[0], y + offset[1], z + offset[2], b)
            assert found[k, v] == rows.get(cell, -1)


def test_look_up_takes_the_first_of_equals_and_bears_nothing() -> None:
    references = torch.tensor([7, 5, 7, -2])
    queries = torch.tensor([[7, -2], [6, 9]])
    assert sphashquery(queries, references).tolist() == [[0, 3], [-1, -1]]
    assert sphashquery(queries, references[:0]).tolist() == [[-1, -1], [-1, -1]]
    assert sphashquery(queries[:0], references).shape == (0, 2)
    assert sphash(torch.zeros((0, 4), dtype=torch.int32), get_kernel_offsets(2)).shape == (8, 0)


def test_hash_errors_say_what_to_do() -> None:
    coords = torch.tensor([[0, 0, REACH, 0]], dtype=torch.int32)
    with pytest.raises(ValueError, match="got 0 to 131072 and 0 to 0: take the least"):
        sphash(coords)
    with pytest.raises(ValueError, match=r"samples from 0 to 511, got .* -1 to -1"):
        sphash(torch.tensor([[0, 0, 0, -1]], dtype=torch.int32))
    with pytest.raises(ValueError, match=r"integer coordinates \(V, 4\).*float32"):
        sphash(coords.float())
    with pytest.raises(ValueError, match=r"offsets \(K, 3\)"):
        sphash(coords, torch.zeros((8, 4), dtype=torch.int32))


def test_points_are_counted_and_averaged() -> None:
    generator = torch.Generator().manual_seed(0)
    feats = torch.randn(50, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    place = torch.randint(-1, 8, (50,), generator=generator)
    place[place == 5] = 4  # a voxel without points
    counts = spcount(place.int(), torch.tensor(8))
    out = spvoxelize(feats, place, counts)
    groups = [feats[place == voxel] for voxel in range(8)]
    assert (counts.dtype, counts.tolist()) == (torch.int32, [len(group) for group in groups])
    wanted = torch.stack([g.mean(0) if len(g) else feats.new_zeros(3) for g in groups])
    torch.testing.assert_close(out, wanted, rtol=1e-13, atol=1e-13)
    shares = torch.randn(8, 3, dtype=torch.float64, generator=generator)
    found, expected = (torch.autograd.grad((y * shares).sum(), feats)[0] for y in (out, wanted))
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def naive_shares(point: list[float], present: list[bool], scale: int) -> np.ndarray:
    """Eight corners, z fastest; those present share what all would."""
    low = [np.floor(p / scale) * scale for p in point]
    shares = []
    for corner, there in zip(itertools.product((0, 1), repeat=3), present, strict=True):
        gap = [abs(p - lo - c * scale) / scale for p, lo, c in zip(point, low, corner, strict=True)]
        shares.append(np.prod([1 - g for g in gap]) if there else 0.0)
    return np.array(shares) / (sum(shares) + 1e-8)


@pytest.mark.parametrize("scale", [1, 2, 8])
def test_shares_are_trilinear_among_the_voxels_there_are(scale) -> None:
    rng = np.random.default_rng(scale)
    points = np.concatenate([rng.uniform(-20, 20, (30, 3)), rng.integers(-9, 9, (10, 3))])
    query = rng.integers(-1, 3, (8, 40))
    query[:, :5] = -1
    query[:, 5:10] = 0
    coords = torch.from_numpy(np.concatenate([points, np.ones((40, 1))], 1))
    found = calc_ti_weights(coords, torch.from_numpy(query), scale=scale)
    assert found.shape == (8, 40)
    for n in range(40):
        wanted = naive_shares(points[n].tolist(), (query[:, n] >= 0).tolist(), scale)
        np.testing.assert_allclose(found[:, n], wanted, rtol=1e-10, atol=1e-12)
    assert not found[:, :5].any()
    torch.testing.assert_close(found[:, 5:10].sum(0), torch.ones(5).double(), rtol=1e-7, atol=0)


def test_points_read_the_voxels_around_them() -> None:
    generator = torch.Generator().manual_seed(1)
    feats = torch.randn(6, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    rows = torch.randint(-1, 6, (20, 8), generator=generator)
    weights = torch.rand(20, 8, dtype=torch.float64, generator=generator)
    out = spdevoxelize(feats, rows, weights)
    wanted = torch.stack(
        [
            sum((w * feats[r] for w, r in zip(ws, rs, strict=True) if r >= 0), feats.new_zeros(3))
            for ws, rs in zip(weights, rows, strict=True)
        ]
    )
    torch.testing.assert_close(out, wanted, rtol=1e-13, atol=1e-13)
    shares = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    found, expected = (torch.autograd.grad((y * shares).sum(), feats)[0] for y in (out, wanted))
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    feats = torch.randn(4000, 3, generator=generator).to(dtype)
    place = torch.randint(0, 2, (4000,), generator=generator)
    counts = spcount(place, 2)
    assert torch.equal(
        spvoxelize(feats, place, counts), spvoxelize(feats.float(), place, counts).to(dtype)
    )
    rows = torch.randint(-1, 4000, (20, 8), generator=generator)
    weights = torch.rand(20, 8, generator=generator)
    out = spdevoxelize(feats, rows, weights)
    assert torch.equal(out, spdevoxelize(feats.float(), rows, weights).to(dtype))
    assert calc_ti_weights(torch.rand(20, 4).to(dtype), rows.T).dtype == torch.float32


def test_nothing_gives_nothing() -> None:
    none = torch.zeros((0,), dtype=torch.int64)
    assert spcount(none, 3).tolist() == [0, 0, 0]
    assert spvoxelize(torch.zeros(0, 2), none, torch.zeros(0, dtype=torch.int32)).shape == (0, 2)
    assert calc_ti_weights(torch.zeros(0, 4), torch.zeros((8, 0), dtype=torch.int64)).shape == (
        8,
        0,
    )
    missing = torch.full((2, 8), -1)
    assert spdevoxelize(torch.zeros(0, 3), missing, torch.ones(2, 8)).tolist() == [[0.0] * 3] * 2
