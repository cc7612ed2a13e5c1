# SPDX-License-Identifier: Apache-2.0
"""ST-SLidR: weights that spare look-alike negatives and balance over-represented regions.

Source: Mahmoud et al., "Self-Supervised Image-to-Point Distillation via Semantically Tolerant
    Contrastive
Loss", CVPR 2023. None of these carries gradient: similarity comes from the frozen teacher.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lidistill.losses.gather import Negatives, extremes_over_ranks, gather_rows


@dataclass
class RegionTolerance:
    """What ST-SLidR adds to SLidR's loss.

    Attributes:
        alive: (R,) bool, regions that stay in the loss.
        logit_weights: (A, A_all) for the A regions that stay; A_all is A, or counts the regions of
            all ranks.
        anchor_weights: (A,), or None without class balance.
    """

    alive: Tensor
    logit_weights: Tensor
    anchor_weights: Tensor | None


def region_tolerance(
    teacher_regions: Tensor,
    min_quantile: float,
    class_balance: bool,
    negatives: Negatives = "rank",
) -> RegionTolerance:
    """Weights of logits and anchors from the frozen teacher's features alone.

    Args:
        teacher_regions: (R, C) raw teacher features averaged over each region.
        min_quantile: see :func:`tolerant_weights`.
        class_balance: whether anchors are weighed, see :func:`class_balance_weights`.
        negatives: ``"all"`` weighs the regions of all ranks, as one process with the joined batch
            would; every rank must call this then.

    Source: sections 3.2 and 3.3.
    """
    keys, first_key = gather_rows(teacher_regions.detach(), negatives)
    similarity = region_similarity(teacher_regions, keys)  # (R, R_all)
    alive = alive_regions(similarity)
    alive_keys, _ = gather_rows(alive, negatives)
    similarity = similarity[alive][:, alive_keys]
    first_alive = int(alive_keys[:first_key].sum())
    return RegionTolerance(
        alive,
        tolerant_weights(similarity, min_quantile, not class_balance, first_alive),
        class_balance_weights(similarity, negatives=negatives) if class_balance else None,
    )


def region_similarity(teacher_regions: Tensor, keys: Tensor | None = None) -> Tensor:
    """Cosine similarity of regions in the frozen teacher's feature space.

    Args:
        teacher_regions: (R, C) raw teacher features averaged over each region.
        keys: (K, C) regions to compare with; the same ones where None.

    Returns:
        (R, K) similarities, in single precision at least; rows and columns of all-zero ("dead")
        regions are 0.
    """
    unit = _unit_rows(teacher_regions)
    return unit @ (unit if keys is None else _unit_rows(keys)).T


def _unit_rows(features: Tensor) -> Tensor:
    precise = features.detach().to(torch.promote_types(features.dtype, torch.float32))
    return torch.nn.functional.normalize(precise, dim=1)


def alive_regions(similarity: Tensor) -> Tensor:
    """Regions whose similarities do not sum to exactly 0; the others leave the loss.

    Args:
        similarity: (R, K) from :func:`region_similarity`.

    Returns:
        (R,) bool.
    """
    return similarity.sum(1) != 0


def tolerant_weights(
    similarity: Tensor,
    min_quantile: float = 0.0,
    clip_similarity: bool = True,
    first_key: int = 0,
) -> Tensor:
    """Logit weights that play down negatives similar to the positive.

    Without quantile: ``1 - similarity``. With it, row by row: the share ``min_quantile`` of most
    similar negatives gets weight 0, all others 1. Positives have 1. Weight 0 makes a *logit* 0; as
    in the release it does not remove the term from the sum.

    Args:
        similarity: (R, K) from :func:`region_similarity`.
        min_quantile: 0 = soft weights; the paper's k-nearest variant uses 0.01.
        clip_similarity: clip to 0 .. 1 first, as the release does without class balance; with class
            balance it does not.
        first_key: the positive of region i is key ``first_key + i``.

    Returns:
        (R, K) weights.
    """
    if not 0.0 <= min_quantile < 1.0:
        raise ValueError(f"min_quantile must lie in [0, 1), got {min_quantile}")
    similarity = similarity.detach()
    weights = 1.0 - (similarity.clamp(0, 1) if clip_similarity else similarity)
    if min_quantile > 0 and len(weights):
        threshold = torch.stack([row.quantile(min_quantile) for row in weights])
        keep = (weights >= threshold[:, None]) & (weights != 0)
        weights = keep.to(weights.dtype)
    weights.diagonal(first_key).fill_(1.0)
    return weights


def class_balance_weights(
    similarity: Tensor, noise_threshold: float = 0.5, negatives: Negatives = "rank"
) -> Tensor:
    """Anchor weights that fall with the number of look-alikes of a region.

    Votes are the row sums of similarities of at least ``noise_threshold``, scaled to 0 .. 1 over
    the batch; the weight is 1 - votes.

    Args:
        similarity: (R, K) from :func:`region_similarity`, not clipped.
        noise_threshold: similarities below it do not vote.
        negatives: ``"all"`` scales over the regions of all ranks; every rank must call this then.

    Returns:
        (R,) weights in 0 .. 1; all 1 if every region has as many votes.
    """
    similarity = similarity.detach()
    votes = torch.where(similarity >= noise_threshold, similarity, 0.0).sum(1)
    low, high = extremes_over_ranks(votes, negatives)
    top = high - low
    return 1.0 - (votes - low) / torch.where(top > 0, top, 1.0)
