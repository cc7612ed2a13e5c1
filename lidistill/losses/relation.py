# SPDX-License-Identifier: Apache-2.0
"""Losses that compare how places relate to each other; widths of the two sides may differ.

All take rows (R, C) of the same places and need R^2 (the angle loss R^3) memory: choose places
first. NST alone relates channels and takes any number of rows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.losses.contrastive import zero_loss
from lidistill.losses.rows import (
    SHORTEST,
    check_rows,
    directions,
    divisor,
    length_of,
    measure_of,
    row_weights,
    sample_sum,
    samples_of,
)

MAX_PLACES = 4096
MAX_ANGLE_PLACES = 256


def similarity_preserving(
    student: Tensor, teacher: Tensor, weights: Tensor | None = None
) -> Tensor:
    """SP: squared difference of Gram matrices with unit rows.

    Args:
        student: (R, C_s) rows.
        teacher: (R, C_t) rows.
        weights: (R,); an entry (i, j) counts ``weight_i * weight_j``; None = 1.

    Returns:
        Scalar, the mean over pairs; zero with gradient if there are none.

    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, equation 4;
        rows are whole samples there, places of a scene are the use in detection.
    """
    student, teacher = check_rows(student, teacher)
    shares = _pair_shares(student, weights)
    if shares is None:
        return zero_loss(student, teacher)
    measure = measure_of(shares)

    def gram(rows: Tensor) -> Tensor:
        products = rows @ rows.T
        return products / divisor(length_of(products.square() @ measure, SHORTEST**2)).unsqueeze(1)

    own, target = gram(student), gram(teacher)
    return shares @ (own - target).square() @ shares


def relational_distance(
    student: Tensor, teacher: Tensor, weights: Tensor | None = None, eps: float = 1e-12
) -> Tensor:
    """RKD's distance term: smooth L1 of pair distances in units of their mean.

    Args:
        student: (R, C_s) rows.
        teacher: (R, C_t) rows.
        weights: (R,); pairs count ``weight_i * weight_j``; None = 1.
        eps: smallest squared distance.

    Returns:
        Scalar, the mean over all R^2 pairs.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, equations 5 to 7.
    """
    student, teacher = check_rows(student, teacher)
    shares = _pair_shares(student, weights)
    if shares is None:
        return zero_loss(student, teacher)
    pairs = shares[:, None] * shares[None]

    def distances(rows: Tensor) -> Tensor:
        rows = rows - rows[:1].detach()  # the farther from 0, the less is left of small gaps
        squared = rows.square().sum(1)
        product = squared[:, None] + squared[None] - 2 * rows @ rows.T
        own = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        distance = product.clamp(min=eps).sqrt().masked_fill(own, 0.0)
        positive = pairs * (distance > 0)
        # eps alone is no distance: places that are all alike have none, one place neither
        mean = (positive * distance).sum() / positive.sum().clamp(min=1e-30)
        return distance / divisor(mean, 2 * eps**0.5)

    gap = F.smooth_l1_loss(distances(student), distances(teacher), reduction="none")
    return (pairs * gap).sum()


def relational_angle(student: Tensor, teacher: Tensor, weights: Tensor | None = None) -> Tensor:
    """RKD's angle term: smooth L1 of the cosines at every vertex of every triple of places.

    Args:
        student: (R, C_s) rows, at most 256: the work is R^3.
        teacher: (R, C_t) rows.
        weights: (R,); triples count the product of three; None = 1.

    Returns:
        Scalar, the mean over all R^3 triples.

    Raises:
        ValueError: too many rows.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, equations 8 and 9.
    """
    student, teacher = check_rows(student, teacher)
    shares = _pair_shares(student, weights, MAX_ANGLE_PLACES)
    if shares is None:
        return zero_loss(student, teacher)

    def cosines(rows: Tensor) -> Tensor:
        gaps = rows[None] - rows[:, None]  # (R, R, C), zero on the diagonal
        unit = directions(gaps, 2)
        return unit @ unit.transpose(1, 2)  # (R, R, R), vertex first

    gap = F.smooth_l1_loss(cosines(student), cosines(teacher), reduction="none")
    return torch.einsum("i,j,k,ijk->", shares, shares, shares, gap)


def relational(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
) -> Tensor:
    """RKD: both terms at mdistiller's weights; see the two functions above."""
    loss = distance_weight * relational_distance(student, teacher, weights)
    if angle_weight:
        loss = loss + angle_weight * relational_angle(student, teacher, weights)
    return loss


def neuron_selectivity(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    sample: Tensor | None = None,
) -> Tensor:
    """NST: squared maximum mean discrepancy of the channels' spatial maps, kernel (a . b)^2.

    Args:
        student: (R, C_s) rows.
        teacher: (R, C_t) rows.
        weights: (R,) measure of the places in the inner product; None = 1.
        sample: (R,) integer sample of each row; None = one sample.

    Returns:
        Scalar, the mean over samples with places and over pairs of channels.

    Source: Huang and Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity
        Transfer", 2017, equation 7 with the polynomial kernel.
    """
    student, teacher = check_rows(student, teacher)
    shares = row_weights(student, weights)
    if shares is None:
        return zero_loss(student, teacher)
    ids, count = samples_of(sample, student)
    weight = measure_of(shares).unsqueeze(1)

    def unit_maps(rows: Tensor) -> Tensor:
        norms = divisor(length_of(sample_sum(weight * rows.square(), ids, count)))
        return weight.sqrt() * rows / norms[ids]

    maps_s, maps_t = unit_maps(student), unit_maps(teacher)
    total = student.new_zeros(())
    for one in range(count):
        own, target = maps_s[ids == one], maps_t[ids == one]
        total = total + (target.T @ target).square().mean() + (own.T @ own).square().mean()
        total = total - 2 * (own.T @ target).square().mean()
    return total / count


def probabilistic_transfer(
    student: Tensor, teacher: Tensor, weights: Tensor | None = None, eps: float = 1e-7
) -> Tensor:
    """PKT: KL divergence of rows of cosine similarities, mapped to [0, 1] and normalised.

    Args:
        student: (R, C_s) rows.
        teacher: (R, C_t) rows.
        weights: (R,) measure of the places; None = 1.
        eps: added to the norms and to both probabilities.

    Returns:
        Scalar, the mean over all R^2 pairs.

    Source: Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge
        Transfer", ECCV 2018, equations 5 to 7.
    """
    student, teacher = check_rows(student, teacher)
    shares = _pair_shares(student, weights)
    if shares is None:
        return zero_loss(student, teacher)

    measure = measure_of(shares)

    def probabilities(rows: Tensor) -> Tensor:
        unit = directions(rows, eps=eps)
        similarity = ((unit @ unit.T + 1) / 2).clamp(min=0.0)  # rounding goes below -1
        return similarity / divisor(similarity @ measure, SHORTEST).unsqueeze(1)

    target, own = probabilities(teacher), probabilities(student)
    divergence = target * ((target + eps) / (own + eps)).log()
    return shares @ divergence @ shares


def _pair_shares(rows: Tensor, weights: Tensor | None, limit: int = MAX_PLACES) -> Tensor | None:
    if len(rows) > limit:
        raise ValueError(
            f"this loss relates all places with each other and takes at most {limit}, got "
            f"{len(rows)}; choose places first, e.g. dict(type=RandomPlaces, count={limit})"
        )
    return row_weights(rows, weights)
