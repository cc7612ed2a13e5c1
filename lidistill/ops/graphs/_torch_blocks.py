# SPDX-License-Identifier: Apache-2.0
"""The kernels of :mod:`lidistill.ops.graphs.local_graph` in blocks of torch, for any device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lidistill.ops.graphs.local_graph import LocalGraph

_BLOCK_ENTRIES = 2**24  # elements of one block of edges


def _query_blocks(graph: LocalGraph, channels: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows of queries, their neighbours (q, K) with 0 for none, and which are valid (q, K, 1)."""
    size = max(1, _BLOCK_ENTRIES // max(1, graph.index.shape[1] * channels))
    for first in range(0, len(graph.index), size):
        rows = slice(first, first + size)
        index = graph.index[rows].long()
        yield rows, index.clamp(min=0), (index >= 0).unsqueeze(2)


def _add_edges(out: Tensor, index: Tensor, edges: Tensor) -> None:
    """Add edges (q, K, ...) to the rows of ``out`` that they come from."""
    out.index_add_(0, index.reshape(-1), edges.reshape(-1, *out.shape[1:]))


def sum_rows(values: Tensor, graph: LocalGraph) -> Tensor:
    """(Q, C) sum over the neighbours."""
    out = values.new_empty(len(graph.index), values.shape[1])
    for rows, index, valid in _query_blocks(graph, values.shape[1]):
        out[rows] = (values[index] * valid).sum(1)
    return out


def sum_owners(values: Tensor, graph: LocalGraph) -> Tensor:
    """(n, C) sum over the queries that chose a place."""
    out = values.new_zeros(graph.num_places, values.shape[1])
    for rows, index, valid in _query_blocks(graph, values.shape[1]):
        _add_edges(out, index, values[rows].unsqueeze(1) * valid)
    return out


def max_rows(values: Tensor, graph: LocalGraph) -> tuple[Tensor, Tensor]:
    """(Q, C) maximum over the neighbours and the place it comes from."""
    out = values.new_empty(len(graph.index), values.shape[1])
    source = torch.empty(out.shape, dtype=torch.int64, device=out.device)
    for rows, index, valid in _query_blocks(graph, values.shape[1]):
        best = values[index].masked_fill(~valid, -torch.inf).max(1)
        out[rows] = best.values
        source[rows] = index.gather(1, best.indices)
    return out, source


def relu_mean_rows(near: Tensor, centre: Tensor, graph: LocalGraph) -> tuple[Tensor, Tensor]:
    """(Q, C) mean of the edges, and share of positive ones."""
    out, share = torch.empty_like(centre), torch.empty_like(centre)
    for rows, index, valid in _query_blocks(graph, near.shape[1]):
        edges = (near[index] + centre[rows].unsqueeze(1)).relu() * valid
        count = graph.count[rows].unsqueeze(1)
        out[rows] = edges.sum(1) / count
        share[rows] = (edges > 0).sum(1) / count
    return out, share


def relu_mean_owners(near: Tensor, centre: Tensor, grad: Tensor, graph: LocalGraph) -> Tensor:
    """(n, C) gradient of the mean into ``near``; ``grad`` is divided by the counts already."""
    out = torch.zeros_like(near)
    for rows, index, valid in _query_blocks(graph, near.shape[1]):
        positive = (near[index] + centre[rows].unsqueeze(1) > 0) & valid
        _add_edges(out, index, grad[rows].unsqueeze(1) * positive)
    return out


def gap(
    near: Tensor, centre: Tensor, weight: Tensor, graph: LocalGraph
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distance per query (Q,); gradient of the weighted sum; gradient per query."""
    out, grad_near = near.new_empty(len(centre)), torch.zeros_like(near)
    grad_centre = torch.empty_like(centre)
    for rows, index, valid in _query_blocks(graph, 4 * near.shape[2]):
        edges = near[index] + centre[rows].unsqueeze(1)  # (q, K, 2, C)
        both = edges.relu() * valid.unsqueeze(3)
        difference = both[:, :, 0] - both[:, :, 1]
        out[rows] = difference.square().sum((1, 2))
        grad = 2 * torch.stack([difference, -difference], 2) * (edges > 0)
        grad_centre[rows] = grad.sum(1)
        _add_edges(grad_near, index, grad * weight[rows][:, None, None, None])
    return out, grad_near, grad_centre
