# SPDX-License-Identifier: Apache-2.0
"""Pair tables of sparse convolutions on the CPU: which input voxel feeds which output voxel.

Voxels are walked in lexicographic order of (batch, z, y, x), their *rank*. For one kernel offset
the step from input to output keeps that order, so the pairs of an offset are found by merging two
ordered lists, need no hash table, and are ordered by input and by output at once: the same list
serves the convolution, its inverse and both gradients.

Kernel offsets run with the last axis fastest, as in spconv's weights (Cout, kz, ky, kx, Cin).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lidistill.ops.sparse._neighbour_kernels import (
    LAST,
    block_starts,
    bounds,
    ranks_in,
    shifted_pairs,
    touched_keys,
    union,
)
from lidistill.ops.sparse.pair_table import BLOCK, PairTable

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

MOST_KEYS = 2**62
"""Cells that voxels may span, so that a key and a step fit 64 bits together."""


def submanifold_table(
    coords: Tensor, shape: Sequence[int], kernel_size: Sequence[int], dilation: Sequence[int]
) -> PairTable:
    """Table of a submanifold convolution: outputs sit where the inputs sit.

    Args:
        coords: (V, 1 + D) int32 voxel coordinates, batch first, unique, inside ``shape``.
        shape: D grid sizes.
        kernel_size: D kernel sizes; an even one reaches one further to the low side.
        dilation: D dilations.

    Returns:
        The table, with V inputs and V outputs.

    Raises:
        ValueError: coordinates outside ``shape``; a voxel that is there twice; a grid with too many
            cells to be numbered.
    """
    kernel = np.asarray(kernel_size, dtype=np.int64)
    shift = (_kernel_grid(kernel_size) - kernel // 2) * np.asarray(dilation, dtype=np.int64)
    rows = _checked(coords, shape)
    # the border keeps a step over the edge of one grid line from landing in the next
    border = np.asarray(shape, dtype=np.int64) + np.abs(shift).max(axis=0, initial=0)
    _check_span([_samples(rows), *border.tolist()])
    keys, order = _unique_ranks(rows, border)
    steps = _keys(np.concatenate([np.zeros_like(shift[:, :1]), shift], axis=1), border)
    ins, outs, firsts = shifted_pairs(np.append(keys, LAST), keys, steps, True)
    return _table(ins, outs, firsts, order, order)


def offset_table(coords: Tensor, out_coords: Tensor, offsets: Tensor) -> PairTable:
    """Table of a convolution between given voxels: an output reads the input at output + offset.

    Args:
        coords: (V_in, 1 + D) integer voxel coordinates, batch first, unique; may be negative.
        out_coords: (V_out, 1 + D) likewise; ``coords`` itself for a submanifold convolution.
        offsets: (K, D) integer, in any order.

    Returns:
        The table; a rank is a place in the lexicographic order of the coordinates.

    Raises:
        ValueError: a voxel that is there twice; voxels too far apart to be numbered.
    """
    rows, out_rows, shifts = (
        np.ascontiguousarray(each.detach().cpu().numpy(), dtype=np.int64)
        for each in (coords, out_coords, offsets)
    )
    every = np.concatenate([rows, out_rows])
    low, high = (
        extreme(every, axis=0) if len(every) else np.zeros(every.shape[1], dtype=np.int64)
        for extreme in (np.min, np.max)
    )
    extent = high - low + 1
    extent[1:] += np.abs(shifts).max(axis=0, initial=0)  # the border, as of a submanifold table
    _check_span(extent.tolist())
    keys, order = _unique_ranks(rows, extent[1:], low)
    same = coords is out_coords
    out_keys, out_order = (keys, order) if same else _unique_ranks(out_rows, extent[1:], low)
    steps = _keys(np.concatenate([np.zeros_like(shifts[:, :1]), shifts], axis=1), extent[1:])
    ins, outs, firsts = shifted_pairs(np.append(keys, LAST), out_keys, steps, same)
    return _table(ins, outs, firsts, order, out_order)


def _check_span(extent: Sequence[int]) -> None:
    """Refuse cells (batch, ...) whose number and a step do not fit 64 bits together."""
    if math.prod(map(int, extent)) >= MOST_KEYS:
        raise ValueError(
            f"expected voxels that span fewer than 2**62 cells, got {extent} along (batch, ...): "
            "take the least coordinate of each sample from its own, and a grid that is not larger"
        )


def _unique_ranks(rows: npt.NDArray[Any], grid: Int64, low: Int64 | int = 0) -> tuple[Int64, Int32]:
    """Sorted keys of voxels and the row of each rank; no voxel may be there twice."""
    keys, order = _ranked(_keys(rows - low, grid))
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        raise ValueError(
            f"expected each voxel once, got {rows[order[twice[0]]].tolist()} (batch, ...) twice, "
            f"and {len(twice)} such rows: merge the points of a voxel first"
        )
    return keys, order


def pointwise_table(count: int) -> PairTable:
    """Table of a 1x1x1 convolution: each of ``count`` voxels feeds itself.

    Args:
        count: number of voxels.
    """
    rows = np.arange(count, dtype=np.int32)
    starts = np.minimum(np.arange(-(-count // BLOCK) + 1, dtype=np.int64) * BLOCK, count)[None]
    return PairTable(rows, rows, starts, starts, rows, rows)


def strided_table(
    coords: Tensor,
    shape: Sequence[int],
    out_shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool = False,
) -> tuple[Tensor, PairTable]:
    """Table of a strided (or transposed) convolution: outputs sit where the kernel meets an input.

    Args:
        coords: (V, 1 + D) int32 voxel coordinates, batch first, unique, inside ``shape``.
        shape: D grid sizes of the input.
        out_shape: D grid sizes of the output.
        kernel_size: D kernel sizes.
        stride: D strides.
        padding: D paddings.
        dilation: D dilations.
        transposed: ``out = in * stride - padding + k * dilation`` instead of its opposite.

    Returns:
        Output coordinates (V_out, 1 + D) int32 in lexicographic order, and the table.

    Raises:
        ValueError: coordinates outside ``shape``; a voxel that is there twice; a grid with an empty
            axis, or with too many cells to be numbered.
    """
    if min(out_shape) <= 0:
        raise ValueError(
            f"expected an output grid with at least one cell an axis, got {list(out_shape)} from "
            f"the grid {list(shape)} (kernel {list(kernel_size)}, stride {list(stride)}, padding "
            f"{list(padding)}): enlarge the input grid or take fewer strided layers"
        )
    rows = _checked(coords, shape)
    grid = np.asarray(out_shape, dtype=np.int64)
    for cells in (shape, out_shape):
        _check_span([_samples(rows), *cells])
    _, order = _unique_ranks(rows, np.asarray(shape, dtype=np.int64))
    places = np.full((len(grid), max(kernel_size), max(shape)), -1, dtype=np.int32)
    geometry = zip(shape, out_shape, kernel_size, stride, padding, dilation, strict=True)
    for axis, (n, n_out, k, s, p, d) in enumerate(geometry):
        places[axis, :k, :n] = _places(n, n_out, k, s, p, d, transposed)
    kernel = _kernel_grid(kernel_size)
    touched, ranks, firsts = touched_keys(rows[order], kernel, places, grid)
    keys = union(touched, firsts)
    out_rows = np.empty((len(keys), rows.shape[1]), dtype=np.int32)
    rest = keys
    for axis in range(len(grid), 0, -1):
        rest, out_rows[:, axis] = np.divmod(rest, grid[axis - 1])
    out_rows[:, 0] = rest
    out_order = np.arange(len(keys), dtype=np.int32)
    table = _table(ranks, ranks_in(touched, firsts, keys), firsts, order, out_order)
    return torch.from_numpy(out_rows), table


def _places(
    size: int, out_size: int, k: int, stride: int, padding: int, dilation: int, transposed: bool
) -> Int64:
    """Output cell (k, size) of each kernel position and input cell along one axis; -1 for none."""
    cell, position = np.arange(size), np.arange(k)[:, None]
    if transposed:
        at = cell * stride - padding + position * dilation
    else:
        at, rest = np.divmod(cell + padding - position * dilation, stride)
        at[rest != 0] = -1
    return np.where((at >= 0) & (at < out_size), at, -1)


def _checked(coords: Tensor, shape: Sequence[int]) -> Int32:
    """``coords`` as a contiguous array, checked against the grid."""
    rows = np.ascontiguousarray(coords.detach().numpy(), dtype=np.int32)
    if rows.ndim != 2 or rows.shape[1] != len(shape) + 1:
        raise ValueError(
            f"expected voxel coordinates (V, {len(shape) + 1}) as (batch, ...) for the grid "
            f"{list(shape)}, got {tuple(coords.shape)}"
        )
    low, high = bounds(rows)
    if low.min() < 0 or (high[1:] >= np.asarray(shape)).any():
        raise ValueError(
            f"expected voxel coordinates (batch, ...) inside the grid {list(shape)}, got the range "
            f"{low.tolist()} to {high.tolist()}: check the spatial shape and that the axes run "
            "(batch, z, y, x)"
        )
    return rows


def _samples(rows: Int32) -> int:
    """Samples that voxels (V, 1 + D) are numbered over."""
    return int(rows[:, 0].max(initial=-1)) + 1


def _kernel_grid(kernel_size: Sequence[int]) -> Int64:
    """Kernel positions (K, D), last axis fastest."""
    return np.indices(tuple(kernel_size), dtype=np.int64).reshape(len(kernel_size), -1).T.copy()


def _keys(rows: npt.NDArray[Any], grid: Int64) -> Int64:
    """Linear index (V,) of each row (batch, ...) in a batch of grids."""
    keys = rows[:, 0].astype(np.int64)
    for axis, size in enumerate(grid):
        keys *= size
        keys += rows[:, axis + 1]
    return keys


def _ranked(keys: Int64) -> tuple[Int64, Int32]:
    """Sorted keys and the row of each rank; voxels often come in order already."""
    if (keys[1:] > keys[:-1]).all():
        return keys, np.arange(len(keys), dtype=np.int32)
    order = np.argsort(keys, kind="stable").astype(np.int32)
    return keys[order], order


def _table(ins: Int32, outs: Int32, firsts: Int64, in_order: Int32, out_order: Int32) -> PairTable:
    """Table from pairs of ranks, each offset's from one of ``firsts`` to the next."""
    return PairTable(
        in_order[ins],
        out_order[outs],
        block_starts(ins, firsts, len(in_order), BLOCK),
        block_starts(outs, firsts, len(out_order), BLOCK),
        in_order,
        out_order,
    )
