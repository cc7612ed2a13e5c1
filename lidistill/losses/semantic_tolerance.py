# SPDX-License-Identifier: Apache-2.0
"""ST-SLidR: weights that spare look-alike negatives and balance over-represented regions.

Source: Mahmoud et al., "Self-Supervised Image-to-Point Distillation via Semantically Tolerant
    Contrastive
Loss", CVPR 2023. None of these carries gradient: similarity comes from the frozen teacher.
"""

from __future__ import annotations

import torch
from torch import Tensor


def region_similarity(teacher_regions: Tensor) -> Tensor:
    """Cosine similarity of regions in the frozen teacher's feature space.

    Args:
        teacher_regions: (R, C) raw teacher features averaged over each region.

    Returns:
        (R, R) similarities; rows and columns of all-zero ("dead") regions are 0.
    """
    unit = torch.nn.functional.normalize(teacher_regions.detach().float(), dim=1)
    return unit @ unit.T


def alive_regions(similarity: Tensor) -> Tensor:
    """Regions whose similarities do not sum to exactly 0; the others leave the loss.

    Args:
        similarity: (R, R) from :func:`region_similarity`.

    Returns:
        (R,) bool.
    """
    return similarity.sum(1) != 0


def tolerant_weights(
    similarity: Tensor, min_quantile: float = 0.0, clip_similarity: bool = True
) -> Tensor:
    """Logit weights that play down negatives similar to the positive.

    Without quantile: ``1 - similarity``. With it, row by row: the share ``min_quantile`` of most
    similar negatives gets weight 0, all others 1. The diagonal is 1. Weight 0 makes a *logit* 0; as
    in the release it does not remove the term from the sum.

    Args:
        similarity: (R, R) from :func:`region_similarity`.
        min_quantile: 0 = soft weights; the paper's k-nearest variant uses 0.01.
        clip_similarity: clip to 0 .. 1 first, as the release does without class balance; with class
            balance it does not.

    Returns:
        (R, R) weights.
    """
    if not 0.0 <= min_quantile < 1.0:
        raise ValueError(f"min_quantile must lie in [0, 1), got {min_quantile}")
    similarity = similarity.detach()
    weights = 1.0 - (similarity.clamp(0, 1) if clip_similarity else similarity)
    if min_quantile > 0 and len(weights):
        threshold = torch.stack([row.quantile(min_quantile) for row in weights])
        keep = (weights >= threshold[:, None]) & (weights != 0)
        weights = keep.to(weights.dtype)
    weights.fill_diagonal_(1.0)
    return weights


def class_balance_weights(similarity: Tensor, noise_threshold: float = 0.5) -> Tensor:
    """Anchor weights that fall with the number of look-alikes of a region.

    Votes are the row sums of similarities of at least ``noise_threshold``, scaled to 0 .. 1 over
    the batch; the weight is 1 - votes.

    Args:
        similarity: (R, R) from :func:`region_similarity`, not clipped.
        noise_threshold: similarities below it do not vote.

    Returns:
        (R,) weights in 0 .. 1; all 1 if every region has as many votes.
    """
    similarity = similarity.detach()
    if len(similarity) == 0:
        return similarity.new_zeros(0)
    votes = torch.where(similarity >= noise_threshold, similarity, 0.0).sum(1)
    votes = votes - votes.min()
    top = votes.max()
    return 1.0 - votes / torch.where(top > 0, top, 1.0)
