# SPDX-License-Identifier: Apache-2.0
"""PAConv's assembly: neighbours' features, by a bank of weight matrices, mixed by scores.

The features of all neighbours by all matrices, (centres, K, matrices, channels), are never made.

Source: Xu et al., "PAConv" (2103.14635), eq. 3 and appendix D.
"""

from __future__ import annotations

import torch
from torch import Tensor


def assign_scores(scores: Tensor, points: Tensor, centres: Tensor, neighbours: Tensor) -> Tensor:
    """Sum over matrices m of ``scores[m] * (points[neighbour, m] - centres[centre, m])``.

    Args:
        scores: (B, M, K, W) of W weight matrices for each of K neighbours of M centres.
        points: (B, N, W, C) features of points by each matrix.
        centres: (B, N, W, C) likewise, as centres.
        neighbours: (B, M, K) int64 rows; the first of each centre is the centre itself. Neighbours
            outside 0..N-1 give zero.

    Returns:
        (B, C, M, K).
    """
    out = scores.new_zeros((*neighbours.shape, points.shape[3]))
    for b, (rows, own, known) in enumerate(_rows(neighbours, points.shape[1])):
        for matrix in range(scores.shape[3]):
            gap = points[b, :, matrix][rows] - centres[b, :, matrix][own].unsqueeze(1)
            out[b] += gap * (scores[b, ..., matrix] * known).unsqueeze(-1)
    return out.permute(0, 3, 1, 2)


def assign_scores_grad(
    gradient: Tensor, scores: Tensor, points: Tensor, centres: Tensor, neighbours: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of scores, points and centres from that of the sum, (B, C, M, K)."""
    grads = torch.zeros_like(scores), torch.zeros_like(points), torch.zeros_like(centres)
    for b, (rows, own, known) in enumerate(_rows(neighbours, points.shape[1])):
        shares = gradient[b].permute(1, 2, 0) * known.unsqueeze(-1)  # (M, K, C)
        for matrix in range(scores.shape[3]):
            gap = points[b, :, matrix][rows] - centres[b, :, matrix][own].unsqueeze(1)
            grads[0][b, ..., matrix] = (gap * shares).sum(-1)
            weighted = shares * scores[b, ..., matrix].unsqueeze(-1)
            grads[1][b, :, matrix].index_add_(0, rows.flatten(), weighted.flatten(0, 1))
            grads[2][b, :, matrix].index_add_(0, own, -weighted.sum(1))
    return grads


def _rows(neighbours: Tensor, count: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of each sample: neighbours (M, K) and centres (M,), in range, and which are known (M, K)."""
    known = (neighbours >= 0) & (neighbours < count)
    rows = torch.where(known, neighbours, 0).long()
    known = known & known[..., :1]  # without a centre there is nothing to subtract
    return list(zip(rows, rows[..., 0], known, strict=True))
