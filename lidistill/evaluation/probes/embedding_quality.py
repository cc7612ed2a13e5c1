# SPDX-License-Identifier: Apache-2.0
"""How good matched embeddings are, without a label: alignment, uniformity, effective rank."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MOST_ROWS = 2048
"""Rows that the pairwise measures look at; evenly spaced ones of more."""


def alignment(student: Tensor, teacher: Tensor) -> float:
    """Mean squared distance of the two embeddings of one thing; 0 is best, 2 is chance.

    Args:
        student: (R, D) any length, R >= 1.
        teacher: (R, D) of the same things.

    Source: Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and
        Uniformity on the Hypersphere", ICML 2020, equation 1 with alpha = 2.
    """
    gap = F.normalize(student.float(), dim=1) - F.normalize(teacher.float(), dim=1)
    return float(gap.square().sum(1).mean())


def uniformity(embeddings: Tensor) -> float:
    """Log of the mean Gaussian potential of two different rows; lower is more even, 0 is collapse.

    Args:
        embeddings: (R, D) any length, R >= 2.

    Source: Wang and Isola, ICML 2020, equation 2 with t = 2.
    """
    unit = F.normalize(_thinned(embeddings).float(), dim=1)
    potential = torch.exp(-2.0 * torch.pdist(unit).square())
    return float(potential.mean().log())


def effective_rank(embeddings: Tensor) -> float:
    """Number of directions in use: exp of the entropy of the singular values; 1 is collapse.

    Args:
        embeddings: (R, D) unit length before averaging or not; not centred.

    Source: Garrido et al., "RankMe: Assessing the Downstream Performance of Pretrained
        Self-Supervised Representations by Their Rank", ICML 2023, equation 1.
    """
    singular = torch.linalg.svdvals(_thinned(embeddings).float())
    shares = singular / singular.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * (shares + 1e-7).log()).sum()))


def embedding_quality(student: Tensor, teacher: Tensor) -> dict[str, float]:
    """All measures of matched embeddings; none where there are fewer than two rows.

    Args:
        student: (R, D) embeddings from points.
        teacher: (R, D) embeddings from pixels.
    """
    if len(student) < 2:
        return {}
    return {
        "alignment": alignment(student, teacher),
        "uniformity_points": uniformity(student),
        "uniformity_pixels": uniformity(teacher),
        "rank_points": effective_rank(student),
        "rank_pixels": effective_rank(teacher),
    }


def _thinned(rows: Tensor) -> Tensor:
    """At most `MOST_ROWS` evenly spaced rows: no random draw, so nothing else changes."""
    if len(rows) <= MOST_ROWS:
        return rows
    return rows[torch.arange(MOST_ROWS, device=rows.device) * len(rows) // MOST_ROWS]
