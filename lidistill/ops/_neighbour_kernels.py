# SPDX-License-Identifier: Apache-2.0
"""Loops behind `lidistill.ops.neighbours`: merges of ordered lists of voxel keys."""

import numba
import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def bounds(rows: Int32) -> tuple[Int32, Int32]:
    """Least and greatest value of each column; zeros without rows."""
    low = np.zeros(rows.shape[1], dtype=np.int32)
    high = np.zeros(rows.shape[1], dtype=np.int32)
    for row in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            value = rows[row, column]
            if row == 0 or value < low[column]:
                low[column] = value
            if row == 0 or value > high[column]:
                high[column] = value
    return low, high


@numba.njit(cache=True, nogil=True)
def find_shifted(keys: Int64, steps: Int64) -> Int32:
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
def touched_keys(rows, kernel, grid, stride, padding, dilation, transposed):  # type: ignore[no-untyped-def]
    """Key (K, V) of the output voxel that reads a voxel through an offset; -1 for none."""
    volume, num_axes = kernel.shape
    touched = np.full((volume, rows.shape[0]), -1, dtype=np.int64)
    # position along each axis for each kernel index there: far fewer than kernel offsets
    sizes = kernel[-1] + 1
    at = np.empty((num_axes, sizes.max()), dtype=np.int64)
    for row in range(rows.shape[0]):
        for axis in range(num_axes):
            for i in range(sizes[axis]):
                if transposed:
                    place = rows[row, axis + 1] * stride[axis] - padding[axis] + i * dilation[axis]
                else:
                    place = rows[row, axis + 1] + padding[axis] - i * dilation[axis]
                    place = place // stride[axis] if place % stride[axis] == 0 else -1
                at[axis, i] = place if 0 <= place < grid[axis] else -1
        for k in range(volume):
            key = np.int64(rows[row, 0])
            for axis in range(num_axes):
                place = at[axis, kernel[k, axis]]
                if place < 0:
                    key = np.int64(-1)
                    break
                key = key * grid[axis] + place
            touched[k, row] = key
    return touched


@numba.njit(cache=True, nogil=True)
def union(touched: Int64) -> Int64:
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
def find_keys(touched: Int64, keys: Int64) -> Int32:
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


@numba.njit(cache=True, nogil=True)
def pair_lists(found, num_in, block):  # type: ignore[no-untyped-def]
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
