# SPDX-License-Identifier: Apache-2.0
"""Pair tables of sparse convolutions on the CPU: which input voxel feeds which output voxel.

Voxels are walked in lexicographic order of (batch, z, y, x), their *rank*. For one kernel offset the
step from input to output keeps that order, so the pairs of an offset are found by merging two
ordered lists, need no hash table, and are ordered by input and by output at once: the same list
serves the convolution, its inverse and both gradients.

Kernel offsets run with the last axis fastest, as in spconv's weights (Cout, kz, ky, kx, Cin).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

# Ranks that one step of the kernels handles together: small enough that the rows of a block, of
# its neighbours and of one weight stay in the second-level cache at 128 channels.
BLOCK = 256


@dataclass(frozen=True)
class PairTable:
    """Pairs of (input voxel, output voxel) of each kernel offset.

    Attributes:
        ins: (P,) int32 input rows, by offset, then by rank.
        outs: (P,) int32 output rows, in the same order.
        in_starts: (K, blocks + 1) int64, first pair of each block of ``BLOCK`` input ranks.
        out_starts: (K, blocks + 1) int64, first pair of each block of ``BLOCK`` output ranks.
        in_order: (V_in,) int32 row of each input rank.
        out_order: (V_out,) int32 row of each output rank.
    """

    ins: Int32
    outs: Int32
    in_starts: Int64
    out_starts: Int64
    in_order: Int32
    out_order: Int32

    @property
    def num_in(self) -> int:
        """Number of input voxels."""
        return len(self.in_order)

    @property
    def num_out(self) -> int:
        """Number of output voxels."""
        return len(self.out_order)

    @property
    def volume(self) -> int:
        """Number of kernel offsets, K."""
        return len(self.in_starts)

    def inverse(self) -> PairTable:
        """The table of the inverse convolution: inputs and outputs change places."""
        return PairTable(
            self.outs,
            self.ins,
            self.out_starts,
            self.in_starts,
            self.out_order,
            self.in_order,
        )

    def sources(self) -> Int32:
        """(K, V_out) int32: the input row that each output row reads through an offset, or -1."""
        dense = np.full((self.volume, self.num_out), -1, dtype=np.int32)
        for k, (first, last) in enumerate(self.out_starts[:, [0, -1]]):
            dense[k, self.outs[first:last]] = self.ins[first:last]
        return dense


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
        ValueError: coordinates outside ``shape``.
    """
    kernel = np.asarray(kernel_size, dtype=np.int64)
    shift = (_kernel_grid(kernel_size) - kernel // 2) * np.asarray(dilation, dtype=np.int64)
    rows = _checked(coords, shape)
    # the border keeps a step over the edge of one grid line from landing in the next
    border = np.asarray(shape, dtype=np.int64) + np.abs(shift).max(axis=0, initial=0)
    keys, order = _ranked(_keys(rows, border))
    steps = _keys(np.concatenate([np.zeros_like(shift[:, :1]), shift], axis=1), border)
    found = _find_shifted(keys, steps)
    return _collect(found, order, order)


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
        ValueError: coordinates outside ``shape``; an output grid with an empty axis.
    """
    if min(out_shape) <= 0:
        raise ValueError(
            f"expected an output grid with at least one cell an axis, got {list(out_shape)} from "
            f"the grid {list(shape)} (kernel {list(kernel_size)}, stride {list(stride)}, padding "
            f"{list(padding)}): enlarge the input grid or take fewer strided layers"
        )
    rows = _checked(coords, shape)
    grid = np.asarray(out_shape, dtype=np.int64)
    _, order = _ranked(_keys(rows, np.asarray(shape, dtype=np.int64)))
    shift = np.asarray(padding, dtype=np.int64) - _kernel_grid(kernel_size) * np.asarray(
        dilation, dtype=np.int64
    )
    touched = _touched_keys(rows[order], shift, grid, np.asarray(stride), transposed)
    keys = _union(touched)
    out_rows = np.empty((len(keys), rows.shape[1]), dtype=np.int32)
    rest = keys
    for axis in range(len(grid), 0, -1):
        rest, out_rows[:, axis] = np.divmod(rest, grid[axis - 1])
    out_rows[:, 0] = rest
    found = _find_keys(touched, keys)
    table = _collect(found, np.arange(len(keys), dtype=np.int32), order)
    return torch.from_numpy(out_rows), table.inverse()


def _checked(coords: Tensor, shape: Sequence[int]) -> Int32:
    """``coords`` as a contiguous array, checked against the grid."""
    rows = np.ascontiguousarray(coords.detach().numpy(), dtype=np.int32)
    if len(rows):
        low, high = rows.min(axis=0), rows.max(axis=0)
        if low.min() < 0 or (high[1:] >= np.asarray(shape)).any():
            raise ValueError(
                f"expected voxel coordinates (batch, ...) inside the grid {list(shape)}, got the "
                f"range {low.tolist()} to {high.tolist()}: check the spatial shape and that the "
                "axes run (batch, z, y, x)"
            )
    return rows


def _kernel_grid(kernel_size: Sequence[int]) -> Int64:
    """Kernel positions (K, D), last axis fastest."""
    return np.indices(tuple(kernel_size), dtype=np.int64).reshape(len(kernel_size), -1).T


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


@numba.njit(cache=True, nogil=True)
def _find_shifted(keys: Int64, steps: Int64) -> Int32:
    """Rank (K, V) of the voxel at each voxel's key plus a step; -1 where there is none."""
    volume, count = steps.shape[0], keys.shape[0]
    found = np.full((volume, count), -1, dtype=np.int32)
    for k in range(volume):
        step = steps[k]
        mirror = -1
        for other in range(k):
            if steps[other] == -step:
                mirror = other
        if step == 0:
            found[k] = np.arange(count)
        elif mirror >= 0:
            for rank in range(count):
                if found[mirror, rank] >= 0:
                    found[k, found[mirror, rank]] = rank
        else:
            at = 0
            for rank in range(count):
                wanted = keys[rank] + step
                while at < count and keys[at] < wanted:
                    at += 1
                if at < count and keys[at] == wanted:
                    found[k, rank] = at
    return found


@numba.njit(cache=True, nogil=True)
def _touched_keys(rows: Int32, shift: Int64, grid: Int64, stride: Int64, transposed: bool) -> Int64:
    """Key (K, V) of the output voxel that reads a voxel through an offset; -1 for none."""
    touched = np.full((shift.shape[0], rows.shape[0]), -1, dtype=np.int64)
    for row in range(rows.shape[0]):
        for k in range(shift.shape[0]):
            key = np.int64(rows[row, 0])
            for axis in range(grid.shape[0]):
                if transposed:
                    at = rows[row, axis + 1] * stride[axis] - shift[k, axis]
                else:
                    at = rows[row, axis + 1] + shift[k, axis]
                    if at % stride[axis] != 0:
                        key = -1
                        break
                    at //= stride[axis]
                if at < 0 or at >= grid[axis]:
                    key = -1
                    break
                key = key * grid[axis] + at
            touched[k, row] = key
    return touched


@numba.njit(cache=True, nogil=True)
def _union(touched: Int64) -> Int64:
    """Sorted union of the rows of ``touched``; each row is in order but for its gaps (-1)."""
    total = np.empty(0, dtype=np.int64)
    for k in range(touched.shape[0]):
        merged = np.empty(total.shape[0] + touched.shape[1], dtype=np.int64)
        count = 0
        at = 0
        for key in touched[k]:
            if key < 0:
                continue
            while at < total.shape[0] and total[at] < key:
                merged[count] = total[at]
                count += 1
                at += 1
            if at < total.shape[0] and total[at] == key:
                at += 1
            merged[count] = key
            count += 1
        while at < total.shape[0]:
            merged[count] = total[at]
            count += 1
            at += 1
        total = merged[:count]
    return total.copy()


@numba.njit(cache=True, nogil=True)
def _find_keys(touched: Int64, keys: Int64) -> Int32:
    """Rank (K, V) in ``keys`` of each touched key; -1 for none."""
    found = np.full(touched.shape, -1, dtype=np.int32)
    for k in range(touched.shape[0]):
        at = 0
        for rank in range(touched.shape[1]):
            if touched[k, rank] >= 0:
                while keys[at] < touched[k, rank]:
                    at += 1
                found[k, rank] = at
    return found


def _collect(found: Int32, in_order: Int32, out_order: Int32) -> PairTable:
    """Table from the input rank (K, V_out) of each output rank."""
    ins, outs, in_starts, out_starts = _pair_lists(found, len(in_order), BLOCK)
    return PairTable(in_order[ins], out_order[outs], in_starts, out_starts, in_order, out_order)


@numba.njit(cache=True, nogil=True)
def _pair_lists(found, num_in, block):  # type: ignore[no-untyped-def]
    volume, num_out = found.shape
    in_starts = np.zeros((volume, (num_in + block - 1) // block + 1), dtype=np.int64)
    out_starts = np.zeros((volume, (num_out + block - 1) // block + 1), dtype=np.int64)
    total = 0
    for k in range(volume):
        for rank in range(num_out):
            total += found[k, rank] >= 0
    ins = np.empty(total, dtype=np.int32)
    outs = np.empty(total, dtype=np.int32)
    total = 0
    for k in range(volume):
        in_starts[k, :] = 0
        first = total
        for rank in range(num_out):
            if found[k, rank] >= 0:
                ins[total] = found[k, rank]
                outs[total] = rank
                total += 1
                in_starts[k, found[k, rank] // block + 1] += 1
                out_starts[k, rank // block + 1] += 1
        in_starts[k, 0] = first
        out_starts[k, 0] = first
        for b in range(1, in_starts.shape[1]):
            in_starts[k, b] += in_starts[k, b - 1]
        for b in range(1, out_starts.shape[1]):
            out_starts[k, b] += out_starts[k, b - 1]
    return ins, outs, in_starts, out_starts
