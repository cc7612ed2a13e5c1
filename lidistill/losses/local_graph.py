# SPDX-License-Identifier: Apache-2.0
"""PointDistiller's local distillation: compare what one graph layer makes of neighbourhoods.

Queries are the most important places of each sample, their neighbours the nearest places in the
teacher's feature space. A linear layer, batch norm over all edges and ReLU turn each edge
``[x_j ; x_i]`` into a vector; student and teacher have a layer each.

Source: Zhang et al., "PointDistiller: Structured Knowledge Distillation Towards Efficient and
Compact 3D Detection", CVPR 2023, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lidistill.losses.contrastive import zero_loss
from lidistill.ops.graphs.local_edges import (
    edge_gap,
    neighbour_max,
    neighbour_relu_mean,
    neighbour_sum,
)
from lidistill.ops.graphs.local_graph import LocalGraph
from lidistill.ops.precision import full_precision

POOLS = ("none", "max", "avg")


@dataclass(frozen=True)
class EdgeRows:
    """Normalised edges in two parts: an edge is ``relu(near[j] + centre[i])``.

    Attributes:
        near: (n, C') part of neighbour j.
        centre: (Q, C') part of query i, the shift of the batch norm included.
        mean: (C',) mean over all edges before the norm, without gradient.
        variance: (C',) biased variance, without gradient.
    """

    near: Tensor
    centre: Tensor
    mean: Tensor
    variance: Tensor


def top_places(importance: Tensor, sample: Tensor, count: int) -> Tensor:
    """The most important places of each sample.

    Args:
        importance: (n,) number of points of a voxel, or :func:`channel_maximum`.
        sample: (n,) integer sample of each place.
        count: N places a sample; samples with fewer give all they have.

    Returns:
        (Q,) int64 places in ascending order; of equal importance the first are taken.
    """
    if count < 1:
        raise ValueError(f"expected at least one place a sample, got {count}")
    order = importance.detach().argsort(descending=True, stable=True)
    order = order[sample[order].argsort(stable=True)]  # by sample, then by importance
    sizes = torch.bincount(sample.long())
    first = (sizes.cumsum(0) - sizes)[sample[order].long()]
    rank = torch.arange(len(order), device=order.device) - first
    return order[rank < count].sort().values


def channel_maximum(features: Tensor) -> Tensor:
    """(n,) importance of places without a point count: the largest of their C features."""
    return features.detach().amax(1)


def query_weights(
    importance: Tensor, sample: Tensor, temperature: float = 1.0, standardise: bool = True
) -> Tensor:
    """Reweighting: the softmax of importance over the queries of a sample, with mean 1.

    Args:
        importance: (Q,) importance of the queries.
        sample: (Q,) integer sample of each.
        temperature: divides the importance.
        standardise: first bring the importance of each sample to mean 0 and deviation 1. Without,
            temperatures of the paper (0.01) make a softmax of point counts pick its maxima only.

    Returns:
        (Q,) weights, mean 1 in each sample; without gradient.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    weights = torch.empty(importance.shape, device=importance.device)
    for one in sample.unique():
        own = sample == one
        values = importance[own].detach().float()
        if standardise:
            values = (values - values.mean()) / (values.std(unbiased=False) + 1e-6)
        weights[own] = len(values) * torch.softmax(values / temperature, 0)
    return weights


def release_weights(
    form: str, importance: Tensor, batch_size: int, temperature: float = 0.01
) -> Tensor:
    """What the authors' release multiplies the squared differences with.

    Args:
        form: ``"voxel"``: softmax over the queries of all samples together; ``"bev"`` (SECOND):
            the softmax runs over an axis of length 1, what remains is the batch size;
            ``"bev_nuscenes"`` and ``"point"``: nothing.
        importance: (Q,) importance of the queries.
        batch_size: number of samples.
        temperature: 0.01 for pillars there.
    """
    if form == "voxel":
        return query_weights(importance, torch.zeros_like(importance).long(), temperature, False)
    factors = {"bev": float(batch_size), "bev_nuscenes": 1.0, "point": 1.0}
    if form not in factors:
        raise ValueError(f"form must be one of {['voxel', *factors]}, got {form!r}")
    return torch.full(importance.shape, factors[form], device=importance.device)


def edge_rows(
    features: Tensor,
    graph: LocalGraph,
    weight: Tensor,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    residual: bool = False,
    eps: float = 1e-5,
) -> EdgeRows:
    """Graph layer up to its ReLU: linear map, then batch norm with the statistics of all edges.

    Places are projected before they are gathered, ``W [x_j ; x_i] = W1 x_j + W2 x_i``, and the
    statistics follow from how often each place is a neighbour and from sums over neighbours.

    Args:
        features: (n, C) places.
        graph: Q queries among them.
        weight: (C', 2 C), for ``[x_j ; x_i]``, or ``[x_i - x_j ; x_i]`` if ``residual``.
        scale: (C',) of the norm; None = 1.
        shift: (C',) of the norm; None = 0.
        residual: edges hold the difference to the neighbour instead of the neighbour.
        eps: of the norm.

    Raises:
        ValueError: the weight does not fit the features.
    """
    features, weight = full_precision(features), full_precision(weight)
    channels = features.shape[1]
    if weight.shape[1] != 2 * channels:
        raise ValueError(
            f"expected a weight (C', {2 * channels}) for features of width {channels}, got "
            f"{tuple(weight.shape)}; set the layer's in_channels to {channels}"
        )
    first, second = weight[:, :channels], weight[:, channels:]
    if residual:  # W1 (x_i - x_j) + W2 x_i
        first, second = -first, first + second
    near = features @ first.T  # (n, C')
    centre = features[graph.queries] @ second.T  # (Q, C')
    chosen = graph.times_chosen.to(near).unsqueeze(1)
    count = graph.count.to(near).unsqueeze(1)
    edges = max(graph.num_edges, 1)
    near_mean, centre_mean = (chosen * near).sum(0) / edges, (count * centre).sum(0) / edges
    near, centre = near - near_mean, centre - centre_mean
    squares = (chosen * near.square()).sum(0) + (count * centre.square()).sum(0)
    variance = (squares + 2 * (centre * neighbour_sum(near, graph)).sum(0)) / edges
    variance = variance.clamp(min=0.0)  # of edges that are all alike, rounding can leave less
    factor = (variance + eps).rsqrt() * (1.0 if scale is None else scale)
    centre = centre * factor if shift is None else centre * factor + shift
    return EdgeRows(near * factor, centre, (near_mean + centre_mean).detach(), variance.detach())


def local_graph_loss(
    student: EdgeRows,
    teacher: EdgeRows,
    graph: LocalGraph,
    weights: Tensor | None = None,
    pool: str = "none",
    norm: str = "mean",
) -> Tensor:
    """Distance between the two sides' graph features.

    Args:
        student: from :func:`edge_rows`.
        teacher: the same width C'.
        graph: shared by both.
        weights: (Q,) of :func:`query_weights`; None = 1.
        pool: ``"none"`` compares every edge, ``"max"`` and ``"avg"`` reduce the K edges first.
        norm: ``"mean"``: twice the weighted mean of the squared differences (the factor is the
            release's); ``"l2"``: 5e-4 times the L2 norm over everything, its unweighted form.

    Returns:
        Scalar; zero with gradient if there are no queries.
    """
    if pool not in POOLS or norm not in ("mean", "l2"):
        raise ValueError(
            f"pool must be one of {POOLS} and norm 'mean' or 'l2', got {pool!r} and {norm!r}"
        )
    if student.near.shape != teacher.near.shape:
        raise ValueError(
            f"expected graph layers of one output width, got {student.near.shape[1]} (student) "
            f"and {teacher.near.shape[1]} (teacher)"
        )
    if len(graph.queries) == 0:
        return zero_loss(student.near, student.centre, teacher.near, teacher.centre)
    if weights is None or norm == "l2":
        weights = student.near.new_ones(len(graph.queries))
    channels = student.near.shape[1]
    if pool == "none":
        near = torch.stack([student.near, teacher.near], 1)  # (n, 2, C')
        centre = torch.stack([student.centre, teacher.centre], 1)  # (Q, 2, C')
        total = edge_gap(near, centre, graph, weights)
        entries = graph.num_edges * channels
    else:
        gap = pooled_edges(student, graph, pool) - pooled_edges(teacher, graph, pool)  # (Q, C')
        total = (weights.to(gap).unsqueeze(1) * gap.square()).sum()
        entries = gap.numel()
    if norm == "l2":
        return 5e-4 * total.clamp(min=1e-24).sqrt()
    return 2 * total / entries


def pooled_edges(edges: EdgeRows, graph: LocalGraph, pool: str) -> Tensor:
    """(Q, C') maximum or mean over each query's edges; ReLU and maximum change places."""
    if pool == "max":
        return torch.relu(neighbour_max(edges.near, graph) + edges.centre)
    return neighbour_relu_mean(edges.near, edges.centre, graph)
