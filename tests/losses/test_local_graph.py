# SPDX-License-Identifier: Apache-2.0
"""The local graph loss with graphs of unequal size, its weights and its errors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lidistill.losses.local_graph import (
    edge_rows,
    local_graph_loss,
    query_weights,
    release_weights,
    top_places,
)
from lidistill.ops.graphs.local_graph import feature_graph

SAMPLE = torch.tensor([0] * 9 + [1] * 3)  # the second has fewer places than neighbours


def sides():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(12, 3, generator=generator, dtype=torch.float64).requires_grad_()
    teacher = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    weights = [
        torch.randn(4, 2 * c, generator=generator, dtype=torch.float64).requires_grad_()
        for c in (3, 5)
    ]
    return student, teacher, weights


def layer(rows, graph, weight, residual):
    """Edges one after the other, as the paper writes them; and the query of each."""
    edges, owner = [], []
    for query, near in zip(graph.queries.tolist(), graph.index.tolist(), strict=True):
        for j in near:
            if j >= 0:
                first = rows[query] - rows[j] if residual else rows[j]
                edges.append(torch.cat([first, rows[query]]))
                owner.append(query)
    out = F.batch_norm(torch.stack(edges) @ weight.T, None, None, training=True)
    return F.relu(out), owner


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("pool", ["none", "max", "avg"])
def test_loss_equals_a_loop(pool, residual):
    student, teacher, layers = sides()
    queries = top_places(torch.arange(12.0), SAMPLE, 4)
    assert queries.tolist() == [5, 6, 7, 8, 9, 10, 11]
    graph = feature_graph(teacher, SAMPLE, queries, 5)
    weights = torch.linspace(0.5, 1.5, 7, dtype=torch.float64)
    sides_of = [(student, layers[0]), (teacher, layers[1])]
    ours = local_graph_loss(
        *(edge_rows(rows, graph, layer_, residual=residual) for rows, layer_ in sides_of),
        graph,
        weights,
        pool,
    )
    (own, owner), (target, _) = (layer(rows, graph, w, residual) for rows, w in sides_of)
    gaps = []
    for i, query in enumerate(queries.tolist()):
        mine = [e for e, q in enumerate(owner) if q == query]
        pairs = [side[mine] for side in (own, target)]
        if pool == "max":
            pairs = [side.amax(0, keepdim=True) for side in pairs]
        if pool == "avg":
            pairs = [side.mean(0, keepdim=True) for side in pairs]
        gaps.append(weights[i] * (pairs[0] - pairs[1]).square())
    loops = 2 * torch.cat(gaps).mean()
    torch.testing.assert_close(ours, loops)
    leaves = (student, *layers)
    for one, other in zip(
        torch.autograd.grad(ours, leaves), torch.autograd.grad(loops, leaves), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_weights_really_weigh():
    counts = torch.tensor([1.0, 5.0, 20.0, 32.0, 3.0, 4.0])
    sample = torch.tensor([0, 0, 0, 0, 1, 1])
    weights = query_weights(counts, sample)
    assert weights[:4].mean().item() == pytest.approx(1)
    assert weights[4:].mean().item() == pytest.approx(1)
    assert (weights[:4].diff() > 0).all()
    assert weights.min() > 0.05  # none is lost
    release = query_weights(counts, torch.zeros(6).long(), 0.01, standardise=False)
    torch.testing.assert_close(release, torch.tensor([0.0, 0, 0, 6, 0, 0]))  # one-hot
    torch.testing.assert_close(release, release_weights("voxel", counts, 2))
    assert release_weights("bev", counts, 2).tolist() == [2.0] * 6
    assert query_weights(torch.ones(3), torch.zeros(3).long()).tolist() == [1.0] * 3


def test_top_places_of_mixed_samples():
    importance = torch.tensor([3.0, 9, 1, 9, 5])
    sample = torch.tensor([1, 0, 1, 0, 1])
    assert top_places(importance, sample, 1).tolist() == [1, 4]
    assert top_places(importance, sample, 2).tolist() == [0, 1, 3, 4]
    assert top_places(importance[:0], sample[:0], 2).tolist() == []


def test_errors():
    student, teacher, layers = sides()
    graph = feature_graph(teacher, SAMPLE, torch.arange(3), 2)
    own, target = edge_rows(student, graph, layers[0]), edge_rows(teacher, graph, layers[1])
    with pytest.raises(ValueError, match="pool must be one of"):
        local_graph_loss(own, target, graph, pool="mean")
    with pytest.raises(ValueError, match="graph layers of one output width"):
        local_graph_loss(own, edge_rows(teacher, graph, layers[1][:2]), graph)
    with pytest.raises(ValueError, match=r"expected a weight \(C', 6\)"):
        edge_rows(student, graph, layers[1])
    with pytest.raises(ValueError, match="form must be one of"):
        release_weights("image", torch.ones(3), 1)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        query_weights(torch.ones(3), torch.zeros(3), 0.0)
    with pytest.raises(ValueError, match="at least one place"):
        top_places(torch.ones(3), torch.zeros(3), 0)
