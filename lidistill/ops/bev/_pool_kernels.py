# SPDX-License-Identifier: Apache-2.0
"""CPU kernels behind :mod:`lidistill.ops.bev.pool`: counting sort, and both gradients in one pass.

They release the interpreter lock; the gradients are spread over plain threads by pixels, so no two
threads write to one place.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from lidistill.jit import njit

_REORDER = {"reassoc", "contract", "nsz"}  # lets sums over channels use vector instructions


def sort_cells(cells: NDArray[np.int32], num_cells: int) -> tuple[NDArray, NDArray]:
    """Points by cell, within a cell in their own order.

    Args:
        cells: (P,) cell of each point; negative ones are left out.
        num_cells: number of cells.

    Returns:
        (K,) int64 points and (num_cells + 1,) int64 where each cell starts.
    """
    offsets = np.zeros(num_cells + 1, np.int64)
    _count(cells, offsets)
    np.cumsum(offsets, out=offsets)
    points = np.empty(int(offsets[-1]), np.int64)
    _place(cells, offsets[:-1].copy(), points)
    return points, offsets


def pool_gradients(
    out: NDArray[np.float32],
    depth: NDArray[np.float32],
    rows: NDArray[np.float32],
    cells: NDArray[np.int32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gradients of the pooled sums.

    Args:
        out: (num_cells, C) gradient of the pooled map.
        depth: (M, D, Q) weights of points; Q pixels of M images.
        rows: (M * Q, C) context.
        cells: (M, D, Q) cell of each point; negative: none.

    Returns:
        Gradients of ``depth`` (M, D, Q) and of ``rows``.
    """
    images, _, pixels = depth.shape
    depth_grad, rows_grad = np.zeros_like(depth), np.zeros_like(rows)
    total = images * pixels
    threads = max(1, min(torch.get_num_threads(), total // 256))
    ends = np.linspace(0, total, threads + 1).astype(np.int64)

    def part(k: int) -> None:
        _gradients(out, depth, rows, cells, ends[k], ends[k + 1], depth_grad, rows_grad)

    if threads == 1:
        part(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, range(threads)))
    return depth_grad, rows_grad


@njit
def _count(cells, offsets):  # type: ignore[no-untyped-def]
    for point in range(cells.shape[0]):
        if cells[point] >= 0:
            offsets[cells[point] + 1] += 1


@njit
def _place(cells, following, points):  # type: ignore[no-untyped-def]
    for point in range(cells.shape[0]):
        cell = cells[point]
        if cell >= 0:
            points[following[cell]] = point
            following[cell] += 1


@njit(fastmath=_REORDER)
def _gradients(  # type: ignore[no-untyped-def]
    out, depth, rows, cells, first, last, depth_grad, rows_grad
):
    _, bins, pixels = depth.shape
    channels = rows.shape[1]
    for row in range(first, last):
        image, pixel = row // pixels, row % pixels
        context, context_grad = rows[row], rows_grad[row]
        for bin_ in range(bins):
            cell = cells[image, bin_, pixel]
            if cell < 0:
                continue
            weight = depth[image, bin_, pixel]
            grad = out[cell]
            product = np.float32(0.0)
            for c in range(channels):
                product += grad[c] * context[c]
                context_grad[c] += weight * grad[c]
            depth_grad[image, bin_, pixel] = product
