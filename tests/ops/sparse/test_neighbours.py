# SPDX-License-Identifier: Apache-2.0
"""Pair tables against naive loops and against spconv's own tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill import compat
from lidistill.ops.sparse.layers import conv_output_size, deconv_output_size
from lidistill.ops.sparse.neighbours import offset_table, strided_table, submanifold_table
from lidistill.ops.sparse.pair_table import BLOCK, PairTable
from tests.compat.marks import NEEDS_SPCONV
from tests.ops.sparse_cases import naive_sources, random_grid


def check_table(table: PairTable) -> None:
    """What the kernels rely on: order by rank, and block starts, from both sides."""
    for side in (table, table.inverse()):
        rank = np.empty(side.num_out, dtype=np.int64)
        rank[side.out_order] = np.arange(side.num_out)
        for starts in side.out_starts:
            assert (np.diff(starts) >= 0).all()
            ranks = rank[side.outs[starts[0] : starts[-1]]]
            assert (np.diff(ranks) > 0).all()
            cuts = np.searchsorted(ranks, BLOCK * np.arange(len(starts)))
            assert (starts[0] + cuts == starts).all()
        assert side.out_starts[0, 0] == 0
        assert side.out_starts[-1, -1] == len(side.ins)
        assert (side.out_starts[1:, 0] == side.out_starts[:-1, -1]).all()


@pytest.mark.parametrize("axes", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_submanifold_equals_loop(axes, seed):
    rng = np.random.default_rng([axes, seed])
    grid = random_grid(rng, axes)
    kernel = rng.choice([1, 2, 3, 5], size=axes).tolist() if axes < 4 else [3] * 4
    dilation = rng.choice([1, 2], size=axes).tolist()
    table = submanifold_table(grid.coords, grid.shape, kernel, dilation)

    def step(out, k):
        return out + (k - np.array(kernel) // 2) * dilation

    coords = grid.coords.numpy()
    expected = naive_sources(coords, coords, step, kernel)
    assert np.array_equal(table.sources(), expected)
    check_table(table)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_strided_equals_loop(transposed, seed):
    rng = np.random.default_rng([100, seed, transposed])
    grid = random_grid(rng)
    kernel, stride = rng.integers(1, 4, size=3).tolist(), rng.integers(1, 4, size=3).tolist()
    padding, dilation = rng.integers(0, 2, size=3).tolist(), [1, 1, 1]
    n = np.array(grid.shape)
    if transposed:
        out_shape = (n - 1) * stride - 2 * np.array(padding) + kernel
    else:
        out_shape = (n + 2 * np.array(padding) - kernel) // stride + 1
    if out_shape.min() < 1:
        pytest.skip("this draw has an empty output grid")
    out_coords, table = strided_table(
        grid.coords, grid.shape, out_shape.tolist(), kernel, stride, padding, dilation, transposed
    )

    def step(out, k):
        if not transposed:
            return out * stride - padding + k * dilation
        back = out + padding - k * dilation
        return back // stride if (back % stride == 0).all() else None

    every = np.array(list(np.ndindex(grid.batch_size, *out_shape)))
    sources = naive_sources(grid.coords.numpy(), every, step, kernel)
    touched = (sources >= 0).any(axis=0)
    assert np.array_equal(out_coords.numpy(), every[touched])  # lexicographic order
    assert np.array_equal(table.sources(), sources[:, touched])
    assert np.array_equal(table.inverse().inverse().sources(), table.sources())
    check_table(table)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("same", [True, False])
def test_any_offsets_between_any_voxels_equal_loop(seed, same):
    """Negative coordinates, other outputs than inputs, offsets in no order, some without pairs."""
    rng = np.random.default_rng([300, seed])
    grid, other = random_grid(rng), random_grid(rng)
    shift = torch.tensor([0, -4, 3, -7], dtype=torch.int32)
    coords = grid.coords + shift
    out_coords = coords if same else other.coords + shift
    offsets = rng.permutation(np.array([*np.ndindex(3, 3, 3), (9, 9, 9), (-5, 1, 0)]))[:20]
    offsets = offsets - [1, 0, 2]
    table = offset_table(coords, out_coords, torch.from_numpy(offsets))
    rows = {tuple(c): row for row, c in enumerate(coords.tolist())}
    expected = np.array(
        [
            [rows.get((b, z + dz, y + dy, x + dx), -1) for b, z, y, x in out_coords.tolist()]
            for dz, dy, dx in offsets.tolist()
        ]
    )
    assert np.array_equal(table.sources(), expected)
    check_table(table)


def test_pairs_on_a_device_are_those_of_the_table_and_kept():
    grid = random_grid(np.random.default_rng(3))
    table = strided_table(grid.coords, grid.shape, grid.shape, [3] * 3, [2] * 3, [1] * 3, [1] * 3)
    table = table[1]
    for each in (table, table.inverse()):
        pairs, counts = each.pairs_on(torch.device("cpu"))
        assert pairs is each.pairs_on(torch.device("cpu"))[0]
        found = np.full((each.volume, each.num_out), -1)
        for k, count in enumerate(counts.tolist()):
            ins, outs = pairs[k, :, :count].numpy()
            found[k, outs] = ins
            assert (pairs[k, :, count:] == -1).all()
        assert np.array_equal(found, each.sources())


def spconv_pairs(grid, geometry, subm, transposed):
    """The library's own tables: output coordinates and {(k, in cell, out cell)}."""
    from spconv.core import ConvAlgo
    from spconv.pytorch import ops

    rest = (ConvAlgo.Native, *geometry, [0] * len(grid.shape), subm, transposed)
    outs, pairs, counts = ops.get_indice_pairs(grid.coords, grid.batch_size, grid.shape, *rest)
    volume = len(counts)
    found = set()
    for k in range(volume):
        if subm and k == volume // 2:  # spconv leaves the centre out of a submanifold table
            found |= {(k, i, i) for i in map(tuple, grid.coords.tolist())}
            continue
        count = counts[volume - 1 - k if subm and k > volume // 2 else k]
        for i, o in pairs[:, k, :count].T.tolist():
            found.add((k, tuple(grid.coords[i].tolist()), tuple(outs[o].tolist())))
    return outs, found


GEOMETRIES = {  # kernel, stride, padding, dilation
    "submanifold": ([3, 3, 3], [1] * 3, [1] * 3, [1] * 3),
    "submanifold thin": ([1, 3, 5], [1] * 3, [0] * 3, [1, 2, 1]),
    "submanifold 2d": ([3, 3], [1] * 2, [1] * 2, [1] * 2),
    "strided": ([3, 3, 3], [2] * 3, [1] * 3, [1] * 3),
    "strided even": ([2, 2, 2], [2] * 3, [0] * 3, [1] * 3),
    "strided uneven": ([3, 1, 2], [2, 1, 1], [1, 0, 1], [1] * 3),
    "strided dilated": ([3, 3, 3], [1] * 3, [2] * 3, [2] * 3),
    "strided 2d": ([3, 3], [2, 1], [1, 1], [1] * 2),
    "transposed": ([3, 3, 3], [2] * 3, [1] * 3, [1] * 3),
}


@NEEDS_SPCONV
@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("seed", range(3))
def test_tables_equal_spconvs(name, seed):
    compat.apply()
    geometry = GEOMETRIES[name]
    kernel, *_, dilation = geometry
    subm, transposed = "submanifold" in name, name == "transposed"
    grid = random_grid(np.random.default_rng([200, seed]), len(kernel))
    outs, expected = spconv_pairs(grid, geometry, subm, transposed)
    if subm:
        coords = grid.coords
        table = submanifold_table(coords, grid.shape, kernel, dilation)
    else:
        size = deconv_output_size if transposed else conv_output_size
        out_shape = size(grid.shape, *geometry, *[[0] * len(kernel)] * transposed)
        coords, table = strided_table(grid.coords, grid.shape, out_shape, *geometry, transposed)
    assert sorted(coords.tolist()) == sorted(outs.tolist())
    cells = [tuple(c) for c in grid.coords.tolist()]
    out_cells = [tuple(c) for c in coords.tolist()]
    found = set()
    for k, (first, last) in enumerate(table.out_starts[:, [0, -1]]):
        pairs = zip(table.ins[first:last], table.outs[first:last], strict=True)
        found |= {(k, cells[i], out_cells[o]) for i, o in pairs}
    assert found == expected


def test_order_of_voxels_changes_nothing_but_row_numbers():
    rng = np.random.default_rng(0)
    grid = random_grid(rng, shuffled=False)
    shuffle = rng.permutation(len(grid.coords))
    plain = submanifold_table(grid.coords, grid.shape, [3] * 3, [1] * 3)
    mixed = submanifold_table(grid.coords[shuffle], grid.shape, [3] * 3, [1] * 3)
    assert np.array_equal(shuffle[mixed.ins], plain.ins)
    assert np.array_equal(shuffle[mixed.outs], plain.outs)


def test_non_contiguous_coordinates_are_read_right():
    grid = random_grid(np.random.default_rng(1))
    skewed = grid.coords.T.contiguous().T
    assert not skewed.is_contiguous()
    tables = [submanifold_table(c, grid.shape, [3] * 3, [1] * 3) for c in (grid.coords, skewed)]
    assert np.array_equal(tables[0].sources(), tables[1].sources())


def test_large_grid_with_many_blocks():
    rng = np.random.default_rng(2)
    cells = rng.integers(0, [2, 40, 3000, 3000], size=(4 * BLOCK, 4))
    coords = torch.from_numpy(np.unique(cells, axis=0).astype(np.int32))
    table = submanifold_table(coords, [40, 3000, 3000], [3] * 3, [1] * 3)
    check_table(table)
    assert (table.sources()[13] == np.arange(len(coords))).all()


def test_no_voxels():
    nothing = torch.zeros((0, 4), dtype=torch.int32)
    table = submanifold_table(nothing, [4, 4, 4], [3] * 3, [1] * 3)
    assert (table.num_in, table.num_out, table.volume, len(table.ins)) == (0, 0, 27, 0)
    coords, table = strided_table(nothing, [4] * 3, [2] * 3, [2] * 3, [2] * 3, [0] * 3, [1] * 3)
    assert coords.shape == (0, 4)
    assert table.num_out == 0
    some = torch.tensor([[1, -2, 0, 3]])
    for ins, outs in ((nothing, nothing), (some, nothing), (nothing, some)):
        table = offset_table(ins, outs, torch.zeros((1, 3), dtype=torch.int64))
        assert (table.num_in, table.num_out, len(table.ins)) == (len(ins), len(outs), 0)


@pytest.mark.parametrize("side", [1, 2**21])
def test_grids_with_too_many_cells_are_refused(side):
    """Keys of voxels that wrap around are keys of other voxels: pairs that are none."""
    coords = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.int32)
    one, wide = ([1] * 3, [1] * 3, [0] * 3, [1] * 3), [2**21, 2**21, side]
    if side == 1:
        assert submanifold_table(coords, wide, [1] * 3, [1] * 3).ins.tolist() == [0, 1]
        return
    with pytest.raises(ValueError, match=r"fewer than 2\*\*62 cells, got \[2, .*not larger"):
        submanifold_table(coords, wide, [1] * 3, [1] * 3)
    for shape, out in ((wide, [1] * 3), ([1] * 3, wide)):
        with pytest.raises(ValueError, match="fewer than"):
            strided_table(coords, shape, out, *one)


def test_a_voxel_that_is_there_twice_is_refused():
    coords = torch.tensor([[0, 1, 2, 3], [0, 0, 0, 0], [0, 1, 2, 3]], dtype=torch.int32)
    message = r"once, got \[0, 1, 2, 3\] .* twice, and 1 such"
    with pytest.raises(ValueError, match=message):
        submanifold_table(coords, [4] * 3, [3] * 3, [1] * 3)
    with pytest.raises(ValueError, match=message):
        strided_table(coords, [4] * 3, [2] * 3, [2] * 3, [2] * 3, [0] * 3, [1] * 3)


def test_errors_say_what_to_do():
    coords = torch.tensor([[0, 1, 2, 9]], dtype=torch.int32)
    with pytest.raises(ValueError, match=r"inside the grid \[4, 4, 4\].*axes run"):
        submanifold_table(coords, [4, 4, 4], [3] * 3, [1] * 3)
    with pytest.raises(ValueError, match=r"\(V, 4\).*got \(1, 3\)"):
        submanifold_table(coords[:, :3], [4, 4, 4], [3] * 3, [1] * 3)
    with pytest.raises(ValueError, match="at least one cell"):
        strided_table(coords, [1, 4, 4], [0, 2, 2], [3] * 3, [2] * 3, [0] * 3, [1] * 3)
    far = torch.tensor([[0, 0, 0, 0], [0, 2**31 - 2, 2**31 - 2, 2**31 - 2]])
    with pytest.raises(ValueError, match=r"fewer than 2\*\*62 cells.*least coordinate"):
        offset_table(far, far, torch.zeros((1, 3), dtype=torch.int64))
    with pytest.raises(ValueError, match=r"once, got \[0, 1, 2, 9\] .* twice, and 1 such"):
        offset_table(coords[[0, 0]], coords, torch.zeros((1, 3), dtype=torch.int64))
