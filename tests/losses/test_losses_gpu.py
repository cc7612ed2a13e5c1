# SPDX-License-Identifier: Apache-2.0
"""Losses on a CUDA device: values and gradients of the CPU."""

from __future__ import annotations

import pytest
import torch

from lidistill.losses import contrastive, feature, relation, response
from lidistill.losses.contrastive import info_nce, supervised_contrast
from lidistill.losses.local_graph import (
    edge_rows,
    local_graph_loss,
    query_weights,
    top_places,
)
from lidistill.losses.lovasz import lovasz_softmax
from lidistill.losses.semantic_tolerance import region_tolerance
from lidistill.ops.graphs.local_graph import feature_graph
from tests.on_gpu import MARKS, exact_float32, same_on_both  # noqa: F401

pytestmark = MARKS
ROWS, WIDTH = 60, 6


def drawn(*shape: int, seed: int = 0, grad: bool = True) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random).requires_grad_(grad)


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return drawn(ROWS, WIDTH), drawn(ROWS, WIDTH, seed=1, grad=False)


@pytest.mark.parametrize("weighted", [False, True])
def test_info_nce(monkeypatch, weighted):
    monkeypatch.setattr(contrastive, "_BLOCK_ENTRIES", {False: 7 * ROWS, True: 7 * ROWS})
    logits = drawn(ROWS, ROWS, seed=2, grad=False).abs() if weighted else None
    anchors = drawn(ROWS, seed=3, grad=False).abs() if weighted else None
    keys = drawn(ROWS, WIDTH, seed=1)
    same_on_both(lambda q, k, w, a: info_nce(q, k, 0.2, w, a), pair()[0], keys, logits, anchors)


def test_weights_of_regions():
    def tolerance(rows):
        found = region_tolerance(rows, 0.1, class_balance=True)
        return found.alive.float(), found.logit_weights, found.anchor_weights

    same_on_both(tolerance, drawn(ROWS, WIDTH, grad=False).abs())


def test_supervised_contrast_and_lovasz():
    labels = torch.arange(ROWS) % WIDTH
    same_on_both(supervised_contrast, *pair(), labels)
    same_on_both(lambda x, y: lovasz_softmax(x.softmax(1), y, ignore=0), pair()[0], labels)


@pytest.mark.parametrize("pool", ["none", "max", "avg"])
def test_local_graph(pool):
    sample = (torch.arange(400) >= 150).long()

    def loss(student, teacher, own, target, sample):
        importance = teacher.amax(1)
        queries = top_places(importance, sample, 50)
        graph = feature_graph(teacher.double(), sample, queries, 9)
        weights = query_weights(importance[queries], sample[queries])
        sides = edge_rows(student, graph, own), edge_rows(teacher, graph, target)
        return local_graph_loss(*sides, graph, weights, pool)

    weights = drawn(5, 16, seed=2), drawn(5, 24, seed=3, grad=False)
    same_on_both(
        loss, drawn(400, 8), drawn(400, 12, seed=1, grad=False), *weights, sample, tolerance=1e-4
    )


@pytest.mark.parametrize(
    "loss",
    [
        feature.fitnet,
        feature.attention_transfer,
        feature.channel_wise,
        feature.pearson_knowledge,
        feature.orthogonal_projection,
        feature.normalized_l2,
        relation.similarity_preserving,
        relation.relational,
        relation.neuron_selectivity,
        relation.probabilistic_transfer,
        response.bernoulli_kd,
        response.dist,
        response.pivotal_logits,
    ],
    ids=lambda loss: loss.__name__,
)
def test_zoo(loss):
    same_on_both(loss, *pair(), tolerance=1e-4)
