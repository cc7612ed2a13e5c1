# SPDX-License-Identifier: Apache-2.0
"""Contrast of point features with image features: one similarity matrix, weighed in several ways.

`info_nce` is the core; SLidR contrasts regions, PPKT points; ST-SLidR weighs its logits and anchors
(:mod:`lidistill.losses.semantic_tolerance`); OLIVINE counts every pair of one weak label as
positive.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lidistill.losses.gather import Negatives, gather_rows, total_over_ranks, world_size
from lidistill.losses.region_pooling import (
    RegionPairs,
    pool_regions,
    regions_at_pairs,
    select_regions,
)
from lidistill.losses.rows import check_temperature
from lidistill.losses.sampling import sample_pairs
from lidistill.ops.gradients import differentiable_once
from lidistill.ops.precision import full_precision

__all__ = [
    "RegionPairs",
    "info_nce",
    "point_infonce",
    "pool_regions",
    "region_infonce",
    "regions_at_pairs",
    "sample_pairs",
    "select_regions",
    "supervised_contrast",
    "zero_loss",
]


USUAL_TEMPERATURE = 0.07
"""Of all papers here."""


class _WeightedInfoNCE(torch.autograd.Function):
    """Cross-entropy of weighted similarities against a diagonal, rows in blocks.

    The positive of query i is key ``first_key + i``. The gradient is known once a block's softmax
    is, so it is made in the forward pass: one exponential per entry, and no (R, R) matrix is ever
    stored (4096 pairs: 64 MiB, several times).
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        temperature: float,
        logit_weights: Tensor | None,
        anchor_shares: Tensor,
        first_key: int,
        with_gradient: bool,
    ) -> Tensor:
        block = max(1, _BLOCK_ENTRIES[queries.is_cuda] // len(keys))
        loss = queries.new_zeros(())
        grad_queries, grad_keys = torch.empty_like(queries), torch.zeros_like(keys)
        with torch.autocast(queries.device.type, enabled=False):
            for first in range(0, len(queries), block):
                rows = slice(first, first + block)
                weights = None if logit_weights is None else logit_weights[rows]
                positive = first_key + first
                losses, softmax = _block_softmax(
                    queries[rows], keys, positive, temperature, weights
                )
                loss += (losses * anchor_shares[rows]).sum()
                if with_gradient:
                    softmax.diagonal(positive).sub_(1.0)
                    if weights is not None:
                        softmax *= weights
                    scale = (anchor_shares[rows] / temperature).unsqueeze(1)
                    grad_queries[rows] = (softmax @ keys) * scale
                    grad_keys.addmm_(softmax.T, queries[rows] * scale)
        if with_gradient:
            ctx.save_for_backward(grad_queries, grad_keys)
        return loss

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_queries, grad_keys = ctx.saved_tensors
        return grad_queries * grad, grad_keys * grad, None, None, None, None, None


# Entries of the similarity matrix handled at once, off and on a GPU: 4 MiB stay in a CPU's cache.
_BLOCK_ENTRIES = {False: 2**20, True: 2**27}


def _block_softmax(
    queries: Tensor, keys: Tensor, first: int, temperature: float, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Loss per row and softmax of a block whose row i has its positive in column ``first + i``."""
    logits = queries @ keys.T  # (block, R)
    logits /= temperature
    if weights is not None:
        logits *= weights
    positive = logits.diagonal(first).clone()
    top = logits.amax(1, keepdim=True)
    softmax = logits.sub_(top).exp_()
    mass = softmax.sum(1, keepdim=True)
    softmax /= mass
    return (mass.log() + top).squeeze(1) - positive, softmax


def info_nce(
    queries: Tensor,
    keys: Tensor,
    temperature: float = 0.07,
    logit_weights: Tensor | None = None,
    anchor_weights: Tensor | None = None,
    negatives: Negatives = "rank",
) -> Tensor:
    """InfoNCE whose positives stand on the diagonal, from queries to keys only.

    ``mean_i -log softmax_j(w_ij <q_i, k_j> / temperature)`` at ``j = i``; the mean is weighted if
    ``anchor_weights`` are given. Differentiable once, in both inputs.

    Args:
        queries: (R, D) anchors; computed in float32 (float64 if float64).
        keys: (R, D) candidates; row i is the positive of query i, all others are negatives.
        temperature: divides the similarities.
        logit_weights: (R, R) factors of the logits, without gradient; (R, R_all) with the keys of
            all ranks.
        anchor_weights: (R,) non-negative weights of the anchors, without gradient.
        negatives: ``"all"`` contrasts with the keys of all ranks of a distributed training. Then
            every rank must call this, also one without rows; the mean of the ranks' values is the
            loss of the joined batch, and the mean of their gradients, which
            DistributedDataParallel takes, is its gradient.

    Returns:
        Scalar; zero with gradient if R is 0 or the weights sum to 0.
    """
    if queries.ndim != 2 or queries.shape != keys.shape:
        raise ValueError(
            "queries and keys must have one shape (R, D), got "
            f"{tuple(queries.shape)} and {tuple(keys.shape)}; a Connector joins unequal widths"
        )
    check_temperature(temperature, USUAL_TEMPERATURE)
    queries, keys = full_precision(queries), full_precision(keys)
    keys, first_key = gather_rows(keys, negatives)
    if len(keys) == 0:
        return zero_loss(queries, keys)
    if logit_weights is not None:
        logit_weights = logit_weights.detach().to(queries)
    with_gradient = torch.is_grad_enabled() and (queries.requires_grad or keys.requires_grad)
    return _WeightedInfoNCE.apply(
        queries,
        keys,
        temperature,
        logit_weights,
        _anchor_shares(queries, len(keys), anchor_weights, negatives),
        first_key,
        with_gradient,
    )


def _anchor_shares(
    queries: Tensor, num_keys: int, anchor_weights: Tensor | None, negatives: Negatives
) -> Tensor:
    """(R,) what each anchor adds to the loss; over all ranks they sum to the number of ranks."""
    ranks = world_size(negatives)
    if anchor_weights is None:
        return queries.new_full((len(queries),), ranks / num_keys)
    weights = anchor_weights.detach().to(queries)
    total = total_over_ranks(weights.sum(), negatives)
    return torch.where(total > 0, ranks * weights / total.clamp(min=1e-30), 0.0)


def region_infonce(
    point_regions: Tensor,
    pixel_regions: Tensor,
    temperature: float = 0.07,
    logit_weights: Tensor | None = None,
    anchor_weights: Tensor | None = None,
    negatives: Negatives = "rank",
) -> Tensor:
    """Superpixel-driven InfoNCE from point regions to pixel regions.

    Args:
        point_regions: (R, D) mean point feature per region; row i is paired with row i.
        pixel_regions: (R, D) mean pixel feature per region; all regions of the batch are negatives.
        temperature: 0.07 in the paper.
        logit_weights: (R, R), see :func:`lidistill.losses.semantic_tolerance.tolerant_weights`.
        anchor_weights: (R,), see :func:`lidistill.losses.semantic_tolerance.class_balance_weights`.
        negatives: ``"rank"`` as in the paper, or ``"all"``; see :func:`info_nce`.

    Returns:
        Scalar; zero with gradient if R is 0.

    Source: SLidR, CVPR 2022, equation 1; weights: Mahmoud et al., "Self-Supervised Image-to-Point
        Distillation via Semantically Tolerant Contrastive Loss", CVPR 2023.
    """
    return info_nce(
        point_regions, pixel_regions, temperature, logit_weights, anchor_weights, negatives
    )


def point_infonce(
    point_features: Tensor,
    pixel_features: Tensor,
    temperature: float = 0.07,
    negatives: Negatives = "rank",
) -> Tensor:
    """Point-pixel InfoNCE from points to pixels.

    Args:
        point_features: (M, D) features of sampled pairs' points; see :func:`sample_pairs`.
        pixel_features: (M, D) features of their pixels; see
            :mod:`lidistill.ops.segments.pixel_read`.
        temperature: 0.07 in SLidR's re-implementation of PPKT.
        negatives: ``"rank"`` as there, or ``"all"``; see :func:`info_nce`.

    Returns:
        Scalar; zero with gradient if M is 0.

    Source: Liu et al., "Learning from 2D: Contrastive Pixel-to-Point Knowledge Transfer for 3D
        Pretraining", 2021, equation 3.
    """
    return info_nce(point_features, pixel_features, temperature, negatives=negatives)


def supervised_contrast(
    points: Tensor, pixels: Tensor, labels: Tensor, temperature: float = 0.07
) -> Tensor:
    """Contrast in which all pixels of a point's weak label are positives.

    ``mean_i -log(sum_{j: y_j = y_i} exp(<p_i, q_j> / T) / sum_j exp(<p_i, q_j> / T))``, the point's
    own pixel included.

    Args:
        points: (M, D) point features.
        pixels: (M, D) pixel features of the same pairs.
        labels: (M,) integer weak label of each pair.
        temperature: 0.07 in the release.

    Returns:
        Scalar; zero with gradient if M is 0.

    Source: Zhang et al., "Fine-grained Image-to-LiDAR Contrastive Distillation with Visual
        Foundation Models" (OLIVINE), NeurIPS 2024.
    """
    if points.shape != pixels.shape or labels.shape != points.shape[:1]:
        raise ValueError(
            "expected points (M, D), pixels (M, D) and labels (M,), got "
            f"{tuple(points.shape)}, {tuple(pixels.shape)} and {tuple(labels.shape)}"
        )
    check_temperature(temperature, USUAL_TEMPERATURE)
    points, pixels = full_precision(points), full_precision(pixels)
    if len(points) == 0:
        return zero_loss(points, pixels)
    logits = points @ pixels.T / temperature  # (M, M)
    same = labels[:, None] == labels[None]
    positive = logits.masked_fill(~same, -torch.inf).logsumexp(1)
    return (logits.logsumexp(1) - positive).mean()


def zero_loss(*features: Tensor) -> Tensor:
    """Zero that depends on the features, so that an empty batch still has a gradient.

    Args:
        *features: tensors that would have entered the loss, usually empty.

    Returns:
        Scalar 0.
    """
    # no element at all is added: 0 * inf would be no number
    return torch.stack([feature.reshape(-1)[:0].sum() for feature in features]).sum()
