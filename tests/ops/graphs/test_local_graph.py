# SPDX-License-Identifier: Apache-2.0
"""Local graphs and reductions over their edges, against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.ops.graphs import local_graph as module
from lidistill.ops.graphs.local_edges import (
    edge_gap,
    neighbour_max,
    neighbour_relu_mean,
    neighbour_sum,
)
from lidistill.ops.graphs.local_graph import LocalGraph, coordinate_graph, feature_graph

SIZES = (7, 3, 20)  # places of three samples; fewer than K in two of them
NEIGHBOURS = 8


def places(channels: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of three samples in mixed order."""
    generator = torch.Generator().manual_seed(0)
    sample = torch.repeat_interleave(torch.arange(3), torch.tensor(SIZES))
    sample = sample[torch.randperm(len(sample), generator=generator)]
    return torch.randn(len(sample), channels, generator=generator), sample


def some_graph() -> tuple[LocalGraph, torch.Tensor]:
    rows, sample = places()
    return feature_graph(rows, sample, torch.arange(0, 30, 2), NEIGHBOURS), rows


def neighbours(graph: LocalGraph, query: int) -> list[int]:
    return [int(j) for j in graph.index[query] if j >= 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_feature_graph_equals_a_loop(dtype):
    rows, sample = places()
    queries = torch.arange(0, 30, 2)
    graph = feature_graph(rows.to(dtype), sample, queries, NEIGHBOURS)
    for i, query in enumerate(queries.tolist()):
        own = [j for j in range(len(rows)) if sample[j] == sample[query]]
        near = sorted(own, key=lambda j: float((rows[j] - rows[query]).norm()))[:NEIGHBOURS]
        assert set(neighbours(graph, i)) == set(near)
        assert graph.count[i] == min(NEIGHBOURS, SIZES[int(sample[query])])
    chosen = torch.zeros(len(rows), dtype=torch.long)
    for i in range(len(queries)):
        chosen[neighbours(graph, i)] += 1
    torch.testing.assert_close(graph.times_chosen, chosen)
    assert graph.num_edges == int(chosen.sum())


def test_a_query_is_its_own_neighbour_among_doubles():
    rows = torch.zeros(50, 3)  # an empty map: all distances are equal
    graph = feature_graph(rows, torch.zeros(50).long(), torch.tensor([40, 49]), 4)
    assert 40 in neighbours(graph, 0)
    assert 49 in neighbours(graph, 1)


def test_blocks_of_distances_change_nothing(monkeypatch):
    whole, _ = some_graph()
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", {False: 40, True: 40})
    parts, _ = some_graph()
    torch.testing.assert_close(parts.index, whole.index)


def test_features_that_are_no_numbers_do_not_reach_foreign_memory():
    rows = torch.full((9, 2), torch.nan)
    graph = feature_graph(rows, torch.zeros(9).long(), torch.arange(9), 4)
    assert 3 in neighbours(graph, 3)
    assert 0 <= int(graph.index.min()) <= int(graph.index.max()) < 9
    neighbour_sum(rows, graph)
    assert len(graph.owners[1]) == graph.num_edges


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12))
def test_coordinate_graph_equals_a_loop(seed, voxels, count):
    rng = np.random.default_rng(seed)
    cells = rng.choice(2 * 3 * 40 * 30, voxels, replace=False)
    coords = np.stack(np.unravel_index(cells, (2, 3, 40, 30)), 1).astype(np.int32)
    queries = np.sort(rng.choice(voxels, min(voxels, 6), replace=False))
    cell = (2.0, 0.5, 0.25)
    graph = coordinate_graph(torch.from_numpy(coords), torch.from_numpy(queries), count, cell)
    position = coords[:, 1:] * np.array(cell)
    for i, query in enumerate(queries):
        gap = np.linalg.norm(position - position[query], axis=1)
        gap[coords[:, 0] != coords[query, 0]] = np.inf
        expected = np.sort(gap)[:count]
        found = neighbours(graph, i)
        np.testing.assert_allclose(np.sort(gap[found]), expected[np.isfinite(expected)])
        assert query in found


def test_reductions_equal_loops():
    graph, rows = some_graph()
    centre = torch.randn(len(graph.queries), 5, generator=torch.Generator().manual_seed(1))
    total, top = neighbour_sum(rows, graph), neighbour_max(rows, graph)
    mean = neighbour_relu_mean(rows, centre, graph)
    for i in range(len(graph.queries)):
        own = rows[neighbours(graph, i)]
        torch.testing.assert_close(total[i], own.sum(0))
        torch.testing.assert_close(top[i], own.amax(0))
        torch.testing.assert_close(mean[i], torch.relu(own + centre[i]).mean(0))


def two_sides(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    graph, _ = some_graph()
    near = torch.randn(graph.num_places, 2, 4, generator=generator, dtype=dtype)
    centre = torch.randn(len(graph.queries), 2, 4, generator=generator, dtype=dtype)
    weight = torch.rand(len(graph.queries), generator=generator, dtype=dtype)
    return near.requires_grad_(), centre.requires_grad_(), weight


def test_edge_gap_equals_a_loop():
    graph, _ = some_graph()
    near, centre, weight = two_sides(torch.float32)
    expected = torch.zeros(())
    for i in range(len(graph.queries)):
        for j in neighbours(graph, i):
            edge = torch.relu(near[j] + centre[i])
            expected = expected + weight[i] * (edge[0] - edge[1]).square().sum()
    loss = edge_gap(near, centre, graph, weight)
    torch.testing.assert_close(loss, expected)
    for ours, loops in zip(
        torch.autograd.grad(loss, (near, centre)),
        torch.autograd.grad(expected, (near, centre)),
        strict=True,
    ):
        torch.testing.assert_close(ours, loops, rtol=1e-4, atol=1e-5)


def functions(graph: LocalGraph, weight: torch.Tensor) -> dict:
    return {
        "sum": lambda near, _: neighbour_sum(near[:, 0], graph),
        "max": lambda near, _: neighbour_max(near[:, 0], graph),
        "mean": lambda near, centre: neighbour_relu_mean(near[:, 0], centre[:, 0], graph),
        "gap": lambda near, centre: edge_gap(near, centre, graph, weight),
    }


@pytest.mark.parametrize("name", ["sum", "max", "mean", "gap"])
def test_gradients_of_blocks_and_kernels(name):
    graph, _ = some_graph()
    near, centre, weight = two_sides(torch.float64)
    exact = functions(graph, weight)[name]
    assert torch.autograd.gradcheck(exact, (near, centre))  # float64: blocks of torch
    leaves = [t.detach().float().requires_grad_() for t in (near, centre)]
    kernels = functions(graph, weight.float())[name]
    out, target = kernels(*leaves), exact(near, centre)
    torch.testing.assert_close(out.double(), target, rtol=1e-5, atol=1e-5)
    arriving = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
    ours = torch.autograd.grad(out, leaves, arriving.float(), allow_unused=True)
    loops = torch.autograd.grad(target, (near, centre), arriving, allow_unused=True)
    for one, other in zip(ours, loops, strict=True):
        if one is not None:
            torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


def test_threads_change_no_bit():
    graph, _ = some_graph()
    near, centre, weight = two_sides(torch.float32)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            loss = edge_gap(near, centre, graph, weight)
            found.append([loss.detach(), *torch.autograd.grad(loss, (near, centre))])
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_bad_arguments():
    rows, sample = places()
    with pytest.raises(ValueError, match="at least one neighbour"):
        feature_graph(rows, sample, torch.arange(3), 0)
    with pytest.raises(ValueError, match="among 30 places, got 0 to 30"):
        feature_graph(rows, sample, torch.arange(31), 2)
    with pytest.raises(ValueError, match="batch, z, y, x"):
        coordinate_graph(rows.int(), torch.arange(3), 2)


def test_no_queries():
    rows, sample = places()
    graph = feature_graph(rows, sample, torch.zeros(0, dtype=torch.long), 4)
    assert graph.num_edges == 0
    assert neighbour_sum(rows, graph).shape == (0, 5)
