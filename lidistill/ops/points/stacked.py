# SPDX-License-Identifier: Apache-2.0
"""Neighbourhoods in samples that lie one behind the other, as PV-RCNN keeps points of a batch.

Samples have any number of points; counts say where one ends.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lidistill.jit import njit
from lidistill.ops._threads import in_parallel


def stacked_ball_query(
    points: Tensor,
    point_counts: Tensor,
    centres: Tensor,
    centre_counts: Tensor,
    radius: float,
    count: int,
) -> Tensor:
    """The first ``count`` points of each ball, among the points of its own sample.

    Args:
        points: (N, 3) metres, of all samples.
        point_counts: (B,) points of each sample.
        centres: (M, 3) metres.
        centre_counts: (B,) centres of each sample.
        radius: metres, itself outside.
        count: K points per ball.

    Returns:
        (M, K) int32 rows, counted within the sample. A ball with fewer points repeats its first
        one; an empty one holds -1, then zeros.

    Raises:
        ValueError: counts that do not add up.
    """
    starts = _starts(point_counts, len(points), "points")
    sample = _sample_of(centre_counts, len(centres), "centres")
    rows = torch.zeros((len(centres), count), dtype=torch.int32)
    arrays = (_floats(points), starts.numpy(), _floats(centres), sample.numpy(), rows.numpy())
    limit = np.float32(radius) ** 2
    in_parallel(lambda first, last: _balls(*arrays, limit, first, last), len(centres))
    return rows.to(points.device)


def stacked_gather(
    features: Tensor, feature_counts: Tensor, rows: Tensor, row_counts: Tensor
) -> Tensor:
    """Features at rows counted within each sample.

    Args:
        features: (N, C) of all samples.
        feature_counts: (B,) rows of each sample.
        rows: (M, K), counted within the sample; those outside of it read zero.
        row_counts: (B,) of M.

    Returns:
        (M, C, K).
    """
    place, known = _places(len(features), feature_counts, rows, row_counts)
    if not len(features):
        return features.new_zeros((len(rows), features.shape[1], rows.shape[1]))
    taken = torch.where(known.unsqueeze(-1), features.detach()[place], 0)
    return taken.transpose(1, 2)


def stacked_scatter(
    gradient: Tensor, count: int, feature_counts: Tensor, rows: Tensor, row_counts: Tensor
) -> Tensor:
    """Transpose of `stacked_gather`: (M, C, K) summed into (``count``, C)."""
    place, known = _places(count, feature_counts, rows, row_counts)
    total = gradient.new_zeros((count, gradient.shape[1]))
    shares = gradient.transpose(1, 2)[known]  # (kept, C)
    return total.index_add_(0, place[known], shares)


def _places(
    total: int, feature_counts: Tensor, rows: Tensor, row_counts: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows (M, K) among all samples, 0 where unknown, and which are known."""
    starts = _starts(feature_counts, total, "features")
    sample = _sample_of(row_counts, len(rows), "rows")
    first = starts[sample].to(rows.device)[:, None]
    size = (starts[1:] - starts[:-1])[sample].to(rows.device)[:, None]
    known = (rows >= 0) & (rows < size)
    return torch.where(known, rows + first, 0).long(), known


def _starts(counts: Tensor, total: int, name: str) -> Tensor:
    """(B + 1,) int64 on the CPU: where each sample begins, and the end."""
    ends = counts.cpu().long().cumsum(0)
    found = int(ends[-1]) if len(ends) else 0
    if found != total:
        raise ValueError(f"expected counts of {total} {name}, got {counts.tolist()}: {found}")
    return torch.cat([ends.new_zeros(1), ends])


def _sample_of(counts: Tensor, total: int, name: str) -> Tensor:
    """(M,) int64 on the CPU: sample of each row."""
    _starts(counts, total, name)
    return torch.repeat_interleave(torch.arange(len(counts)), counts.cpu().long())


def _floats(points: Tensor) -> np.ndarray:
    return points.detach().float().cpu().contiguous().numpy()


@njit
def _balls(points, starts, centres, sample, rows, limit, first, last):  # type: ignore[no-untyped-def]
    for centre in range(first, last):
        start, end = starts[sample[centre]], starts[sample[centre] + 1]
        found = 0
        for k in range(start, end):
            distance = np.float32(0)
            for axis in range(3):
                shift = centres[centre, axis] - points[k, axis]
                distance += shift * shift
            if distance < limit:
                if found == 0:
                    rows[centre, :] = k - start
                rows[centre, found] = k - start
                found += 1
                if found == rows.shape[1]:
                    break
        if found == 0 and rows.shape[1] > 0:
            rows[centre, 0] = -1
