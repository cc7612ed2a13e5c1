# SPDX-License-Identifier: Apache-2.0
"""Losses of BEV distillation against loops in double precision."""

import math

import numpy as np
import pytest
import torch

from lidistill.losses import bev

ROWS, WIDTH = 12, 5


def drawn(seed, rows=ROWS, width=WIDTH):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64)


STUDENT, TEACHER, WEIGHTS = drawn(0), drawn(1), drawn(2, width=1)[:, 0].abs()
SAMPLE = torch.tensor([0] * 5 + [1] * 7)


def weighted(values, weights, eps=0.0):
    return sum(w * v for w, v in zip(weights, values, strict=True)) / (sum(weights) + eps)


def loop_absolute(own, target, weights):
    return weighted([np.abs(a - b).mean() for a, b in zip(own, target, strict=True)], weights, 1e-4)


def loop_squared(own, target, weights):
    return weighted([((a - b) ** 2).mean() for a, b in zip(own, target, strict=True)], weights)


def loop_gram(own, target, weights, points=4, distance="l1", relates="points"):
    gaps, shares = [], []
    for first in range(0, len(own), points):
        grams = []
        for rows in (own, target):
            block = rows[first : first + points]
            block = block if relates == "points" else block.T
            gram = np.zeros((len(block), len(block)))
            for i, a in enumerate(block):
                for j, b in enumerate(block):
                    norms = (np.linalg.norm(a) + 1e-4) * (np.linalg.norm(b) + 1e-4)
                    gram[i, j] = a @ b / norms
            grams.append(gram)
        gap = grams[0] - grams[1]
        gaps.append(np.abs(gap).mean() if distance == "l1" else (gap**2).mean())
        shares.append(np.mean(weights[first : first + points]))
    return weighted(gaps, shares, 1e-4)


def loop_contrast(own, target, weights):
    unit = lambda v: v / np.linalg.norm(v)  # noqa: E731
    losses = []
    for i, a in enumerate(own):
        logits = [unit(a) @ unit(b) / 0.07 for b in target]
        losses.append(math.log(sum(math.exp(x) for x in logits)) - logits[i])
    return weighted(losses, weights)


def attention(rows, temperature=0.5):
    """Of places and of channels, by sample."""
    place, channel = np.zeros(len(rows)), {}
    for one in (0, 1):
        index = [i for i, s in enumerate(SAMPLE.tolist()) if s == one]
        risen = np.exp([np.abs(rows[i]).mean() / temperature for i in index])
        place[index] = len(index) * risen / risen.sum()
        mean = np.exp(np.mean([np.abs(rows[i]) for i in index], 0) / temperature)
        channel[one] = WIDTH * mean / mean.sum()
    return place, channel


def loop_attention_weighted(own, target, weights):
    place, channel = attention(target)
    gaps = [
        ((a - b) ** 2 * channel[s]).mean() * p
        for a, b, s, p in zip(own, target, SAMPLE.tolist(), place, strict=True)
    ]
    return weighted(gaps, weights)


def loop_attention_gap(own, target, weights):
    first, second = attention(own), attention(target)
    places = weighted(np.abs(first[0] - second[0]), weights)
    return places + np.mean([np.abs(first[1][s] - second[1][s]).mean() for s in (0, 1)])


def loop_response(own, target, weights):
    sigmoid = lambda x: min(max(1 / (1 + math.exp(-x)), 1e-4), 1 - 1e-4)  # noqa: E731
    gaps = [
        abs(sigmoid(max(a)) - sigmoid(max(b) / 2))
        for a, b in zip(own.tolist(), target.tolist(), strict=True)
    ]
    return weighted(gaps, weights, 1e-4)


CASES = {
    "absolute": (bev.absolute, loop_absolute, {}),
    "squared": (bev.squared, loop_squared, {}),
    "gram": (bev.gram_relation, loop_gram, dict(points=4)),
    "gram_l2": (bev.gram_relation, loop_gram, dict(points=3, distance="l2")),
    "gram_channels": (
        bev.gram_relation,
        loop_gram,
        dict(points=6, relates="channels", distance="l2"),
    ),
    "contrast": (bev.point_contrast, loop_contrast, {}),
    "attention_weighted": (bev.attention_weighted, loop_attention_weighted, {}),
    "attention_gap": (bev.attention_gap, loop_attention_gap, {}),
    "response": (bev.max_class_response, loop_response, {}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_value_equals_loops_and_the_student_alone_learns(name, weights):
    loss, loops, arguments = CASES[name]
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    sample = dict(sample=SAMPLE) if name.startswith("attention") else {}
    found = loss(student, teacher, weights=weights, **sample, **arguments)
    known = np.ones(ROWS) if weights is None else weights.numpy()
    assert found.item() == pytest.approx(
        loops(STUDENT.numpy(), TEACHER.numpy(), known, **arguments)
    )
    found.backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_that_of_the_value(name):
    loss, _, arguments = CASES[name]
    sample = dict(sample=SAMPLE) if name.startswith("attention") else {}

    def value(student):
        return loss(student, TEACHER, weights=WEIGHTS, **sample, **arguments)

    assert torch.autograd.gradcheck(value, STUDENT.clone().requires_grad_())


@pytest.mark.parametrize("name", CASES)
def test_nothing_to_compare_is_zero_with_gradient(name):
    loss, _, arguments = CASES[name]
    for rows, weights in ((0, None), (0, torch.zeros(0)), (ROWS, torch.zeros(ROWS))):
        if name == "attention_gap" and rows:
            continue  # attention of channels hangs on no weight
        student = STUDENT[:rows].clone().requires_grad_()
        found = loss(student, TEACHER[:rows], weights=weights, **arguments)
        assert found.item() == 0
        found.backward()
        assert student.grad is not None
        assert not student.grad.any()


def test_rows_without_direction_have_no_gradient():
    student = torch.zeros(ROWS, WIDTH, requires_grad=True)
    bev.gram_relation(student, TEACHER, points=4).backward()
    assert student.grad.isfinite().all()


def test_relation_takes_unequal_widths_and_channels_do_not():
    wide = drawn(3, width=9)
    assert bev.gram_relation(STUDENT, wide, points=4) > 0
    with pytest.raises(ValueError, match="width"):
        bev.gram_relation(STUDENT, wide, points=4, relates="channels")


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match="whole boxes, 9 each, got 12"):
        bev.gram_relation(STUDENT, TEACHER)
    with pytest.raises(ValueError, match="expected a distance of"):
        bev.gram_relation(STUDENT, TEACHER, points=4, distance="cosine")
    with pytest.raises(ValueError, match="temperature must be above 0"):
        bev.max_class_response(STUDENT, TEACHER, temperatures=(0.0, 1.0))
    with pytest.raises(ValueError, match="expected weights"):
        bev.absolute(STUDENT, TEACHER, WEIGHTS[:3])
    with pytest.raises(ValueError, match="at least one class"):
        bev.surest(STUDENT[:, :0])


def test_boxes_without_size_do_not_divide_by_zero():
    same = STUDENT[:1].expand(9, -1)
    assert bev.gram_relation(same, same).item() == pytest.approx(0, abs=1e-9)
