# SPDX-License-Identifier: Apache-2.0
"""Losses that pull one feature towards another, without negatives.

All take rows: places (cells, voxels, points) of all samples under each other, so that any choice of
places and any weights apply to each of them. A dense map is the case of all its cells.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from lidistill.losses.contrastive import zero_loss
from lidistill.losses.rows import (
    SHORTEST,
    centred,
    check_rows,
    check_temperature,
    directions,
    divisor,
    length_of,
    measure_of,
    row_weights,
    sample_sum,
    samples_of,
)

Standardise = Literal["places", "channels"]
"""Over what a channel or a place is brought to mean 0 and deviation 1."""


def normalized_l2(point_features: Tensor, pixel_features: Tensor) -> Tensor:
    """Mean distance, not squared, between unit vectors.

    Args:
        point_features: (P, D) student features of the pairs' points.
        pixel_features: (P, D) teacher features of the pairs' pixels.

    Returns:
        Scalar in 0 .. 2; zero with gradient if P is 0. Where the vectors coincide, and for a vector
        of zeros, which has no direction, the gradient is 0.

    Source: Puy et al., "Three Pillars Improving Vision Foundation Model Distillation for Lidar"
        (ScaLR), CVPR 2024, equation 1.
    """
    if point_features.shape != pixel_features.shape or point_features.ndim != 2:
        raise ValueError(
            "expected two tensors of one shape (P, D), got "
            f"{tuple(point_features.shape)} and {tuple(pixel_features.shape)}"
        )
    double = torch.float64 in (point_features.dtype, pixel_features.dtype)
    dtype = torch.float64 if double else torch.float32
    points, pixels = point_features.to(dtype), pixel_features.to(dtype)
    if len(points) == 0:
        return zero_loss(points, pixels)
    return torch.linalg.vector_norm(directions(points) - directions(pixels), dim=1).mean()


def fitnet(student: Tensor, teacher: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared difference; a connector (the paper's regressor) joins unequal widths.

    Args:
        student: (R, C) rows.
        teacher: (R, C) rows.
        weights: (R,) of the places; None = 1.

    Returns:
        Scalar; zero with gradient if there are no rows or all weights are 0.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    shares = row_weights(student, weights)
    if shares is None:
        return zero_loss(student, teacher)
    return (shares * (student - teacher).square().mean(1)).sum()


def attention_transfer(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    sample: Tensor | None = None,
) -> Tensor:
    """Squared difference of normalised spatial attention, the mean of the squared channels.

    Args:
        student: (R, C_s) rows.
        teacher: (R, C_t) rows; widths may differ.
        weights: (R,); None = 1.
        sample: (R,) integer sample of each row, each normalised for itself; None = one sample.

    Returns:
        Scalar, the mean over places; zero with gradient if there are none.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, equation 2,
        p = 2; mean instead of sum over places, as in mdistiller.
    """
    student, teacher = check_rows(student, teacher)
    shares = row_weights(student, weights)
    if shares is None:
        return zero_loss(student, teacher)
    ids, count = samples_of(sample, student)
    weight = measure_of(shares)

    def attention(rows: Tensor) -> Tensor:
        values = rows.square().mean(1)  # (R,)
        squares = sample_sum(weight * values.square(), ids, count)
        return values / divisor(length_of(squares, SHORTEST**2))[ids]  # values are squares

    return (shares * (attention(student) - attention(teacher)).square()).sum()


def channel_wise(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    sample: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """CWD: KL divergence of each channel's softmax over the places of a sample.

    Args:
        student: (R, C) rows.
        teacher: (R, C) rows.
        weights: (R,) measure of the places in both softmaxes; None = 1; 0 leaves a place out.
        sample: (R,) integer sample of each row; None = one sample.
        temperature: divides the features; the loss is multiplied by its square.

    Returns:
        Scalar, the mean over samples with places and over channels; zero with gradient without.

    Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    check_temperature(temperature)
    if row_weights(student, weights) is None:
        return zero_loss(student, teacher)
    if weights is not None:
        kept = weights > 0
        student, teacher, weights = student[kept], teacher[kept], weights[kept]
        sample = None if sample is None else sample[kept]
    ids, count = samples_of(sample, student)
    measure = 0.0 if weights is None else weights.detach().to(student).log().unsqueeze(1)

    def log_softmax(rows: Tensor) -> Tensor:
        logits = rows / temperature + measure  # (R, C)
        top = logits.detach().new_full((count, rows.shape[1]), -torch.inf)
        top = top.scatter_reduce(0, ids[:, None].expand_as(logits), logits.detach(), "amax")
        mass = sample_sum((logits - top[ids]).exp(), ids, count)
        return logits - top[ids] - mass.log()[ids]

    own, target = log_softmax(student), log_softmax(teacher)
    divergence = (target.exp() * (target - own)).sum()
    return temperature**2 * divergence / (count * student.shape[1])


def pearson_knowledge(
    student: Tensor, teacher: Tensor, weights: Tensor | None = None, eps: float = 1e-6
) -> Tensor:
    """PKD: half the mean squared difference of standardised channels, 1 - Pearson correlation.

    It sees neither scale nor offset of a channel, so equal widths need no connector.

    Args:
        student: (R, C) rows.
        teacher: (R, C) rows.
        weights: (R,); None = 1.
        eps: added to the deviations.

    Returns:
        Scalar in 0 .. 2; zero with gradient for fewer than two places. A channel that is the same
        everywhere correlates with nothing: it counts as 0, or half where the other side's varies.

    Source: Cao et al., "PKD: General Distillation Framework for Object Detectors via Pearson
        Correlation Coefficient", NeurIPS 2022, equation 6; deviations are unbiased as in mmrazor.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    shares = row_weights(student, weights)
    if shares is None or len(student) < 2:
        return zero_loss(student, teacher)
    count = measure_of(shares).sum()  # rows that count
    unbiased = count / (count - 1).clamp(min=1e-6)

    def standardised(rows: Tensor) -> Tensor:
        gaps = centred(rows, shares)
        return gaps / (divisor(length_of(unbiased * (shares @ gaps.square()))) + eps)

    gap = standardised(student) - standardised(teacher)
    return 0.5 * (shares @ gap.square()).mean()


def variational_information(
    student: Tensor,
    teacher: Tensor,
    log_scale: Tensor,
    weights: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """VID: negative log-likelihood of the teacher under a Gaussian around the student's prediction.

    Args:
        student: (R, C) the connector's output, the means.
        teacher: (R, C) rows.
        log_scale: (C,) trained; the variances are ``softplus(log_scale) + eps``.
        weights: (R,); None = 1.
        eps: smallest variance.

    Returns:
        Scalar, the mean over places and channels; may be negative.

    Source: Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019,
        equation 5.
    """
    student, teacher = check_rows(student, teacher, same_width=True)
    shares = row_weights(student, weights)
    if shares is None:
        return zero_loss(student, teacher, log_scale)
    variance = torch.nn.functional.softplus(log_scale.to(student)) + eps
    gap = (student - teacher).square()
    return 0.5 * (shares @ (gap / variance + variance.log())).mean()


def orthogonal_projection(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor | None = None,
    eps: float = 1e-6,
    standardise: Standardise = "places",
) -> Tensor:
    """V_kD: distance of the projected student to the standardised teacher.

    With :class:`lidistill.distill.connectors.Orthogonal` as connector: neither side can shrink.

    Args:
        student: (R, C) rows after an orthogonal connector.
        teacher: (R, C) rows.
        weights: (R,); None = 1.
        eps: added to the deviations, or to the variances over channels.
        standardise: the teacher's rows. ``"places"``: each channel over the places, which keeps
            what differs from place to place, the matter of a detector, and how weakly an empty
            place answers. ``"channels"``: each place over its channels, as in the authors' release
            (a layer norm of the tokens of an image), which makes every place equally loud.

    Returns:
        Scalar, the mean smooth L1 distance over places and channels.

    Raises:
        ValueError: another way to standardise.

    Source: Miles, Elezi, Deng, "V_kD: Improving Knowledge Distillation using Orthogonal
        Projections", CVPR 2024, section 3.
    """
    if standardise not in get_args(Standardise):
        raise ValueError(
            f"standardise: expected one of {get_args(Standardise)}, got {standardise!r}"
        )
    student, teacher = check_rows(student, teacher, same_width=True)
    shares = row_weights(student, weights)
    if shares is None:
        return zero_loss(student, teacher)
    if standardise == "places":
        gaps = centred(teacher, shares)
        target = gaps / ((shares @ gaps.square()).sqrt() + eps)
    else:
        target = torch.nn.functional.layer_norm(teacher, teacher.shape[1:], eps=eps)
    gap = torch.nn.functional.smooth_l1_loss(student, target, reduction="none")
    return (shares @ gap).mean()
