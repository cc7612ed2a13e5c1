# SPDX-License-Identifier: Apache-2.0
"""CPU kernels that find the neighbours of a local graph."""

from __future__ import annotations

import numpy as np

from lidistill.jit import njit


@njit
def _sift_down(values: np.ndarray, items: np.ndarray, size: int) -> None:
    """Restore the max-heap after its root was replaced."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        if child + 1 < size and values[child + 1] > values[child]:
            child += 1
        if values[child] <= values[at]:
            return
        values[at], values[child] = values[child], values[at]
        items[at], items[child] = items[child], items[at]
        at = child


@njit
def select_smallest(distances: np.ndarray, chosen: np.ndarray, first: int, last: int) -> None:
    """Columns of the k smallest entries of rows ``first .. last``, ascending by column.

    Args:
        distances: (Q, n) float.
        chosen: (Q, k) int64, written; of equal distances the first columns are taken.
        first: first row.
        last: row after the last.
    """
    size = chosen.shape[1]
    values = np.empty(size, dtype=distances.dtype)
    items = np.empty(size, dtype=np.int64)
    for row in range(first, last):
        line = distances[row]
        for column in range(size):
            values[column] = np.inf
            items[column] = -1
        top = values[0]
        for column in range(len(line)):
            if line[column] < top:
                values[0] = line[column]
                items[0] = column
                _sift_down(values, items, size)
                top = values[0]
        chosen[row] = np.sort(items)


@njit
def owner_lists(
    index: np.ndarray, count: np.ndarray, starts: np.ndarray, owners: np.ndarray
) -> None:
    """Turn neighbour lists round: for each place the queries that chose it.

    Args:
        index: (Q, K) int32 places of each query.
        count: (Q,) int32 how many of them are valid.
        starts: (n + 1,) int64 of zeros, written.
        owners: (E,) int32, written.
    """
    for query in range(len(index)):
        for k in range(count[query]):
            starts[index[query, k] + 1] += 1
    for place in range(len(starts) - 1):
        starts[place + 1] += starts[place]
    at = starts[:-1].copy()
    for query in range(len(index)):
        for k in range(count[query]):
            place = index[query, k]
            owners[at[place]] = query
            at[place] += 1


@njit
def nearest_in_buckets(
    position: np.ndarray,
    bucket: np.ndarray,
    table: np.ndarray,
    members: np.ndarray,
    queries: np.ndarray,
    width: float,
    chosen: np.ndarray,
    first: int,
    last: int,
) -> None:
    """K nearest places of the same sample, walking rings of buckets outward from the query's own.

    Args:
        position: (n, 3) float64.
        bucket: (n, 3) int64 (sample, row, column) of each place.
        table: (B, rows, columns, 2) int64 first member of each bucket and the one after its last.
        members: (n,) int64 places, bucket by bucket.
        queries: (Q,) int64 places.
        width: smallest side of a bucket, in the unit of ``position``.
        chosen: (Q, k) int64, written; -1 where a sample has fewer places.
        first: first query.
        last: query after the last.
    """
    size = chosen.shape[1]
    values = np.empty(size, dtype=np.float64)
    items = np.empty(size, dtype=np.int64)
    rows, columns = table.shape[1], table.shape[2]
    for query in range(first, last):
        own = queries[query]
        sample, row0, column0 = bucket[own, 0], bucket[own, 1], bucket[own, 2]
        values[:] = np.inf
        items[:] = -1
        for ring in range(max(rows, columns)):
            # whatever lies in this ring is at least ring - 1 whole buckets away
            if ring > 0 and ((ring - 1) * width) ** 2 >= values[0]:
                break
            for row in range(max(row0 - ring, 0), min(row0 + ring + 1, rows)):
                step = 1 if abs(row - row0) == ring else max(2 * ring, 1)
                for column in range(column0 - ring, column0 + ring + 1, step):
                    if column < 0 or column >= columns:
                        continue
                    cell = table[sample, row, column]
                    for at in range(cell[0], cell[1]):
                        place = members[at]
                        distance = 0.0
                        for axis in range(3):
                            distance += (position[place, axis] - position[own, axis]) ** 2
                        if distance < values[0]:
                            values[0] = distance
                            items[0] = place
                            _sift_down(values, items, size)
        chosen[query] = np.sort(items)
