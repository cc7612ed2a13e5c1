# SPDX-License-Identifier: Apache-2.0
"""The zoo on rows: loops, invariances, weights, nothing to compare."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.losses import feature, relation, response
from lidistill.losses.rows import map_rows

WIDE = {  # widths must be equal
    "fitnet": feature.fitnet,
    "cwd": feature.channel_wise,
    "pkd": feature.pearson_knowledge,
    "vid": partial(feature.variational_information, log_scale=torch.full((4,), 0.3)),
    "vkd": feature.orthogonal_projection,
    "softmax": response.softmax_kd,
    "bernoulli": response.bernoulli_kd,
    "dist": response.dist,
    "pivotal": response.pivotal_logits,
}
FREE = {
    "at": feature.attention_transfer,
    "sp": relation.similarity_preserving,
    "rkd": relation.relational,
    "nst": relation.neuron_selectivity,
    "pkt": relation.probabilistic_transfer,
}
ALL = {**WIDE, **FREE}
each = pytest.mark.parametrize("name", ALL)


def rows(seed: int = 0, count: int = 12, width: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randn(2, count, width, generator=generator, dtype=torch.float64)
    return pair[0].requires_grad_(), pair[1]


@each
def test_order_of_places_changes_nothing(name):
    student, teacher = rows()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    weights = torch.rand(12, generator=torch.Generator().manual_seed(2))
    one = ALL[name](student, teacher, weights=weights)
    other = ALL[name](student[order], teacher[order], weights=weights[order])
    torch.testing.assert_close(one, other)


@each
def test_weight_zero_leaves_a_place_out(name):
    student, teacher = rows()
    weights = torch.tensor([1.0] * 8 + [0.0] * 4)
    one = ALL[name](student, teacher, weights=weights)
    other = ALL[name](student[:8], teacher[:8])
    assert one.item() == pytest.approx(other.item(), rel=1e-5)


@each
def test_equal_weights_are_none(name):
    student, teacher = rows()
    one = ALL[name](student, teacher, weights=torch.full((12,), 0.25))
    relative = 1e-4 if name == "pivotal" else 1e-6  # its denominator has an epsilon
    assert one.item() == pytest.approx(ALL[name](student, teacher).item(), rel=relative)


@each
def test_nothing_to_compare_is_zero_with_gradient(name):
    student, teacher = rows()
    for loss in (
        ALL[name](student[:0], teacher[:0]),
        ALL[name](student, teacher, weights=torch.zeros(12)),
    ):
        assert loss.item() == 0.0
        (gradient,) = torch.autograd.grad(loss, student)
        assert gradient.abs().sum() == 0


@each
def test_gradient_of_the_student_only(name):
    student, teacher = rows()
    teacher.requires_grad_()
    loss = ALL[name](student, teacher)
    own, target = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
    assert own.abs().sum() > 0
    assert target is None


@each
def test_equal_sides_are_a_minimum(name):
    _, teacher = rows()
    student = teacher.clone().requires_grad_()
    loss = ALL[name](student, teacher)
    if name == "vkd":
        return  # its target is the standardised teacher
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient.abs().max() < 1e-6
    if name != "vid":
        assert abs(loss.item()) < 1e-6


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
def test_pkd_and_dist_see_no_scale_and_no_offset(seed, scale, offset):
    student, teacher = rows(seed)
    one = feature.pearson_knowledge(student, teacher)
    other = feature.pearson_knowledge(scale * student + offset, teacher)
    assert other.item() == pytest.approx(one.item(), abs=1e-4)
    channels = zip(student.detach().T, teacher.T, strict=True)
    correlation = np.mean([np.corrcoef(*pair)[0, 1] for pair in channels])
    assert one.item() == pytest.approx((1 - correlation) * 11 / 12, abs=1e-4)  # unbiased
    shift = torch.full_like(student, offset)
    shifted = feature.channel_wise(student + shift, teacher)
    assert shifted.item() == pytest.approx(feature.channel_wise(student, teacher).item(), abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_relations_see_no_rotation(seed):
    student, teacher = rows(seed)
    generator = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
    for loss in (relation.similarity_preserving, relation.relational):
        one, other = loss(student, teacher), loss(student @ turn, teacher)
        assert other.item() == pytest.approx(one.item(), rel=1e-6)
    scaled = relation.relational(3 * student, teacher)
    assert scaled.item() == pytest.approx(relation.relational(student, teacher).item(), rel=1e-6)


def test_bernoulli_equals_a_loop():
    student, teacher = rows()
    expected = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        for a, b in zip(s, t, strict=True):
            p, q = 1 / (1 + math.exp(-a / 2)), 1 / (1 + math.exp(-b / 2))
            expected += q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    loss = response.bernoulli_kd(student, teacher, temperature=2.0)
    assert loss.item() == pytest.approx(4 * expected / 12)


def test_decoupled_logits_equal_a_loop():
    student, teacher = rows()
    true, expected = torch.arange(12) % 4, 0.0
    for s, t, k in zip(student.detach(), teacher, true.tolist(), strict=True):
        p, q = (s / 2).softmax(0), (t / 2).softmax(0)
        rest = [c for c in range(4) if c != k]
        expected += float(q[k] * (q[k] / p[k]).log() + (1 - q[k]) * ((1 - q[k]) / (1 - p[k])).log())
        among_s, among_t = p[rest] / p[rest].sum(), q[rest] / q[rest].sum()
        expected += 3 * float((among_t * (among_t / among_s).log()).sum())
    loss = response.decoupled_kd(student, teacher, true, beta=3.0, temperature=2.0)
    assert loss.item() == pytest.approx(4 * expected / 12)


def test_pivotal_logits_equal_a_loop():
    student, teacher = rows()
    heat = torch.linspace(0, 1, 12)
    weights = response.pivotal_weights(teacher, heat)
    total, mass = 0.0, 0.0
    for s, t, h in zip(student, teacher, heat, strict=True):
        weight = float(t.sigmoid().max()) * float(h)
        total += weight * float((s.detach().sigmoid() - t.sigmoid()).square().sum())
        mass += weight
    loss = response.pivotal_logits(student, teacher, weights)
    assert loss.item() == pytest.approx(total / (mass + 1e-6), rel=1e-6)


def test_orthogonal_projection_and_vid_equal_loops():
    student, teacher = rows()
    target = (teacher - teacher.mean(0)) / (teacher.std(0, unbiased=False) + 1e-6)
    gap = (student - target).abs()
    expected = torch.where(gap < 1, gap.square() / 2, gap - 0.5).mean()
    torch.testing.assert_close(feature.orthogonal_projection(student, teacher), expected)
    variance = math.log(1 + math.exp(0.3)) + 1e-5
    expected = 0.5 * ((student - teacher).square() / variance + math.log(variance)).mean()
    assert WIDE["vid"](student, teacher).item() == pytest.approx(expected.item(), rel=1e-6)


def test_orthogonal_projection_standardises_places_or_channels():
    """The release's is a layer norm of each place: of another value."""
    student, teacher = rows()
    found = {}
    for way, axis in (("places", 0), ("channels", 1)):
        middle = teacher.mean(axis, keepdim=True)
        target = (teacher - middle) / teacher.std(axis, unbiased=False, keepdim=True)
        gap = (student - target).abs()
        expected = torch.where(gap < 1, gap.square() / 2, gap - 0.5).mean().item()
        found[way] = feature.orthogonal_projection(student, teacher, standardise=way).item()
        assert found[way] == pytest.approx(expected, rel=1e-4)
    assert feature.orthogonal_projection(student, teacher).item() == found["places"]
    assert abs(found["places"] - found["channels"]) > 1e-3
    with pytest.raises(ValueError, match=r"one of \('places', 'channels'\), got 'rows'"):
        feature.orthogonal_projection(student, teacher, standardise="rows")


@pytest.mark.parametrize("name", ["at", "cwd", "nst"])
def test_samples_are_normalised_for_themselves(name):
    student, teacher = rows()
    sample = torch.tensor([3] * 6 + [7] * 6)
    whole = ALL[name](student, teacher, sample=sample)
    parts = [ALL[name](student[k : k + 6], teacher[k : k + 6]) for k in (0, 6)]
    assert whole.item() == pytest.approx((sum(parts) / 2).item())


def test_map_rows():
    cells, sample = map_rows(torch.arange(24).view(2, 3, 2, 2))
    assert cells[5].tolist() == [13, 17, 21]
    assert sample.tolist() == [0] * 4 + [1] * 4


def test_errors_say_what_to_do():
    student, teacher = rows()
    with pytest.raises(ValueError, match=r"rows \(R, C\) of the same places"):
        feature.fitnet(student, teacher[:3])
    with pytest.raises(ValueError, match=r"add a connector, e.g. .*in_features=4"):
        feature.fitnet(student, teacher[:, :2])
    with pytest.raises(ValueError, match=r"expected weights \(12,\), got \(3,\)"):
        feature.fitnet(student, teacher, torch.ones(3))
    many = torch.zeros(300, 2)
    with pytest.raises(ValueError, match="at most 256, got 300"):
        relation.relational_angle(many, many)
