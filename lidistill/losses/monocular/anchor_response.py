# SPDX-License-Identifier: Apache-2.0
"""What a teacher's anchor head says of each anchor, as soft labels of a student's head."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.ops.precision import full_precision

LIKELY = 0.1
"""Probability above which an anchor counts as one that the teacher means."""
HEADING = 6


def soft_focal(student: Tensor, teacher: Tensor, beta: float = 2.0) -> Tensor:
    """Quality focal loss of class logits on the teacher's probabilities.

    Args:
        student: (B, A, K) logits of A anchors.
        teacher: (B, A, K) logits; no gradient.
        beta: how much less anchors weigh on which both agree.

    Returns:
        Scalar, the sum over anchors, classes and samples, each class of a sample over the number of
        anchors that the teacher means.

    Source: CMKD (2203.15839), section 3.3; MonoTAKD (2404.04910), L_logit. Times 2 there.
    """
    student, teacher = _checked(student, teacher)
    wanted = teacher.sigmoid()
    count = (wanted > LIKELY).sum(1, keepdim=True).clamp(min=1)  # (B, 1, K)
    gap = (student.sigmoid() - wanted).abs() ** beta
    entropy = F.binary_cross_entropy_with_logits(student, wanted, reduction="none")
    return (entropy * gap / count).sum()


def anchor_weights(teacher: Tensor) -> Tensor:
    """(B, A) how much each anchor's box and direction count: the teacher's summed probabilities.

    Args:
        teacher: (B, A, K) class logits.

    Returns:
        0 where the sum is not above :data:`LIKELY`, else the sum over the number of such anchors.
    """
    total = teacher.detach().sigmoid().sum(-1)
    likely = total > LIKELY
    return likely * total / likely.sum(1, keepdim=True).clamp(min=1)


def soft_boxes(
    student: Tensor,
    teacher: Tensor,
    weights: Tensor,
    beta: float = 1 / 9,
    heading: int | None = HEADING,
) -> Tensor:
    """Smooth L1 between regressed boxes; headings differ by the sine of their difference.

    Args:
        student: (B, A, 7+) as the head gives them.
        teacher: (B, A, 7+); no gradient.
        weights: (B, A).
        beta: where the loss turns from square to line.
        heading: which number is an angle, radians; None: none is (CenterPoint's sine and cosine).

    Returns:
        Scalar, the sum over anchors and numbers over B. Times 2 in the release.
    """
    student, teacher = _checked(student, teacher)
    gap = student - teacher
    if heading is not None:
        own, other = student[..., heading], teacher[..., heading]
        turn = own.sin() * other.cos() - own.cos() * other.sin()
        gap = torch.cat([gap[..., :heading], turn[..., None], gap[..., heading + 1 :]], -1)
    loss = F.smooth_l1_loss(gap, torch.zeros_like(gap), beta=beta, reduction="none")
    return (loss * weights[..., None]).sum() / max(len(student), 1)


def soft_directions(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy of direction logits on the teacher's choice.

    Args:
        student: (B, A, R) logits of R direction bins.
        teacher: (B, A, R).
        weights: (B, A).

    Returns:
        Scalar, the sum over anchors over B. Times 0.4 in the release.
    """
    student, teacher = _checked(student, teacher)
    chosen = teacher.argmax(-1)
    rows = math.prod(chosen.shape)
    loss = F.cross_entropy(
        student.reshape(rows, student.shape[-1]), chosen.reshape(rows), reduction="none"
    )
    return (loss * weights.reshape(rows)).sum() / max(len(student), 1)


def _checked(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 at least, the teacher without gradient."""
    if student.shape != teacher.shape or student.dim() != 3:
        raise ValueError(
            f"expected (B, anchors, n) on both sides, got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}; the heads must have the same anchors and classes"
        )
    return full_precision(student), full_precision(teacher.detach())
