# SPDX-License-Identifier: Apache-2.0
"""Focal loss and its derivative, by element, as mmcv's CUDA kernels define them.

Source: Lin et al., "Focal loss for dense object detection", ICCV 2017, eq. 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lidistill.ops.precision import full_precision


def sigmoid_focal_loss(
    logits: Tensor, labels: Tensor, weight: Tensor | None, gamma: float, alpha: float
) -> Tensor:
    """Focal loss of each logit against one-hot labels.

    Args:
        logits: (N, C).
        labels: (N,) int64; a label outside 0..C-1 is background: no positive class in its row.
        weight: (C,) factor of a row by its label (1 for background), or None.
        gamma: focusing exponent.
        alpha: factor of positives; negatives have 1 - alpha.

    Returns:
        (N, C).
    """
    positive = _one_hot(logits, labels)
    chance, log_chance, log_rest = _sigmoid_logs(logits)
    loss_positive = -alpha * (1 - chance) ** gamma * log_chance
    loss_negative = -(1 - alpha) * chance**gamma * log_rest
    return torch.where(positive, loss_positive, loss_negative) * _row_weight(logits, labels, weight)


def sigmoid_focal_loss_grad(
    logits: Tensor, labels: Tensor, weight: Tensor | None, gamma: float, alpha: float
) -> Tensor:
    """Derivative of :func:`sigmoid_focal_loss` by its logits: (N, C)."""
    positive = _one_hot(logits, labels)
    chance, log_chance, log_rest = _sigmoid_logs(logits)
    rest = 1 - chance
    grad_positive = -alpha * rest**gamma * (rest - gamma * chance * log_chance)
    grad_negative = -(1 - alpha) * chance**gamma * (gamma * rest * log_rest - chance)
    return torch.where(positive, grad_positive, grad_negative) * _row_weight(logits, labels, weight)


def softmax_focal_loss(
    probabilities: Tensor, labels: Tensor, weight: Tensor | None, gamma: float, alpha: float
) -> Tensor:
    """Focal loss of each row's true class.

    Args:
        probabilities: (N, C) after the softmax.
        labels: (N,) int64; rows with a negative label have no loss.
        weight: (C,) factor by label, or None.
        gamma: focusing exponent.
        alpha: factor of all.

    Returns:
        (N,).
    """
    chance = _true_chance(probabilities, labels)
    loss = -alpha * (1 - chance) ** gamma * _safe_log(chance)
    loss = loss * _row_weight(probabilities, labels, weight)[:, 0]
    return torch.where(labels >= 0, loss, 0)


def softmax_focal_loss_grad(
    probabilities: Tensor, labels: Tensor, weight: Tensor | None, gamma: float, alpha: float
) -> Tensor:
    """Derivative of :func:`softmax_focal_loss` by the logits before the softmax: (N, C)."""
    chance = _true_chance(probabilities, labels)
    rest = 1 - chance
    inner = gamma * rest ** (gamma - 1) * chance * _safe_log(chance)
    slope = alpha * (inner - rest**gamma) * _row_weight(probabilities, labels, weight)[:, 0]
    slope = torch.where(labels >= 0, slope, 0)
    return slope[:, None] * (_one_hot(probabilities, labels).to(slope.dtype) - probabilities)


def _one_hot(scores: Tensor, labels: Tensor) -> Tensor:
    return labels[:, None] == torch.arange(scores.shape[1], device=scores.device)  # (N, C)


def _safe_log(chance: Tensor) -> Tensor:
    return chance.clamp(min=torch.finfo(torch.float32).tiny).log()


def _sigmoid_logs(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.sigmoid(full_precision(logits))  # in bfloat16, 1 - 0.001 is 1
    return chance, _safe_log(chance), _safe_log(1 - chance)


def _true_chance(probabilities: Tensor, labels: Tensor) -> Tensor:
    return full_precision(probabilities).gather(1, labels.clamp(min=0)[:, None])[:, 0]  # (N,)


def _row_weight(scores: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None or not weight.numel():
        return scores.new_ones((len(scores), 1))
    known = (labels >= 0) & (labels < len(weight))
    return torch.where(known, weight[labels.clamp(0, len(weight) - 1)], 1)[:, None]
