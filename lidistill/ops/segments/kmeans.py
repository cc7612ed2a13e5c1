# SPDX-License-Identifier: Apache-2.0
"""k-means without randomness, and label maps from the clusters of feature maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.ops.segments.segment import segment_mean


def kmeans(rows: Tensor, clusters: int, iterations: int = 20) -> Tensor:
    """Centres of Lloyd's algorithm, begun from rows far from each other.

    The first centre is the row farthest from the mean, each next one the row farthest from all
    centres so far; so the same rows in the same order give the same centres.

    Args:
        rows: (N, C) features.
        clusters: number K of clusters; fewer where fewer different rows are.
        iterations: of Lloyd's algorithm at most; it stops when no row changes its cluster.

    Returns:
        (K', C) centres, K' <= K, each with at least one row at its last assignment.
    """
    if rows.ndim != 2 or clusters < 1:
        raise ValueError(
            f"expected rows (N, C) and clusters >= 1, got {tuple(rows.shape)} and {clusters}"
        )
    if len(rows) == 0:
        return rows
    centres = _far_rows(rows, clusters)
    assigned = nearest(rows, centres)
    for _ in range(iterations):
        mean, count = segment_mean(rows, assigned, len(centres))
        centres = torch.where((count > 0)[:, None], mean.to(rows.dtype), centres)
        before, assigned = assigned, nearest(rows, centres)
        if torch.equal(before, assigned):
            break
    return centres[torch.bincount(assigned, minlength=len(centres)) > 0]


def nearest(rows: Tensor, centres: Tensor) -> Tensor:
    """(N,) index of the nearest of (K, C) centres for each of (N, C) rows; the first of equals."""
    return _scores(rows.T, centres).argmin(0)


def cluster_maps(
    maps: Tensor,
    clusters: int,
    size: tuple[int, int],
    position: float = 0.0,
    iterations: int = 20,
) -> Tensor:
    """Cluster the cells of feature maps, and label each pixel with its nearest cluster.

    Cells are brought to unit length. A pixel's feature is read bilinearly between the cells; the
    upsampled map is never built, because squared distances to centres, up to what all of them
    share, are linear in the feature.

    Args:
        maps: (B, C, h, w), clustered together: labels mean the same in all B.
        clusters: number K of clusters.
        size: (H, W) of the label maps.
        position: weight of a cell's place, (row, column) in 0 .. 1, beside its feature; above 0
            regions are more compact.
        iterations: see :func:`kmeans`.

    Returns:
        (B, H, W) int64 labels in 0 .. K - 1.
    """
    if maps.ndim != 4 or position < 0:
        raise ValueError(
            f"expected maps (B, C, h, w) and position >= 0, got {tuple(maps.shape)}, {position}"
        )
    cells = F.normalize(maps.float(), dim=1)
    if position > 0:
        _, _, height, width = maps.shape
        place = torch.stack(
            torch.meshgrid(
                torch.linspace(0, 1, height, device=maps.device),
                torch.linspace(0, 1, width, device=maps.device),
                indexing="ij",
            )
        )
        cells = torch.cat([cells, position * place.expand(len(maps), -1, -1, -1)], dim=1)
    centres = kmeans(cells.permute(0, 2, 3, 1).flatten(0, 2), clusters, iterations)
    labels = []
    for one in cells:
        scores = _scores(one.flatten(1), centres).view(1, -1, *one.shape[1:])  # (1, K, h, w)
        scores = F.interpolate(scores, size, mode="bilinear", align_corners=True)
        labels.append(scores[0].argmin(0))
    return torch.stack(labels) if labels else maps.new_zeros((0, *size), dtype=torch.int64)


def _scores(columns: Tensor, centres: Tensor) -> Tensor:
    """(K, N) squared distances of (C, N) columns to centres, less each column's own length."""
    return centres.square().sum(1, keepdim=True) - 2.0 * (centres @ columns)


def _far_rows(rows: Tensor, count: int) -> Tensor:
    """Up to ``count`` different rows, each far from those before."""
    chosen = [int((rows - rows.mean(0)).square().sum(1).argmax())]
    gap = (rows - rows[chosen[0]]).square().sum(1)
    while len(chosen) < count and float(gap.max()) > 0:
        chosen.append(int(gap.argmax()))
        gap = torch.minimum(gap, (rows - rows[chosen[-1]]).square().sum(1))
    return rows[chosen]
