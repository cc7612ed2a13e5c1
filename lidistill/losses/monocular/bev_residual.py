# SPDX-License-Identifier: Apache-2.0
"""Bird's-eye-view features of a camera student beside an assistant's and a LiDAR teacher's."""

from __future__ import annotations

import torch
from torch import Tensor

from lidistill.losses.rows import SHORTEST
from lidistill.ops.precision import full_precision

EMPTY_WEIGHT = 0.05
"""Of cells in which the target has nothing, where empty cells weigh less."""


def squared_gap(student: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared difference of two maps.

    Args:
        student: (B, C, Y, X).
        target: (B, C, Y, X); takes no gradient.
        weights: (B, 1, Y, X) of cells, e.g. of :func:`filled_weights`, or None.

    Returns:
        Scalar; with weights the weighted mean over cells, and the mean over channels.

    Raises:
        ValueError: shapes that differ.

    Source: MonoTAKD (2404.04910), L_IMD and L_CMRD; CMKD (2203.15839), equation 1.
    """
    student, target = _checked(student, target)
    gap = (student - target.detach()).square()
    if gap.numel() == 0:
        return gap.sum()
    if weights is None:
        return gap.mean()
    return (gap * weights).mean() * weights.numel() / weights.sum().clamp(min=1e-12)


def filled_weights(target: Tensor) -> Tensor:
    """(B, 1, Y, X): 1 in cells that hold something, :data:`EMPTY_WEIGHT` in the others."""
    filled = target.detach().sum(1, keepdim=True) != 0
    return torch.where(filled, 1.0, EMPTY_WEIGHT)


def min_max(maps: Tensor) -> Tensor:
    """A whole batch's map stretched to 0..1; differentiable, through its extremes too.

    Args:
        maps: any shape.

    Returns:
        ``(maps - min) / max(maps - min)``, float32 at least; zeros where all values are equal: no
        further apart than :data:`~lidistill.losses.rows.SHORTEST` of the largest.
    """
    maps = full_precision(maps)
    if maps.numel() == 0:
        return maps
    raised = maps - maps.min()
    top = raised.max()
    apart = top > SHORTEST * maps.detach().abs().max()
    return raised / torch.where(apart, top, torch.inf)


def residual(teacher: Tensor, assistant: Tensor) -> Tensor:
    """What the LiDAR knows and the assistant's camera does not: (B, C, Y, X), signed, no gradient.

    Source: MonoTAKD (2404.04910), section 3.3, F_res = F_T - F_A.
    """
    assistant, teacher = _checked(assistant, teacher)
    return (teacher - assistant).detach()


def key_residual(teacher: Tensor, assistant: Tensor, share: float = 0.6) -> Tensor:
    """The released residual: absolute, and zero below a share of its largest value; no gradient.

    Args:
        teacher: (B, C, Y, X) as it is.
        assistant: (B, C, Y, X) after :func:`min_max`.
        share: of the largest value.

    Differs from the paper: the two are of different scale (the teacher is not normalised), and the
        sign is lost. For parity with the authors' release.
    """
    assistant, teacher = _checked(assistant, teacher)
    gap = (assistant - teacher).abs().detach()
    return torch.where(gap < share * gap.max(), torch.zeros_like(gap), gap)


def summed_channels(student: Tensor, target: Tensor) -> Tensor:
    """CMKD's other form: squared difference of channel sums over their means, the mean over cells.

    Args:
        student: (B, C, Y, X); its mean takes no gradient.
        target: (B, C, Y, X).

    Returns:
        Scalar. A map whose mean is 0 counts as a map of zeros: the release divides by the mean.

    Source: CMKD (2203.15839), its release, ``SUM``; multiplied by 32 there.
    """
    student, target = _checked(student, target)
    if student.numel() == 0:
        return student.sum()
    parts = [maps.mean(1) / _divisor_of_mean(maps.detach()) for maps in (student, target)]
    return (parts[0] - parts[1].detach()).square().mean()


def _divisor_of_mean(maps: Tensor) -> Tensor:
    """The mean; infinite where it is lost in the rounding of what it is the mean of."""
    mean = maps.mean()
    return torch.where(mean.abs() > SHORTEST * maps.abs().max(), mean, torch.inf)


def _checked(student: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 at least."""
    if student.shape != target.shape:
        raise ValueError(
            f"expected maps of one shape, got {tuple(student.shape)} and {tuple(target.shape)}; "
            "bring grid and channels together (ranges and strides in the config, or a connector)"
        )
    return full_precision(student), full_precision(target)
