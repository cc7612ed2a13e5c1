# SPDX-License-Identifier: Apache-2.0
"""Losses on what a head says: class logits and heatmaps. Rows are places, columns classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.losses.contrastive import zero_loss
from lidistill.losses.rows import (
    centred,
    check_rows,
    check_temperature,
    divisor,
    length_of,
    row_weights,
)

NONE = -1e30
"""Logit of a class that is left out: finite, where infinities would differ by no number."""


def softmax_kd(
    student: Tensor, teacher: Tensor, weights: Tensor | None = None, temperature: float = 4.0
) -> Tensor:
    """Hinton's distillation: KL divergence of tempered class distributions.

    Args:
        student: (R, K) logits of exclusive classes.
        teacher: (R, K) logits.
        weights: (R,); None = 1.
        temperature: divides the logits; the loss is multiplied by its square.

    Returns:
        Scalar, the mean over places; zero with gradient if there are none.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    shares = row_weights(student, weights)
    check_temperature(temperature)
    if shares is None:
        return zero_loss(student, teacher)
    own, target = (F.log_softmax(rows / temperature, 1) for rows in (student, teacher))
    divergence = (target.exp() * (target - own)).sum(1)
    return temperature**2 * (shares * divergence).sum()


def bernoulli_kd(
    student: Tensor, teacher: Tensor, weights: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """The same for sigmoid heads (heatmaps): KL divergence of one Bernoulli variable a class.

    Args:
        student: (R, K) logits, before any sigmoid.
        teacher: (R, K) logits.
        weights: (R,); None = 1.
        temperature: divides the logits; the loss is multiplied by its square.

    Returns:
        Scalar, the sum over classes, the mean over places.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    shares = row_weights(student, weights)
    check_temperature(temperature)
    if shares is None:
        return zero_loss(student, teacher)
    own, target = student / temperature, teacher / temperature
    yes = target.sigmoid() * (F.logsigmoid(target) - F.logsigmoid(own))
    no = (-target).sigmoid() * (F.logsigmoid(-target) - F.logsigmoid(-own))
    return temperature**2 * (shares * (yes + no).sum(1)).sum()


def decoupled_kd(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """DKD: Hinton's loss split into target against the rest, and among the rest.

    Args:
        student: (R, K) logits.
        teacher: (R, K) logits.
        target: (R,) integer true class.
        weights: (R,); None = 1.
        alpha: weight of target against rest.
        beta: weight of the distribution among the other classes.
        temperature: divides the logits; both terms are multiplied by its square.

    Returns:
        Scalar, the mean over places.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, equation 7.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    shares = row_weights(student, weights)
    check_temperature(temperature)
    if shares is None:
        return zero_loss(student, teacher)
    true = F.one_hot(target.long(), student.shape[1]).bool()

    def two_way(rows: Tensor) -> Tensor:
        log_p = F.log_softmax(rows / temperature, 1)
        rest = log_p.masked_fill(true, NONE).logsumexp(1)
        return torch.stack([log_p.masked_fill(~true, 0.0).sum(1), rest], 1)  # (R, 2)

    def among_rest(rows: Tensor) -> Tensor:
        return F.log_softmax((rows / temperature).masked_fill(true, NONE), 1)

    binary_s, binary_t = two_way(student), two_way(teacher)
    rest_s, rest_t = among_rest(student), among_rest(teacher)
    tckd = (binary_t.exp() * (binary_t - binary_s)).sum(1)
    nckd = (rest_t.exp() * (rest_t - rest_s)).sum(1)
    return temperature**2 * (shares * (alpha * tckd + beta * nckd)).sum()


def dist(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    temperature: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    eps: float = 1e-8,
) -> Tensor:
    """DIST: 1 - Pearson correlation of class distributions, by place and by class.

    Args:
        student: (R, K) logits.
        teacher: (R, K) logits.
        weights: (R,); None = 1.
        temperature: divides the logits; the loss is multiplied by its square.
        beta: weight of the correlation over the classes of a place.
        gamma: weight of the correlation over the places of a class.
        eps: added to the denominators.

    Returns:
        Scalar. Classes that are all as likely, or a class as likely everywhere, correlate with
        nothing: they count as 1, with gradient 0.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, equations
        9 to 11.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    shares = row_weights(student, weights)
    check_temperature(temperature)
    if shares is None:
        return zero_loss(student, teacher)
    own, target = (torch.softmax(rows / temperature, 1) for rows in (student, teacher))
    even = torch.full_like(own[0], 1.0 / own.shape[1])
    inter = 1 - (shares * _pearson(own, target, even, eps)).sum()
    intra = 1 - _pearson(own.T, target.T, shares, eps).mean()
    return temperature**2 * (beta * inter + gamma * intra)


def pivotal_logits(
    student: Tensor, teacher: Tensor, weights: Tensor | None = None, eps: float = 1e-6
) -> Tensor:
    """SparseKD's logit distillation: squared difference of sigmoid heatmaps at pivotal positions.

    Args:
        student: (R, K) heatmap logits, before any sigmoid.
        teacher: (R, K) heatmap logits.
        weights: (R,) how pivotal a place is: confident (0 or 1), among the teacher's first K, or
            :func:`pivotal_weights`; None = 1.
        eps: added to the sum of the weights.

    Returns:
        Scalar, the sum over classes and places over the sum of the weights.

    Source: Yang et al., "Towards Efficient 3D Object Detection with Knowledge Distillation",
        NeurIPS 2022, section 5.1; weight of this term there: 10 to 15 (voxels), 7 (pillars).
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    if row_weights(student, weights) is None:
        return zero_loss(student, teacher)
    mask = student.new_ones(len(student)) if weights is None else weights.detach().to(student)
    gap = (student.sigmoid() - teacher.sigmoid()).square().sum(1)
    return (mask * gap).sum() / (mask.sum() + eps)


def confident_boxes(student: Tensor, teacher: Tensor, weights: Tensor | None = None) -> Tensor:
    """Box regressions where a teacher is confident: their mean absolute difference.

    Args:
        student: (R, n) numbers of a box, as the head gives them.
        teacher: (R, n) of the same head.
        weights: (R,) the teacher's confidence; None = 1.

    Returns:
        Scalar, the sum over numbers, the mean over places; zero with gradient if there are none.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    shares = row_weights(student, weights)
    if shares is None:
        return zero_loss(student, teacher)
    return (shares * (student - teacher).abs().sum(1)).sum()


def pivotal_weights(teacher: Tensor, target_heatmap: Tensor) -> Tensor:
    """The shipped mask of the above: the teacher's confidence times the ground truth's Gaussian.

    Args:
        teacher: (R, K) heatmap logits.
        target_heatmap: (R,) largest class of the Gaussian target at each place, 0 .. 1.

    Returns:
        (R,) weights.
    """
    return teacher.detach().sigmoid().amax(1) * target_heatmap


def _pearson(first: Tensor, second: Tensor, shares: Tensor, eps: float) -> Tensor:
    """(R,) correlation of each row of two tensors (R, K) under the shares (K,)."""
    first, second = (centred(rows.T, shares).T for rows in (first, second))
    # sums, not means: eps is added to products of norms
    scale = float(len(shares))
    norms = length_of(first.square() @ shares * scale) * length_of(second.square() @ shares * scale)
    return (first * second) @ shares * scale / (divisor(norms) + eps)
