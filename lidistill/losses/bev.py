# SPDX-License-Identifier: Apache-2.0
"""Losses of distillation in bird's-eye view, on rows of chosen places or of points of boxes.

But for those on attention, which count samples, none waits for a GPU: sums of weights stay tensors,
and an empty batch is a sum over nothing. Rows without weight and batches without rows are zero,
with gradient.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from lidistill.losses.contrastive import USUAL_TEMPERATURE, info_nce, zero_loss
from lidistill.losses.gather import total_over_ranks, world_size
from lidistill.losses.rows import (
    check_rows,
    check_temperature,
    directions,
    divisor,
    length_of,
    sample_sum,
    samples_of,
)

EPS = 1e-4
"""Added to counts and lengths in UniDistill's release."""
TINY = 1e-30
Distance = Literal["l1", "l2"]
Relates = Literal["points", "channels"]


def weighted_mean(
    values: Tensor, weights: Tensor | None = None, eps: float = 0.0, over_ranks: bool = False
) -> Tensor:
    """Mean of values (R,), zero with gradient where there is no weight.

    Args:
        values: (R,).
        weights: (R,) without gradient; None = 1.
        eps: added to the sum of the weights.
        over_ranks: divide by the mean of the ranks' sums instead of the own: what
            DistributedDataParallel then averages is the mean of the joined batch. Every rank must
            call this, also one without rows.
    """
    if weights is None and not over_ranks:
        return values.sum() / max(len(values) + eps, TINY)
    weights = torch.ones_like(values) if weights is None else weights.detach().to(values)
    if weights.shape != values.shape:
        raise ValueError(f"expected weights {tuple(values.shape)}, got {tuple(weights.shape)}")
    total = weights.sum()
    if over_ranks:
        total = total_over_ranks(total, "all") / world_size("all")
    return (weights * values).sum() / (total + eps).clamp(min=TINY)


def absolute(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    eps: float = EPS,
    over_ranks: bool = False,
) -> Tensor:
    """Mean absolute difference: UniDistill's feature loss on points, its response on boxes.

    Args:
        student: (R, C) rows.
        teacher: (R, C) rows.
        weights: (R,); None = 1.
        eps: see :func:`weighted_mean`; 9 eps for nine points a box is the release's eps a box.
        over_ranks: see :func:`weighted_mean`.

    Returns:
        Scalar, the weighted mean over rows of the mean over channels.

    Source: UniDistill, CVPR 2023, section 3.2, equation 2.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    return weighted_mean((student - teacher).abs().mean(1), weights, eps, over_ranks)


def squared(
    student: Tensor, teacher: Tensor, weights: Tensor | None = None, eps: float = 0.0
) -> Tensor:
    """Mean squared difference: VCD's and BEVDistill's dense term; see :func:`absolute`."""
    student, teacher = check_rows(student, teacher, same_width=True)
    return weighted_mean((student - teacher).square().mean(1), weights, eps)


def gram_relation(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    points: int = 9,
    distance: Distance = "l1",
    relates: Relates = "points",
    eps: float = EPS,
    over_ranks: bool = False,
) -> Tensor:
    """How the points of one box resemble each other, or how its channels do.

    Args:
        student: (M * points, C_s) rows, box by box.
        teacher: (M * points, C_t) rows; C_s may differ where points are related.
        weights: (M * points,); a box weighs the mean of its points; None = 1.
        points: rows of a box.
        distance: ``"l1"`` (UniDistill) or ``"l2"`` (TiG-BEV).
        relates: ``"points"``: cosines of all pairs of points; ``"channels"``: cosines of all pairs
            of channels as vectors over the points (TiG-BEV).
        eps: added to lengths and to the number of boxes.
        over_ranks: see :func:`weighted_mean`.

    Returns:
        Scalar, the mean over boxes of the mean over pairs.

    Source: UniDistill, CVPR 2023, section 3.3, equation 4; TiG-BEV, 2022, section 3.3.
    """
    check_points(student, points)
    if distance not in get_args(Distance) or relates not in get_args(Relates):
        raise ValueError(
            f"expected a distance of {get_args(Distance)} and relations of {get_args(Relates)}, "
            f"got {distance!r} and {relates!r}"
        )
    student, teacher = check_rows(student, teacher, same_width=relates == "channels")
    if len(student) == 0 and not over_ranks:
        return zero_loss(student)

    def gram(rows: Tensor) -> Tensor:
        vectors = rows.unflatten(0, (-1, points)) if len(rows) else rows.new_zeros(0, points, 1)
        vectors = vectors if relates == "points" else vectors.transpose(1, 2)
        products = vectors @ vectors.transpose(1, 2)  # (M, K, K)
        length = length_of(products.diagonal(dim1=1, dim2=2))
        scale = (divisor(length) + eps).reciprocal()  # lengths cost less here than along the rows
        return scale[:, :, None] * products * scale[:, None]

    gap = gram(student) - gram(teacher)
    gap = gap.abs() if distance == "l1" else gap.square()
    of_box = gap.flatten(1).mean(1) if len(gap) else gap.new_zeros(0)
    weights = None if weights is None else weights.view(-1, points).mean(1)
    return weighted_mean(of_box, weights, eps, over_ranks) + zero_loss(student)


def point_contrast(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    temperature: float = USUAL_TEMPERATURE,
) -> Tensor:
    """InfoNCE of places: a student's row against the teacher's rows of all other places.

    Args:
        student: (R, C) rows.
        teacher: (R, C) rows.
        weights: (R,) of the anchors; None = 1. One over the size of its region lets regions of all
            sizes count the same (CALICO).
        temperature: divides the cosines.

    Returns:
        Scalar.

    Source: Chen et al., "BEVDistill: Cross-Modal BEV Distillation for Multi-View 3D Object
        Detection", ICLR 2023, section 3.3.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    keys, queries = directions(teacher), directions(student)
    return info_nce(queries, keys, temperature, anchor_weights=weights)


def attention_weighted(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    sample: Tensor | None = None,
    temperature: float = 0.5,
) -> Tensor:
    """Squared difference, heavier where and in which channels the teacher is loud.

    Args:
        student: (R, C) rows.
        teacher: (R, C) rows.
        weights: (R,); None = 1.
        sample: (R,) sample of each row, a softmax for itself; None = one sample.
        temperature: of the softmax over places and of that over channels.

    Returns:
        Scalar, the weighted mean over rows.

    Source: DistillBEV, ICCV 2023, equation 4 (after FGD, CVPR 2022, equation 8).
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    check_temperature(temperature)
    if len(student) == 0:
        return zero_loss(student)
    ids, count = samples_of(sample, teacher)
    place, channel = _attention(teacher, ids, count, temperature)
    gap = (student - teacher).square() * channel[ids] * place[:, None]
    return weighted_mean(gap.mean(1), weights)


def attention_gap(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    sample: Tensor | None = None,
    temperature: float = 0.5,
) -> Tensor:
    """Mean absolute difference of spatial and of channel attention; widths may not differ.

    Args and Source: see :func:`attention_weighted`; DistillBEV's equation 5.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    check_temperature(temperature)
    if len(student) == 0:
        return zero_loss(student)
    ids, count = samples_of(sample, teacher)
    own, target = (_attention(rows, ids, count, temperature) for rows in (student, teacher))
    return weighted_mean((own[0] - target[0]).abs(), weights) + (own[1] - target[1]).abs().mean()


def max_class_response(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    temperatures: tuple[float, float] = (1.0, 2.0),
    clamp: float = 1e-4,
    eps: float = EPS,
    over_ranks: bool = False,
) -> Tensor:
    """Absolute difference of how sure both are that there is an object of any class.

    Args:
        student: (R, K) heatmap logits of all tasks side by side.
        teacher: (R, K) logits.
        weights: (R,); None = 1.
        temperatures: what the student's and the teacher's logits are divided by; in the release
            the teacher's alone.
        clamp: probabilities are kept this far from 0 and 1.
        eps: added to the sum of the weights.
        over_ranks: see :func:`weighted_mean`.

    Returns:
        Scalar. The gradient goes to the student's surest class.

    Source: UniDistill, CVPR 2023, section 3.4, equation 5.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    own, target = surest(student, temperatures[0], clamp), surest(teacher, temperatures[1], clamp)
    return weighted_mean((own - target).abs(), weights, eps, over_ranks)


def check_points(rows: Tensor, points: int) -> None:
    """Refuse rows (R, C) that are no whole boxes.

    Raises:
        ValueError: R is no multiple of ``points``.
    """
    if points < 1 or len(rows) % points:
        raise ValueError(
            f"expected rows of whole boxes, {points} each, got {len(rows)}; choose places by box "
            f"points (BoxPoints) and give their number as `points`"
        )


def surest(logits: Tensor, temperature: float = 1.0, clamp: float = 1e-4) -> Tensor:
    """(R,) probability of the likeliest class of logits (R, K), kept off 0 and 1 by ``clamp``."""
    check_temperature(temperature)
    if logits.shape[1] == 0:
        raise ValueError("expected at least one class, got rows of none")
    return (logits.max(1).values / temperature).sigmoid().clamp(clamp, 1 - clamp)


def _attention(rows: Tensor, ids: Tensor, count: int, temperature: float) -> tuple[Tensor, Tensor]:
    """(R,) of places, their mean 1 in each sample, and (samples, C) of channels, mean 1."""
    loud = rows.abs()
    logits = loud.mean(1) / temperature
    top = logits.new_full((count,), -torch.inf).scatter_reduce(0, ids, logits.detach(), "amax")
    risen = (logits - top[ids]).exp()
    size = sample_sum(torch.ones_like(risen), ids, count)
    place = size[ids] * risen / sample_sum(risen, ids, count)[ids]
    mean = sample_sum(loud, ids, count) / size[:, None]
    return place, rows.shape[1] * torch.softmax(mean / temperature, 1)
