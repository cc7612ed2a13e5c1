# SPDX-License-Identifier: Apache-2.0
"""Hot paths of ``lidistill.ops`` on a CUDA device: values and gradients of the CPU."""

from __future__ import annotations

import pytest
import torch

from lidistill.ops import focal_loss
from lidistill.ops.graphs.local_edges import (
    edge_gap,
    neighbour_max,
    neighbour_relu_mean,
    neighbour_sum,
)
from lidistill.ops.graphs.local_graph import LocalGraph, coordinate_graph, feature_graph
from lidistill.ops.points import point_sets
from lidistill.ops.segments import kmeans
from lidistill.ops.segments.pixel_read import read_pixels, read_pixels_lowres
from lidistill.ops.segments.segment import (
    batch_region_ids,
    label_map_mean,
    pool_map_regions_lowres,
    segment_mean,
)
from tests.on_gpu import DEVICE, MARKS, exact_float32, same_on_both  # noqa: F401

pytestmark = MARKS


def drawn(*shape: int, seed: int = 0, grad: bool = True) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random).requires_grad_(grad)


def some_places(count: int = 700) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, samples of very unequal size, and queries.

    In float64, for neighbours that are almost equally far would else be chosen by rounding.
    """
    sample = (torch.arange(count) >= 5).long() + (torch.arange(count) >= count // 2).long()
    return drawn(count, 12, grad=False).double(), sample, torch.arange(0, count, 3)


def sorted_rows(graph: LocalGraph) -> torch.Tensor:
    return graph.index.sort(1).values


def test_feature_graph():
    same_on_both(lambda *a: sorted_rows(feature_graph(*a, 16)), *some_places())


def test_coordinate_graph():
    """Which of equally distant voxels are taken is not defined, how distant they are is."""
    random = torch.Generator().manual_seed(0)
    cells = torch.randperm(2 * 4 * 40 * 40, generator=random)[:900].sort().values
    coords = torch.stack([cells // 6400, cells // 1600 % 4, cells // 40 % 40, cells % 40], 1).int()

    def distances(coords, queries):
        graph = coordinate_graph(coords, queries, 12, (0.5, 0.2, 0.2))
        assert bool((graph.index == queries[:, None]).any(1).all())
        xyz = coords[:, 1:].float() * coords.new_tensor([0.5, 0.2, 0.2], dtype=torch.float32)
        gap = xyz[graph.index.long()] - xyz[queries][:, None]
        assert bool((coords[:, 0][graph.index.long()] == coords[queries, :1]).all())
        return gap.square().sum(2).sort(1).values

    same_on_both(distances, coords, torch.arange(0, 900, 2))


@pytest.mark.parametrize("reduce", [neighbour_sum, neighbour_max])
def test_reductions_of_neighbours(reduce):
    features, sample, queries = some_places()

    def reduced(values, features, sample, queries):
        return reduce(values, feature_graph(features, sample, queries, 16))

    same_on_both(reduced, drawn(700, 8, seed=1), features, sample, queries)


def test_reductions_of_edges():
    features, sample, queries = some_places()
    near, centre = drawn(700, 2, 8, seed=1), drawn(len(queries), 2, 8, seed=2)
    weight = drawn(len(queries), seed=3, grad=False).abs()

    def both(near, centre, weight, features, sample, queries):
        graph = feature_graph(features, sample, queries, 16)
        mean = neighbour_relu_mean(near[:, 0].contiguous(), centre[:, 0].contiguous(), graph)
        return edge_gap(near, centre, graph, weight), mean

    same_on_both(both, near, centre, weight, features, sample, queries, tolerance=1e-4)


def test_segments():
    ids = torch.randint(-1, 9, (500,), generator=torch.Generator().manual_seed(0))
    same_on_both(lambda v, i: segment_mean(v, i, 9), drawn(500, 6), ids)


@pytest.mark.parametrize("pool", [label_map_mean, pool_map_regions_lowres])
def test_regions_of_maps(pool):
    size = (24, 40) if pool is label_map_mean else (6, 10)
    labels = torch.randint(-1, 7, (3, 24, 40), generator=torch.Generator().manual_seed(0))

    def means(maps, labels):
        return pool(maps, *batch_region_ids(labels))

    same_on_both(means, drawn(3, 5, *size), labels)


def test_pixels():
    random = torch.Generator().manual_seed(0)
    image = torch.randint(3, (200,), generator=random)
    rowcol = torch.randint(24, (200, 2), generator=random)
    same_on_both(read_pixels, drawn(3, 5, 24, 40), image, rowcol)
    same_on_both(lambda *a: read_pixels_lowres(*a, (24, 40)), drawn(3, 5, 6, 10), image, rowcol)


def test_focal_loss():
    labels = torch.randint(4, (300,), generator=torch.Generator().manual_seed(0))
    same_on_both(
        lambda x, y: focal_loss.sigmoid_focal_loss(x, y, None, 2.0, 0.25), drawn(300, 3), labels
    )


def test_clusters():
    same_on_both(
        lambda m: kmeans.cluster_maps(m, 4, (18, 30)), drawn(2, 6, 6, 10, grad=False).double()
    )


def test_point_sets():
    points = drawn(2, 300, 3, grad=False)
    same_on_both(lambda p: point_sets.furthest_point_sample(p, 40), points)
    same_on_both(lambda p: point_sets.ball_query(p, p[:, :50].contiguous(), 0.5, 16), points)
    same_on_both(lambda p: point_sets.nearest_points(p, p[:, :50].contiguous(), 7), points)
    rows = torch.arange(60).view(2, 10, 3)
    same_on_both(point_sets.gather_rows, drawn(2, 4, 300), rows)


def test_bfloat16_is_finite_under_autocast():
    features, sample, queries = (part.to(DEVICE) for part in some_places())
    values = drawn(700, 8, seed=1, grad=False).to(DEVICE, torch.bfloat16).requires_grad_()
    with torch.autocast(DEVICE, torch.bfloat16):
        graph = feature_graph(features.bfloat16(), sample, queries, 16)
        total = neighbour_sum(values, graph).float().sum() + neighbour_max(values, graph).sum()
    total.backward()
    assert bool(values.grad.isfinite().all())
