# SPDX-License-Identifier: Apache-2.0
"""Loops behind `lidistill.ops.sparse.neighbours`: merges of ordered lists of voxel keys."""

import numpy as np
import numpy.typing as npt

from lidistill.jit import njit

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

# behind every key, so that a merge needs no test for the end of its list
LAST = np.int64(np.iinfo(np.int64).max)


@njit
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


@njit
def shifted_pairs(keys, out_keys, steps, mirrored):  # type: ignore[no-untyped-def]
    """Pairs of ranks (input voxel at key + step, output voxel at key), for each step in turn.

    Args:
        keys: (V_in + 1,) int64 ascending keys of the inputs, ``LAST`` at the end.
        out_keys: (V_out,) int64 ascending keys of the outputs.
        steps: (K,) int64.
        mirrored: outputs are the inputs, so the pairs of opposite steps mirror each other.

    Returns:
        ins (P,) int32, outs (P,) int32, firsts (K + 1,) int64 where each step's pairs begin.
    """
    count, volume = out_keys.shape[0], steps.shape[0]
    most = min(count, keys.shape[0] - 1) * volume
    ins = np.empty(most + 1, dtype=np.int32)  # one to spare: a miss is written, then overwritten
    outs = np.empty(most + 1, dtype=np.int32)
    firsts = np.zeros(volume + 1, dtype=np.int64)
    lower = np.empty(count, dtype=np.int64)  # first rank whose key is not below key + step
    merged = -1  # offset that `lower` is right for
    for k in range(volume):
        step, p = steps[k], firsts[k]
        mirror = -1
        for other in range(k if mirrored else 0):
            if steps[other] == -step:
                mirror = other
        if mirror >= 0:  # b reads a where a reads b through the opposite step
            for q in range(firsts[mirror], firsts[mirror + 1]):
                ins[p], outs[p] = outs[q], ins[q]
                p += 1
        else:
            if merged < 0 or merged != k - 1 or steps[k - 1] + 1 != step:
                at = 0
                for rank in range(count):
                    while keys[at] < out_keys[rank] + step:
                        at += 1
                    lower[rank] = at
            for rank in range(count):
                at = lower[rank]
                hit = keys[at] == out_keys[rank] + step
                ins[p] = at
                outs[p] = rank
                p += hit
                lower[rank] = at + hit  # right for the next cell of the same line
            merged = k
        firsts[k + 1] = p
    total = firsts[volume]
    return ins[:total].copy(), outs[:total].copy(), firsts


@njit
def touched_keys(rows, kernel, places, grid):  # type: ignore[no-untyped-def]
    """Output voxels that read each input through each kernel offset.

    Args:
        rows: (V, 1 + D) int32 cells of the inputs, ascending.
        kernel: (K, D) int64 kernel positions, last axis fastest.
        places: (D, k, n) int32 output cell along each axis, by kernel position and input cell
            there; -1 for none.
        grid: (D,) int64 sizes of the output.

    Returns:
        keys (P,) int64 of the outputs, ranks (P,) int32 of the inputs, firsts (K + 1,) int64 where
        each offset's begin; both ascend within an offset.
    """
    count, (volume, num_axes) = rows.shape[0], kernel.shape
    keys = np.empty(count * volume, dtype=np.int64)
    ranks = np.empty(count * volume, dtype=np.int32)
    firsts = np.zeros(volume + 1, dtype=np.int64)
    # rows, and their keys so far, that are left after each axis: offsets that differ in later axes
    # only, start from there
    left = np.empty((num_axes + 1, count), dtype=np.int32)
    left_keys = np.empty((num_axes + 1, count), dtype=np.int64)
    numbers = np.zeros(num_axes + 1, dtype=np.int64)
    left[0] = np.arange(count)
    left_keys[0] = rows[:, 0]
    numbers[0] = count
    for k in range(volume):
        changed = 0
        while k > 0 and kernel[k, changed] == kernel[k - 1, changed]:
            changed += 1
        for axis in range(changed, num_axes):
            place = places[axis, kernel[k, axis]]
            number = 0
            for q in range(numbers[axis]):
                row = left[axis, q]
                at = place[rows[row, axis + 1]]
                left[axis + 1, number] = row
                left_keys[axis + 1, number] = left_keys[axis, q] * grid[axis] + at
                number += at >= 0
            numbers[axis + 1] = number
        first, number = firsts[k], numbers[num_axes]
        keys[first : first + number] = left_keys[num_axes, :number]
        ranks[first : first + number] = left[num_axes, :number]
        firsts[k + 1] = first + number
    total = firsts[volume]
    return keys[:total].copy(), ranks[:total].copy(), firsts


@njit
def union(keys: Int64, firsts: Int64) -> Int64:
    """Ascending union of ascending lists, each from one of ``firsts`` to the next."""
    while firsts.shape[0] > 2:
        lists = firsts.shape[0] - 1
        merged = np.empty_like(keys)
        starts = np.zeros((lists + 1) // 2 + 1, dtype=np.int64)
        p = 0
        for pair in range((lists + 1) // 2):
            a, end_a = firsts[2 * pair], firsts[2 * pair + 1]
            b, end_b = end_a, firsts[min(2 * pair + 2, lists)]
            while a < end_a and b < end_b:
                key_a, key_b = keys[a], keys[b]
                merged[p] = min(key_a, key_b)
                a += key_a <= key_b
                b += key_b <= key_a
                p += 1
            for q in range(a, end_a):
                merged[p] = keys[q]
                p += 1
            for q in range(b, end_b):
                merged[p] = keys[q]
                p += 1
            starts[pair + 1] = p
        keys, firsts = merged, starts
    return keys[: firsts[-1]].copy()


@njit
def ranks_in(keys: Int64, firsts: Int64, among: Int64) -> Int32:
    """Rank in ``among`` (ascending) of each of ``keys``, which are all in it."""
    found = np.empty(keys.shape[0], dtype=np.int32)
    for k in range(firsts.shape[0] - 1):
        at = 0
        for p in range(firsts[k], firsts[k + 1]):
            while among[at] < keys[p]:
                at += 1
            found[p] = at
    return found


@njit
def block_starts(ranks: Int32, firsts: Int64, count: int, block: int) -> Int64:
    """First pair (K, blocks + 1) of each block of ``count`` ranks, which ascend in an offset."""
    blocks = (count + block - 1) // block
    starts = np.empty((firsts.shape[0] - 1, blocks + 1), dtype=np.int64)
    for k in range(starts.shape[0]):
        p, end = firsts[k], firsts[k + 1]
        for b in range(blocks):
            while p < end and ranks[p] < b * block:
                p += 1
            starts[k, b] = p
        starts[k, blocks] = end
    return starts
