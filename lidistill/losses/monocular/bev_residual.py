# SPDX-License-Identifier: Apache-2.0
"""Bird's-eye-view features of a camera student beside an assistant's and a LiDAR teacher's."""

from __future__ import annotations

import torch
from torch import Tensor

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
    _check(student, target)
    gap = (student - target.detach()).square()
    if weights is None:
        return gap.mean() if gap.numel() else gap.sum()
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
        ``(maps - min) / max(maps - min)``; zeros where all values are equal.
    """
    raised = maps - maps.min()
    top = raised.max()
    return raised / torch.where(top > 0, top, torch.ones_like(top))


def residual(teacher: Tensor, assistant: Tensor) -> Tensor:
    """What the LiDAR knows and the assistant's camera does not: (B, C, Y, X), signed, no gradient.

    Source: MonoTAKD (2404.04910), section 3.3, F_res = F_T - F_A.
    """
    _check(assistant, teacher)
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
    _check(assistant, teacher)
    gap = (assistant - teacher).abs().detach()
    return torch.where(gap < share * gap.max(), torch.zeros_like(gap), gap)


def summed_channels(student: Tensor, target: Tensor) -> Tensor:
    """CMKD's other form: squared difference of channel sums over their means, the mean over cells.

    Args:
        student: (B, C, Y, X); its mean takes no gradient.
        target: (B, C, Y, X).

    Source: CMKD (2203.15839), its release, ``SUM``; multiplied by 32 there.
    """
    _check(student, target)
    parts = [maps.sum(1) / (maps.shape[1] * maps.detach().mean()) for maps in (student, target)]
    return (parts[0] - parts[1].detach()).square().mean()


def _check(student: Tensor, target: Tensor) -> None:
    if student.shape != target.shape:
        raise ValueError(
            f"expected maps of one shape, got {tuple(student.shape)} and {tuple(target.shape)}; "
            "bring grid and channels together (ranges and strides in the config, or a connector)"
        )
