# SPDX-License-Identifier: Apache-2.0
"""Neighbour tables of sparse convolutions on the CPU: which input voxel each kernel offset reads.

A table holds, for kernel offset ``k`` and output voxel ``o``, the input voxel that ``o`` reads through ``k``, or
-1. For a fixed offset each input voxel is read by at most one output voxel, so the inverse of a table is a table
again: the same pair serves the convolution, its inverse and its gradients, and nothing is ever scattered.

Kernel offsets run with the last axis fastest, as in spconv's weights (Cout, kz, ky, kx, Cin).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_Int32 = npt.NDArray[np.int32]
_Int64 = npt.NDArray[np.int64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class NeighbourTable:
    """Input voxel of each (kernel offset, output voxel), and the other way round.

    Attributes:
        sources: (K, V_out) int32, input voxel that output voxel ``o`` reads through offset ``k``; -1 for none.
        targets: (K, V_in) int32, output voxel that reads input voxel ``i`` through offset ``k``; -1 for none.
    """

    sources: Tensor
    targets: Tensor

    @property
    def num_in(self) -> int:
        """Number of input voxels."""
        return self.targets.shape[1]

    @property
    def num_out(self) -> int:
        """Number of output voxels."""
        return self.sources.shape[1]

    @property
    def volume(self) -> int:
        """Number of kernel offsets, K."""
        return self.sources.shape[0]

    def inverse(self) -> NeighbourTable:
        """The table of the inverse convolution: inputs and outputs change places, offsets stay."""
        return NeighbourTable(self.targets, self.sources)


def conv_shape(
    shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> list[int]:
    """Spatial shape of a strided convolution's output, as of a dense one; kernel size -1 spans the axis."""
    return [
        1 if k == -1 else (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape, kernel_size, stride, padding, dilation, strict=True)
    ]


def submanifold_table(
    coords: Tensor, shape: Sequence[int], kernel_size: Sequence[int], dilation: Sequence[int]
) -> NeighbourTable:
    """Table of a submanifold convolution: outputs sit where the inputs sit.

    Args:
        coords: (V, 1 + D) int32 voxel coordinates, batch first, unique, inside ``shape``.
        shape: D grid sizes.
        kernel_size: D kernel sizes; an even one reaches one further towards the low side.
        dilation: D dilations.

    Returns:
        The table, with V inputs and V outputs.

    Raises:
        ValueError: coordinates outside ``shape``.
    """
    grid = np.asarray(shape, dtype=np.int64)
    rows = _rows(coords, grid)
    shift = _kernel_grid(kernel_size) - np.asarray(kernel_size, dtype=np.int64) // 2
    shift = np.ascontiguousarray(shift * np.asarray(dilation, dtype=np.int64))
    keys = _keys_of(rows, grid)
    odd = all(k % 2 == 1 for k in kernel_size)
    sources = torch.from_numpy(_submanifold(rows, keys, grid, shift, odd))
    # with odd kernels offset k mirrors offset K-1-k, and the inverse is a view, not a copy, upside down
    targets = sources.flip(0) if odd else torch.from_numpy(_invert(sources.numpy(), len(rows)))
    return NeighbourTable(sources, targets)


def strided_table(
    coords: Tensor,
    shape: Sequence[int],
    out_shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool = False,
) -> tuple[Tensor, NeighbourTable]:
    """Table of a strided (or transposed) convolution: outputs sit wherever the kernel touches an input.

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
        Output coordinates (V_out, 1 + D) int32 in order of first touch, and the table.

    Raises:
        ValueError: coordinates outside ``shape``; an output grid with an empty axis.
    """
    if min(out_shape) <= 0:
        raise ValueError(
            f"expected an output grid with at least one cell an axis, got {list(out_shape)} from the grid "
            f"{list(shape)} (kernel {list(kernel_size)}, stride {list(stride)}, padding {list(padding)}): "
            "enlarge the input grid or take fewer strided layers"
        )
    rows = _rows(coords, np.asarray(shape, dtype=np.int64))
    out_rows, sources, targets = _strided(
        rows,
        np.asarray(out_shape, dtype=np.int64),
        _kernel_grid(kernel_size),
        np.asarray(stride, dtype=np.int64),
        np.asarray(padding, dtype=np.int64),
        np.asarray(dilation, dtype=np.int64),
        transposed,
    )
    table = NeighbourTable(torch.from_numpy(sources), torch.from_numpy(targets))
    return torch.from_numpy(out_rows), table


def _rows(coords: Tensor, grid: _Int64) -> _Int32:
    """``coords`` as a contiguous numpy array, checked against the grid."""
    rows = np.ascontiguousarray(coords.detach().numpy(), dtype=np.int32)
    if len(rows) and (rows.min() < 0 or (rows[:, 1:].max(axis=0) >= grid).any()):
        low, high = rows.min(axis=0).tolist(), rows.max(axis=0).tolist()
        raise ValueError(
            f"expected voxel coordinates (batch, ...) inside the grid {grid.tolist()}, got the range {low} to "
            f"{high}: check the spatial shape and that the axes run (batch, z, y, x)"
        )
    return rows


def _kernel_grid(kernel_size: Sequence[int]) -> _Int64:
    """Kernel positions (K, D), last axis fastest."""
    return np.ascontiguousarray(
        np.indices(tuple(kernel_size), dtype=np.int64).reshape(len(kernel_size), -1).T
    )


def _keys_of(rows: _Int32, grid: _Int64) -> _Int64:
    """Linear index (V,) of each voxel in the batch of grids."""
    keys = rows[:, 0].astype(np.int64)
    for axis, size in enumerate(grid):
        keys = keys * size + rows[:, axis + 1]
    return keys


def _hash_bits(count: int) -> int:
    """Bits of a hash table at most half full."""
    return max(4, (2 * count - 1).bit_length())


@numba.njit(cache=True, nogil=True, inline="always")
def _slot(slot_keys: _Int64, key: int, shift: np.uint64) -> int:
    """Slot that holds ``key``, or the empty slot (-1) where it belongs; linear probing."""
    mask = slot_keys.shape[0] - 1
    slot = np.int64((np.uint64(key) * _GOLDEN) >> shift)
    while slot_keys[slot] != -1 and slot_keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@numba.njit(cache=True, nogil=True)
def _fill_hash(keys: _Int64, bits: int) -> tuple[_Int64, _Int32]:
    slot_keys = np.full(1 << bits, -1, dtype=np.int64)
    slot_rows = np.empty(1 << bits, dtype=np.int32)
    shift = np.uint64(64 - bits)
    for row in range(keys.shape[0]):
        slot = _slot(slot_keys, keys[row], shift)
        slot_keys[slot] = keys[row]
        slot_rows[slot] = row
    return slot_keys, slot_rows


def _submanifold(rows: _Int32, keys: _Int64, grid: _Int64, shift: _Int64, mirror: bool) -> _Int32:
    bits = _hash_bits(len(rows))
    slot_keys, slot_rows = _fill_hash(keys, bits)
    return _look_up(rows, keys, grid, shift, slot_keys, slot_rows, bits, mirror)


@numba.njit(cache=True, nogil=True)
def _look_up(rows, keys, grid, shift, slot_keys, slot_rows, bits, mirror):  # type: ignore[no-untyped-def]
    num_rows, num_axes, volume = rows.shape[0], grid.shape[0], shift.shape[0]
    hash_shift = np.uint64(64 - bits)
    sources = np.full((volume, num_rows), -1, dtype=np.int32)
    # with odd kernels the pair (k: a reads b) is the pair (K-1-k: b reads a): look up half of them
    for k in range(volume // 2 if mirror else volume):
        step = np.int64(0)
        for axis in range(num_axes):
            step = step * grid[axis] + shift[k, axis]
        for row in range(num_rows):
            inside = True
            for axis in range(num_axes):
                at = rows[row, axis + 1] + shift[k, axis]
                inside &= (at >= 0) & (at < grid[axis])
            if not inside:
                continue
            slot = _slot(slot_keys, keys[row] + step, hash_shift)
            if slot_keys[slot] != -1:
                sources[k, row] = slot_rows[slot]
                if mirror:
                    sources[volume - 1 - k, slot_rows[slot]] = row
    if mirror:
        for row in range(num_rows):
            sources[volume // 2, row] = row
    return sources


@numba.njit(cache=True, nogil=True)
def _invert(sources: _Int32, num_in: int) -> _Int32:
    targets = np.full((sources.shape[0], num_in), -1, dtype=np.int32)
    for k in range(sources.shape[0]):
        for out in range(sources.shape[1]):
            if sources[k, out] >= 0:
                targets[k, sources[k, out]] = out
    return targets


def _strided(
    rows: _Int32,
    out_grid: _Int64,
    kernel: _Int64,
    stride: _Int64,
    padding: _Int64,
    dilation: _Int64,
    transposed: bool,
) -> tuple[_Int32, _Int32, _Int32]:
    touches = _touched_keys(rows, out_grid, kernel, stride, padding, dilation, transposed)
    targets, out_keys = _number(touches, _hash_bits(max(1, int((touches >= 0).sum()))))
    out_rows = np.empty((len(out_keys), rows.shape[1]), dtype=np.int32)
    for axis in range(len(out_grid) - 1, -1, -1):
        out_keys, out_rows[:, axis + 1] = np.divmod(out_keys, out_grid[axis])
    out_rows[:, 0] = out_keys
    return out_rows, _invert(targets, len(out_rows)), targets


@numba.njit(cache=True, nogil=True)
def _touched_keys(rows, out_grid, kernel, stride, padding, dilation, transposed):  # type: ignore[no-untyped-def]
    """Linear index (V, K) of the output voxel that reads row ``v`` through offset ``k``; -1 for none."""
    num_rows, num_axes, volume = rows.shape[0], out_grid.shape[0], kernel.shape[0]
    touches = np.full((num_rows, volume), -1, dtype=np.int64)
    for row in range(num_rows):
        for k in range(volume):
            key = np.int64(rows[row, 0])
            valid = True
            for axis in range(num_axes):
                if transposed:
                    at = rows[row, axis + 1] * stride[axis] - padding[axis]
                    at += kernel[k, axis] * dilation[axis]
                else:
                    at = rows[row, axis + 1] + padding[axis] - kernel[k, axis] * dilation[axis]
                    valid &= at % stride[axis] == 0
                    at = at // stride[axis]
                valid &= (at >= 0) & (at < out_grid[axis])
                key = key * out_grid[axis] + at
            if valid:
                touches[row, k] = key
    return touches


@numba.njit(cache=True, nogil=True)
def _number(touches: _Int64, bits: int) -> tuple[_Int32, _Int64]:
    """Number the touched keys by first touch: targets (K, V) and the keys (V_out,)."""
    num_rows, volume = touches.shape
    slot_keys = np.full(1 << bits, -1, dtype=np.int64)
    slot_outs = np.empty(1 << bits, dtype=np.int32)
    shift = np.uint64(64 - bits)
    targets = np.full((volume, num_rows), -1, dtype=np.int32)
    out_keys = np.empty(1 << (bits - 1), dtype=np.int64)
    count = 0
    for row in range(num_rows):
        for k in range(volume):
            key = touches[row, k]
            if key < 0:
                continue
            slot = _slot(slot_keys, key, shift)
            if slot_keys[slot] == -1:
                slot_keys[slot] = key
                slot_outs[slot] = count
                out_keys[count] = key
                count += 1
            targets[k, row] = slot_outs[slot]
    return targets, out_keys[:count].copy()
