# SPDX-License-Identifier: Apache-2.0
"""Contrastive losses against loops; gradients by finite differences; empty batches; messages."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lidistill.losses import contrastive
from lidistill.losses.contrastive import (
    info_nce,
    point_infonce,
    pool_regions,
    region_infonce,
    regions_at_pairs,
    sample_pairs,
    supervised_contrast,
)
from lidistill.ops.segments.segment import batch_region_ids


def loop_info_nce(queries, keys, temperature, weights=None, anchors=None):
    count = len(queries)
    losses = []
    for i in range(count):
        row = [
            float(queries[i] @ keys[j]) / temperature * (1 if weights is None else weights[i, j])
            for j in range(count)
        ]
        losses.append(-row[i] + math.log(sum(math.exp(value) for value in row)))
    anchors = np.ones(count) if anchors is None else anchors
    return float((np.asarray(losses) * anchors).sum() / anchors.sum())


def random_pair(count=7, dim=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    make = lambda: torch.randn(count, dim, generator=generator, dtype=torch.float64)  # noqa: E731
    return make().requires_grad_(), make().requires_grad_()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("block", [None, 3])
def test_info_nce_equals_a_loop(weighted, block, monkeypatch):
    if block:  # rows in several blocks, the last one shorter
        monkeypatch.setattr(contrastive, "_BLOCK_ENTRIES", {False: block * 7, True: block * 7})
    q, k = random_pair()
    weights = torch.rand(7, 7, dtype=torch.float64) if weighted else None
    anchors = torch.rand(7, dtype=torch.float64) if weighted else None
    expected = loop_info_nce(
        q.detach().numpy(),
        k.detach().numpy(),
        0.3,
        None if weights is None else weights.numpy(),
        None if anchors is None else anchors.numpy(),
    )
    assert abs(float(info_nce(q, k, 0.3, weights, anchors)) - expected) < 1e-12
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, 0.3, weights, anchors), (q, k))


def test_gradient_may_be_asked_for_twice():
    q, k = random_pair()
    loss = 2 * info_nce(q, k)
    first = torch.autograd.grad(loss, (q, k), retain_graph=True)
    second = torch.autograd.grad(loss, (q, k))
    reference = F.cross_entropy(q @ k.T / 0.07, torch.arange(7)) * 2
    for a, b, c in zip(first, second, torch.autograd.grad(reference, (q, k)), strict=True):
        assert torch.equal(a, b)
        np.testing.assert_allclose(a, c, atol=1e-12)


def test_a_penalty_on_gradients_is_refused():
    """It counted for nothing: the loss beside it had a gradient, so nothing was said."""
    q, k = random_pair()
    loss = info_nce(q, k)
    first = torch.autograd.grad(loss, (q, k), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        (loss + sum(grad.square().sum() for grad in first)).backward()


def test_one_side_without_gradient_and_no_grad_mode():
    q, k = random_pair()
    (grad,) = torch.autograd.grad(info_nce(q, k.detach()), q)
    (both, _) = torch.autograd.grad(info_nce(q, k), (q, k))
    assert torch.equal(grad, both)
    with torch.no_grad():
        assert float(info_nce(q, k)) == float(info_nce(q, k).detach())


def test_order_of_regions_does_not_matter():
    q, k = random_pair(20, 8)
    order = torch.randperm(20)
    assert abs(float(info_nce(q, k)) - float(info_nce(q[order], k[order]))) < 1e-12


@pytest.mark.parametrize(
    "loss",
    [region_infonce, point_infonce, lambda q, k: supervised_contrast(q, k, torch.zeros(0).long())],
)
def test_empty_batch_is_zero_with_gradient(loss):
    source = torch.randn(5, 3, requires_grad=True)
    value = loss(source[:0], source[:0])
    value.backward()
    assert float(value) == 0.0
    assert torch.all(source.grad == 0)


def test_all_anchor_weights_zero():
    q, k = random_pair()
    value = info_nce(q, k, anchor_weights=torch.zeros(7))
    value.backward()
    assert float(value) == 0.0
    assert torch.all(q.grad == 0)


def test_half_precision_and_autocast_use_float32():
    q, k = random_pair(16, 8)
    exact = float(info_nce(q.bfloat16().double(), k.bfloat16().double()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = info_nce(q.bfloat16(), k.bfloat16())
    assert half.dtype == torch.float32
    assert abs(float(half) - exact) < 1e-4 * exact


def test_supervised_contrast_equals_a_loop():
    p, q = random_pair(9, 4)
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 2, 2, 3])
    losses = []
    for i in range(9):
        e = [math.exp(float(p[i] @ q[j]) / 0.5) for j in range(9)]
        losses.append(-math.log(sum(e[j] for j in range(9) if labels[j] == labels[i]) / sum(e)))
    assert abs(float(supervised_contrast(p, q, labels, 0.5)) - np.mean(losses)) < 1e-12
    own = supervised_contrast(p, q, torch.arange(9), 0.5)  # each its own label: plain InfoNCE
    assert abs(float(own) - float(info_nce(p, q, 0.5))) < 1e-12


def pooled(seed=0, **options):
    rng = np.random.default_rng(seed)
    points = torch.from_numpy(rng.normal(size=(12, 3))).requires_grad_()
    pixel_map = torch.from_numpy(rng.normal(size=(2, 3, 4, 6))).requires_grad_()
    ids, num_regions = batch_region_ids(torch.from_numpy(rng.integers(0, 5, (2, 4, 6))), 6)
    pair_point = torch.from_numpy(rng.integers(0, 12, 15))
    pair_image = torch.from_numpy(rng.integers(0, 2, 15))
    rowcol = torch.stack([torch.from_numpy(rng.integers(0, n, 15)) for n in (4, 6)], 1)
    pair_region = regions_at_pairs(ids, pair_image, rowcol)
    regions = pool_regions(points, pair_point, pair_region, pixel_map, ids, num_regions, **options)
    return regions, points, pixel_map, ids, pair_point, pair_region


def test_pool_regions_equals_a_loop():
    regions, points, pixel_map, ids, pair_point, pair_region = pooled(eps=0.0)
    kept = []
    for region in range(12):
        members = [int(p) for p, r in zip(pair_point, pair_region, strict=True) if r == region]
        pixels = [
            pixel_map.detach()[b, :, y, x].numpy()
            for b in range(2)
            for y in range(4)
            for x in range(6)
            if ids[b, y, x] == region
        ]
        assert int(regions.point_count[region]) == len(members)
        assert int(regions.pixel_count[region]) == len(pixels)
        if members:
            row = len(kept)
            np.testing.assert_allclose(
                regions.point_regions.detach()[row],
                np.mean([points.detach()[m].numpy() for m in members], axis=0),
                atol=1e-12,
            )
            np.testing.assert_allclose(
                regions.pixel_regions.detach()[row], np.mean(pixels, axis=0), atol=1e-12
            )
            kept.append(region)
    assert regions.region.tolist() == kept
    assert 0 < regions.coverage <= 1


def test_channel0_quirk_drops_a_region_that_counts_keep():
    points = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    ids, num_regions = batch_region_ids(torch.tensor([[[0, 1]]]))
    arguments = (points, torch.tensor([0, 1]), torch.tensor([0, 1]), torch.ones(1, 2, 1, 2), ids)
    assert pool_regions(*arguments, num_regions).region.tolist() == [0, 1]
    compat = pool_regions(*arguments, num_regions, compat_channel0=True)
    assert compat.region.tolist() == [1]


def test_no_pairs_at_all():
    points = torch.randn(4, 3, requires_grad=True)
    pixel_map = torch.randn(1, 3, 2, 2, requires_grad=True)
    none = torch.zeros(0).long()
    regions = pool_regions(points, none, none, pixel_map, torch.zeros(1, 2, 2).long(), 1)
    loss = region_infonce(regions.point_regions, regions.pixel_regions)
    loss.backward()
    assert float(loss) == 0.0
    assert regions.coverage == 0.0
    assert torch.all(points.grad == 0)
    assert torch.all(pixel_map.grad == 0)


def test_sample_pairs():
    chosen = sample_pairs(100, 30, torch.Generator().manual_seed(0))
    assert len(set(chosen.tolist())) == 30
    assert torch.equal(chosen, sample_pairs(100, 30, torch.Generator().manual_seed(0)))
    assert sorted(sample_pairs(5, 30).tolist()) == [0, 1, 2, 3, 4]
    assert len(sample_pairs(0, 30)) == 0


def test_weighted_sampling_follows_the_weights():
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([1.0, 2.0, 5.0])
    draws = [int(sample_pairs(3, 1, generator, weights)) for _ in range(4000)]
    share = np.bincount(draws, minlength=3) / 4000
    np.testing.assert_allclose(share, [0.125, 0.25, 0.625], atol=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: info_nce(torch.ones(2, 3), torch.ones(2, 4)), r"\(2, 3\) and \(2, 4\)"),
        (lambda: info_nce(torch.ones(2, 3), torch.ones(2, 3), 0.0), "temperature must be above 0"),
        (
            lambda: supervised_contrast(torch.ones(2, 3), torch.ones(2, 3), torch.zeros(3)),
            "labels",
        ),
        (lambda: sample_pairs(3, 1, weights=torch.ones(2)), r"expected weights \(3,\)"),
        (
            lambda: pool_regions(
                torch.ones(2, 1),
                torch.tensor([2]),
                torch.tensor([0]),
                torch.ones(1, 1, 1, 1),
                torch.zeros(1, 1, 1).long(),
                1,
            ),
            "pair_point must lie below 2, got 2",
        ),
        (
            lambda: pool_regions(
                torch.ones(2, 1),
                torch.tensor([1]),
                torch.tensor([0, 0]),
                torch.ones(1, 1, 1, 1),
                torch.zeros(1, 1, 1).long(),
                1,
            ),
            "one length",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
