# SPDX-License-Identifier: Apache-2.0
"""Every objective at its edges: value and gradient stay numbers, and rest where nothing differs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lidistill.losses import (
    bev,
    contrastive,
    feature,
    local_graph,
    lovasz,
    relation,
    response,
    rows,
)
from lidistill.losses.monocular import anchor_response, bev_residual, depth_focal
from lidistill.losses.region_pooling import pool_regions
from lidistill.losses.semantic_tolerance import region_tolerance
from lidistill.ops.graphs.local_graph import feature_graph

Objective = Callable[[Tensor, Tensor], Tensor]


def decoupled(student: Tensor, teacher: Tensor) -> Tensor:
    target = torch.arange(len(student)) % student.shape[1]
    return response.decoupled_kd(student, teacher, target)


def of_labels(student: Tensor, teacher: Tensor) -> Tensor:
    labels = torch.arange(len(student)) % student.shape[1]
    return lovasz.lovasz_softmax(student.softmax(1), labels)


def of_weak_labels(student: Tensor, teacher: Tensor) -> Tensor:
    labels = torch.arange(len(student)) % 2
    return contrastive.supervised_contrast(student, teacher, labels)


def of_graphs(student: Tensor, teacher: Tensor, pool: str, norm: str, residual: bool) -> Tensor:
    """Graph layers of the same weights, 3 neighbours of the first 4 places."""
    queries, sample = torch.arange(min(4, len(student))), torch.zeros(len(student)).long()
    graph = feature_graph(teacher.float(), sample, queries, 3)
    weight = torch.randn(
        5, 2 * student.shape[1], generator=torch.Generator().manual_seed(student.shape[1])
    )
    weight = weight.double() if student.dtype == torch.float64 else weight
    sides = [local_graph.edge_rows(x, graph, weight, residual=residual) for x in (student, teacher)]
    return local_graph.local_graph_loss(*sides, graph, pool=pool, norm=norm)


def of_regions(student: Tensor, teacher: Tensor) -> Tensor:
    """SLidR's and ST-SLidR's: regions of two pairs, cosines, tolerance."""
    region = torch.arange(len(student)) // 2
    pooled = pool_regions(
        rows.directions(student),
        torch.arange(len(student)),
        region,
        rows.directions(teacher).T[None, :, None],
        region[None, None],
        (len(student) + 1) // 2,
    )
    tolerance = region_tolerance(pooled.pixel_regions, 0.01, class_balance=True)
    alive = tolerance.alive
    return contrastive.region_infonce(
        pooled.point_regions[alive],
        pooled.pixel_regions[alive],
        logit_weights=tolerance.logit_weights,
        anchor_weights=tolerance.anchor_weights,
    )


def as_boxes(loss: Callable[..., Tensor], **options: str) -> Objective:
    """Two points a box where the rows are even, else one."""
    return lambda s, t: loss(s, t, points=2 - len(s) % 2, **options)


def as_maps(loss: Callable[..., Tensor]) -> Objective:
    """Rows as the cells of one map (1, C, 1, R)."""
    return lambda s, t: loss(s.T[None, :, None], t.T[None, :, None])


def as_anchors(loss: Callable[..., Tensor]) -> Objective:
    """Rows as the anchors of one sample (1, A, K)."""
    return lambda s, t: loss(s[None], t[None])


def weighted_anchors(loss: Callable[..., Tensor], **options: object) -> Objective:
    """The same, each weighing what the teacher's own logits say."""
    return as_anchors(lambda s, t: loss(s, t, anchor_response.anchor_weights(t), **options))


def of_depths(student: Tensor, teacher: Tensor) -> Tensor:
    target = torch.arange(len(student)).reshape(1, 1, -1) % student.shape[1]
    return depth_focal.depth_focal(student.T[None, :, None], target, target == 0)


def on_directions(loss: Objective) -> Objective:
    return lambda student, teacher: loss(rows.directions(student), rows.directions(teacher))


AT_REST: dict[str, Objective] = {  # equal sides are a minimum
    "normalized_l2": feature.normalized_l2,
    "fitnet": feature.fitnet,
    "attention_transfer": feature.attention_transfer,
    "channel_wise": feature.channel_wise,
    "pearson_knowledge": feature.pearson_knowledge,
    "variational_information": lambda s, t: feature.variational_information(
        s, t, torch.zeros(s.shape[1])
    ),
    "similarity_preserving": relation.similarity_preserving,
    "relational_distance": relation.relational_distance,
    "relational_angle": relation.relational_angle,
    "relational": relation.relational,
    "neuron_selectivity": relation.neuron_selectivity,
    "probabilistic_transfer": relation.probabilistic_transfer,
    "softmax_kd": response.softmax_kd,
    "bernoulli_kd": response.bernoulli_kd,
    "decoupled_kd": decoupled,
    "dist without epsilon": partial(response.dist, eps=0.0),  # it pulls at what hardly varies
    "pivotal_logits": response.pivotal_logits,
    "confident_boxes": response.confident_boxes,
    "local_graph_loss": partial(of_graphs, pool="none", norm="mean", residual=False),
    "local_graph_loss max": partial(of_graphs, pool="max", norm="mean", residual=True),
    "local_graph_loss avg": partial(of_graphs, pool="avg", norm="mean", residual=True),
    "local_graph_loss l2": partial(of_graphs, pool="none", norm="l2", residual=False),
    "absolute": bev.absolute,
    "squared": bev.squared,
    "gram_relation": as_boxes(bev.gram_relation),
    "gram_relation of channels": as_boxes(bev.gram_relation, distance="l2", relates="channels"),
    "attention_weighted": bev.attention_weighted,
    "attention_gap": bev.attention_gap,
    "max_class_response alike": partial(bev.max_class_response, temperatures=(1.0, 1.0)),
    "squared_gap": as_maps(bev_residual.squared_gap),
    "squared_gap of filled cells": as_maps(
        lambda s, t: bev_residual.squared_gap(s, t, bev_residual.filled_weights(t))
    ),
    "summed_channels": as_maps(bev_residual.summed_channels),
    "soft_focal": as_anchors(anchor_response.soft_focal),
    "soft_boxes": weighted_anchors(anchor_response.soft_boxes, heading=None),
    "soft_boxes with heading": weighted_anchors(anchor_response.soft_boxes, heading=0),
}
OTHERS: dict[str, Objective] = {
    "orthogonal_projection": feature.orthogonal_projection,
    "orthogonal_projection of places": partial(
        feature.orthogonal_projection, standardise="channels"
    ),
    "dist": response.dist,
    "info_nce": contrastive.info_nce,
    "point_infonce": on_directions(contrastive.point_infonce),
    "region_infonce": of_regions,
    "supervised_contrast": of_weak_labels,
    "lovasz_softmax": of_labels,
    "point_contrast": bev.point_contrast,
    "max_class_response": bev.max_class_response,
    "squared_gap of stretched maps": as_maps(
        lambda s, t: bev_residual.squared_gap(*map(bev_residual.min_max, (s, t)))
    ),
    "soft_directions": weighted_anchors(anchor_response.soft_directions),
    "depth_focal": of_depths,
}
OBJECTIVES = {**AT_REST, **OTHERS}
NO_OBJECTIVES = {"pivotal_weights", "zero_loss", "lovasz_gradient", "top_places", "edge_rows"} | {
    *("channel_maximum", "query_weights", "release_weights", "pooled_edges"),
    *("weighted_mean", "check_points", "surest", "anchor_weights", "filled_weights", "min_max"),
    *("residual", "key_residual", "box_cells"),
}
each = pytest.mark.parametrize("name", OBJECTIVES)


def edge_cases(dtype: torch.dtype) -> dict[str, tuple[Tensor, Tensor]]:
    """Student and teacher rows; what is the matter with them is the name."""
    generator = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(2, 6, 4, generator=generator)
    some = student * torch.tensor([0.0, 1, 1, 0, 1, 1])[:, None]
    channel = student * torch.tensor([0.0, 1, 1, 1])
    level = torch.tensor([[2.0], [1], [3], [0], [5], [4]]).expand(6, 4)
    cases = {
        "plain": (student, teacher),
        "student of zeros": (0 * student, teacher),
        "teacher of zeros": (student, 0 * teacher),
        "both of zeros": (0 * student, 0 * teacher),
        "some rows of zeros": (some, teacher),
        "some rows of zeros in the teacher": (student, some),
        "a channel of zeros": (channel, teacher),
        "a channel of zeros in the teacher": (student, channel),
        "a place with equal logits": (torch.cat([student[:5], 0 * student[:1] + 0.3]), teacher),
        "all logits equal by place": (level, teacher),
        "all logits equal by place in the teacher": (student, level),
        "all rows equal": (student[:1].expand(6, 4), teacher),
        "all rows equal in the teacher": (student, teacher[:1].expand(6, 4)),
        "pairs of equal rows": (student[[0, 0, 1, 1, 2, 2]], teacher),
        "opposite rows": (torch.cat([student[:3], -student[:3]]), torch.cat([some[:3], -some[:3]])),
        "one place": (student[:1], teacher[:1]),
        "two places": (student[:2], teacher[:2]),
        "one place of zeros": (0 * student[:1], teacher[:1]),
        "one class": (student[:, :1], teacher[:, :1]),
        "one class, equal": (0 * student[:, :1] + 1, teacher[:, :1]),
        "one place, one class": (student[:1, :1], teacher[:1, :1]),
        "no place": (student[:0], teacher[:0]),
        "tiny": (1e-7 * student, 1e-7 * teacher),
        "tiny student": (1e-7 * student, teacher),
        "large": (2e4 * student, 2e4 * teacher),
        "large student": (2e4 * student, teacher),
        "far from zero": (student + 1000, teacher + 1000),
        "one large row": (torch.cat([2e4 * student[:1], student[1:]]), teacher),
    }
    return {name: (a.to(dtype), b.to(dtype)) for name, (a, b) in cases.items()}


def value_and_gradient(name: str, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_()
    loss = OBJECTIVES[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    return loss.detach(), gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@each
def test_value_and_gradient_are_numbers(name, dtype):
    for case, (student, teacher) in edge_cases(dtype).items():
        value, gradient = value_and_gradient(name, student, teacher)
        assert value.isfinite(), (case, value)
        if dtype != torch.float16:  # whose largest is 65504: a squared difference has more
            assert gradient.isfinite().all(), (case, gradient)
        if "zeros" in case and "some" not in case and "large" not in case:
            # nowhere a division by a length that is none
            assert gradient.abs().max() < 1e3, (case, gradient)


@pytest.mark.parametrize("name", AT_REST)
def test_equal_sides_rest(name):
    for case, (student, _) in edge_cases(torch.float64).items():
        _, gradient = value_and_gradient(name, student, student)
        assert gradient.abs().sum() < 1e-5, (case, gradient)


@each
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    places=st.integers(0, 7),
    width=st.integers(1, 5),
    scale=st.sampled_from([0.0, 1e-7, 1e-3, 1.0, 1e2, 2e4]),
    teacher_scale=st.sampled_from([0.0, 1e-7, 1.0, 2e4]),
    offset=st.sampled_from([0.0, 1.0, -500.0]),
    levels=st.integers(1, 3),
)
def test_rows_of_few_levels(name, seed, places, width, scale, teacher_scale, offset, levels):
    """Integers of few levels: equal rows, equal logits and constant channels come by themselves."""
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randint(0, levels, (2, places, width), generator=generator).float()
    value, gradient = value_and_gradient(name, scale * pair[0] + offset, teacher_scale * pair[1])
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("places", [1, 6])
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_dist_has_no_slope_where_nothing_varies(places, classes):
    """The square root of a variance of 0 has an infinite one."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, places, classes, generator=generator)
    student[0] = 0.7
    _, gradient = value_and_gradient("dist", student, teacher)
    assert gradient.isfinite().all()
    if places == 1:
        assert gradient.abs().max() == 0
    _, level = value_and_gradient("dist", torch.full_like(student, 0.7), teacher)
    assert level.abs().max() == 0


@pytest.mark.parametrize("name", ["normalized_l2", "similarity_preserving", "pearson_knowledge"])
def test_rows_of_zeros_have_no_direction(name):
    student, teacher = edge_cases(torch.float32)["student of zeros"]
    value, gradient = value_and_gradient(name, student, teacher)
    assert value > 0
    assert gradient.abs().max() == 0


def test_directions():
    values = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-7, 0.0], [1e-5, 0.0]], requires_grad=True)
    unit = rows.directions(values)
    expected = torch.tensor([[0.6, 0.8], [0, 0], [0, 0], [1, 0]])
    torch.testing.assert_close(unit, expected)
    (gradient,) = torch.autograd.grad(unit[:, 1].sum(), values)
    expected = torch.tensor([[-0.096, 0.072], [0, 0], [0, 0], [0, 1e5]])
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)
    maps = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(rows.directions(maps), torch.nn.functional.normalize(maps, dim=1))
    assert rows.directions(torch.full((2, 3), 6e4).half()).dtype == torch.float32


def test_an_infinite_place_without_weight_is_no_matter():
    """Zero times infinity is no number: nothing is added where nothing is compared."""
    student = torch.full((3, 4), torch.inf, requires_grad=True)
    loss = contrastive.zero_loss(student)
    assert loss == 0
    assert torch.autograd.grad(loss, student)[0].abs().max() == 0


def test_weights_that_are_no_numbers():
    student, teacher = edge_cases(torch.float32)["plain"]
    for bad in (torch.nan, torch.inf):
        weights = torch.tensor([1.0, bad, 1, 1, 1, 1])
        with pytest.raises(ValueError, match="expected finite weights"):
            feature.fitnet(student, teacher, weights)


@pytest.mark.parametrize(
    "loss", [response.softmax_kd, response.bernoulli_kd, response.dist, feature.channel_wise]
)
def test_temperature_divides(loss):
    student, teacher = edge_cases(torch.float32)["plain"]
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        loss(student, teacher, temperature=0.0)


def test_every_objective_is_tried_here():
    modules: list[ModuleType] = [
        *(feature, relation, response, contrastive, lovasz, local_graph, bev),
        *(anchor_response, bev_residual, depth_focal),
    ]
    found = {
        name
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    assert found - NO_OBJECTIVES == {name.split()[0] for name in OBJECTIVES}
