# SPDX-License-Identifier: Apache-2.0
"""Focal loss against its formula element by element; derivatives against autograd."""

from __future__ import annotations

import math

import pytest
import torch

from lidistill.ops import focal_loss

GAMMA, ALPHA = 2.0, 0.25


def make_case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, 3, generator=generator, dtype=torch.float64) * 3
    return logits, torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3])  # 3: background


@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_equals_formula(weighted) -> None:
    logits, labels = make_case()
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64) if weighted else None
    found = focal_loss.sigmoid_focal_loss(logits, labels, weight, GAMMA, ALPHA)
    for row, label in enumerate(labels.tolist()):
        factor = weight[label].item() if weighted and label < 3 else 1.0
        for column in range(3):
            chance = 1 / (1 + math.exp(-logits[row, column]))
            if label == column:
                expected = -ALPHA * (1 - chance) ** GAMMA * math.log(chance)
            else:
                expected = -(1 - ALPHA) * chance**GAMMA * math.log(1 - chance)
            assert found[row, column].item() == pytest.approx(factor * expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_gradient_equals_autograd(weighted) -> None:
    logits, labels = make_case()
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64) if weighted else None
    logits.requires_grad_()
    focal_loss.sigmoid_focal_loss(logits, labels, weight, GAMMA, ALPHA).sum().backward()
    found = focal_loss.sigmoid_focal_loss_grad(logits.detach(), labels, weight, GAMMA, ALPHA)
    torch.testing.assert_close(found, logits.grad)


@pytest.mark.parametrize("weighted", [False, True])
def test_softmax_value_and_gradient(weighted) -> None:
    logits, labels = make_case()
    labels = torch.where(labels == 3, -1, labels)  # ignored rows
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64) if weighted else None
    logits.requires_grad_()
    chances = logits.softmax(1)
    found = focal_loss.softmax_focal_loss(chances, labels, weight, GAMMA, ALPHA)
    for row, label in enumerate(labels.tolist()):
        chance = chances[row, label].item()
        factor = weight[label].item() if weighted else 1.0
        expected = -factor * ALPHA * (1 - chance) ** GAMMA * math.log(chance)
        assert found[row].item() == pytest.approx(expected if label >= 0 else 0.0)
    found.sum().backward()
    grad = focal_loss.softmax_focal_loss_grad(chances.detach(), labels, weight, GAMMA, ALPHA)
    torch.testing.assert_close(grad, logits.grad)


def test_sure_logits_stay_finite() -> None:
    logits = torch.tensor([[200.0, -200.0]])
    for label in (0, 1):
        labels = torch.tensor([label])
        for function in (focal_loss.sigmoid_focal_loss, focal_loss.sigmoid_focal_loss_grad):
            assert function(logits, labels, None, GAMMA, ALPHA).isfinite().all()


def test_no_rows() -> None:
    logits, labels = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    assert focal_loss.sigmoid_focal_loss(logits, labels, None, GAMMA, ALPHA).shape == (0, 3)
    assert focal_loss.softmax_focal_loss(logits, labels, None, GAMMA, ALPHA).shape == (0,)


def test_half_precision_is_computed_in_float32() -> None:
    """A chance of 0.001 is lost in the 1 - chance of bfloat16, and with it the negatives' loss."""
    logits = torch.full((4, 3), -6.9).bfloat16()
    labels = torch.full((4,), 3)
    for function in (focal_loss.sigmoid_focal_loss, focal_loss.sigmoid_focal_loss_grad):
        found = function(logits, labels, None, GAMMA, ALPHA)
        torch.testing.assert_close(found, function(logits.float(), labels, None, GAMMA, ALPHA))
