# SPDX-License-Identifier: Apache-2.0
"""CPU kernels that walk the edges of a local graph and keep none.

Edges are walked twice, by query and by place (through the list of queries that chose a place), so
that no two threads write to the same row and the result does not depend on the threads.
"""

from __future__ import annotations

import numpy as np

from lidistill.jit import njit


@njit(fastmath={"reassoc", "nsz"})
def sum_rows(
    values: np.ndarray, index: np.ndarray, count: np.ndarray, out: np.ndarray, first: int, last: int
) -> None:
    """``out[i] = sum_k values[index[i, k]]``."""
    channels = values.shape[1]
    total = np.empty(channels, dtype=values.dtype)
    for row in range(first, last):
        total[:] = 0
        for k in range(count[row]):
            source = values[index[row, k]]
            for c in range(channels):
                total[c] += source[c]
        out[row] = total


@njit(fastmath={"reassoc", "nsz"})
def sum_owners(
    values: np.ndarray,
    starts: np.ndarray,
    owners: np.ndarray,
    out: np.ndarray,
    first: int,
    last: int,
) -> None:
    """``out[j] = sum over the owners i of place j of values[i]``."""
    channels = values.shape[1]
    total = np.empty(channels, dtype=values.dtype)
    for place in range(first, last):
        total[:] = 0
        for at in range(starts[place], starts[place + 1]):
            source = values[owners[at]]
            for c in range(channels):
                total[c] += source[c]
        out[place] = total


@njit
def max_rows(
    values: np.ndarray,
    index: np.ndarray,
    count: np.ndarray,
    out: np.ndarray,
    source: np.ndarray,
    first: int,
    last: int,
) -> None:
    """``out[i] = max_k values[index[i, k]]`` and the place it comes from, per channel."""
    channels = values.shape[1]
    best = np.empty(channels, dtype=values.dtype)
    place = np.empty(channels, dtype=np.int32)
    for row in range(first, last):
        best[:] = -np.inf
        place[:] = -1
        for k in range(count[row]):
            j = index[row, k]
            line = values[j]
            for c in range(channels):
                better = line[c] > best[c]
                best[c] = line[c] if better else best[c]
                place[c] = j if better else place[c]
        out[row] = best
        source[row] = place


@njit(fastmath={"reassoc", "nsz"})
def relu_mean_rows(
    near: np.ndarray,
    centre: np.ndarray,
    index: np.ndarray,
    count: np.ndarray,
    out: np.ndarray,
    share: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Mean over k of ``relu(near[index[i, k]] + centre[i])`` and the share of positive edges."""
    channels = near.shape[1]
    total = np.empty(channels, dtype=near.dtype)
    positive = np.empty(channels, dtype=near.dtype)
    zero, one = near.dtype.type(0), near.dtype.type(1)
    for row in range(first, last):
        total[:] = 0
        positive[:] = 0
        own = centre[row]
        for k in range(count[row]):
            line = near[index[row, k]]
            for c in range(channels):
                value = line[c] + own[c]
                total[c] += value if value > zero else zero
                positive[c] += one if value > zero else zero
        out[row] = total / count[row]
        share[row] = positive / count[row]


@njit(fastmath={"reassoc", "nsz"})
def relu_mean_owners(
    near: np.ndarray,
    centre: np.ndarray,
    grad: np.ndarray,
    starts: np.ndarray,
    owners: np.ndarray,
    out: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Gradient of the above into ``near``; ``grad`` (Q, C) is already divided by the counts."""
    channels = near.shape[1]
    total = np.empty(channels, dtype=near.dtype)
    zero = near.dtype.type(0)
    for place in range(first, last):
        total[:] = 0
        line = near[place]
        for at in range(starts[place], starts[place + 1]):
            own, arriving = centre[owners[at]], grad[owners[at]]
            for c in range(channels):
                total[c] += arriving[c] if line[c] + own[c] > zero else zero
        out[place] = total


@njit(fastmath={"reassoc", "nsz"})
def gap_rows(
    near: np.ndarray,
    centre: np.ndarray,
    index: np.ndarray,
    count: np.ndarray,
    out: np.ndarray,
    grad_centre: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Squared distance of two sides' edges, summed per query, and its gradient.

    Args:
        near: (n, 2, C) neighbour part of the student's and the teacher's edges.
        centre: (Q, 2, C) centre part of both.
        index: (Q, K) int32.
        count: (Q,) int32.
        out: (Q,) float, written: ``sum_kc (relu(s) - relu(t))^2``.
        grad_centre: (Q, 2, C), written: gradient of ``out[i]`` into ``centre[i]``.
        first: first query.
        last: query after the last.
    """
    channels = near.shape[2]
    square = np.empty(channels, dtype=near.dtype)
    student = np.empty(channels, dtype=near.dtype)
    teacher = np.empty(channels, dtype=near.dtype)
    zero = near.dtype.type(0)
    for row in range(first, last):
        square[:] = 0
        student[:] = 0
        teacher[:] = 0
        own_s, own_t = centre[row, 0], centre[row, 1]
        for k in range(count[row]):
            place = index[row, k]
            line_s, line_t = near[place, 0], near[place, 1]
            for c in range(channels):
                s = line_s[c] + own_s[c]
                t = line_t[c] + own_t[c]
                gap = (s if s > zero else zero) - (t if t > zero else zero)
                square[c] += gap * gap
                student[c] += gap if s > zero else zero
                teacher[c] += gap if t > zero else zero
        out[row] = square.sum()
        grad_centre[row, 0] = 2 * student
        grad_centre[row, 1] = -2 * teacher


@njit(fastmath={"reassoc", "nsz"})
def gap_owners(
    near: np.ndarray,
    centre: np.ndarray,
    weight: np.ndarray,
    starts: np.ndarray,
    owners: np.ndarray,
    grad_near: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Gradient of ``sum_i weight[i] out[i]`` of :func:`gap_rows` into ``near``."""
    channels = near.shape[2]
    student = np.empty(channels, dtype=near.dtype)
    teacher = np.empty(channels, dtype=near.dtype)
    zero = near.dtype.type(0)
    for place in range(first, last):
        student[:] = 0
        teacher[:] = 0
        line_s, line_t = near[place, 0], near[place, 1]
        for at in range(starts[place], starts[place + 1]):
            own_s, own_t = centre[owners[at], 0], centre[owners[at], 1]
            factor = weight[owners[at]]
            for c in range(channels):
                s = line_s[c] + own_s[c]
                t = line_t[c] + own_t[c]
                gap = factor * ((s if s > zero else zero) - (t if t > zero else zero))
                student[c] += gap if s > zero else zero
                teacher[c] += gap if t > zero else zero
        grad_near[place, 0] = 2 * student
        grad_near[place, 1] = -2 * teacher
