# SPDX-License-Identifier: Apache-2.0
"""Losses that pull one feature towards another, without negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from lidistill.losses.contrastive import zero_loss


def normalized_l2(point_features: Tensor, pixel_features: Tensor) -> Tensor:
    """Mean distance, not squared, between unit vectors.

    Args:
        point_features: (P, D) student features of the pairs' points.
        pixel_features: (P, D) teacher features of the pairs' pixels.

    Returns:
        Scalar in 0 .. 2; zero with gradient if P is 0. Where the vectors coincide the gradient is
        0.

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
    gap = torch.nn.functional.normalize(points, dim=1) - torch.nn.functional.normalize(
        pixels, dim=1
    )
    return torch.linalg.vector_norm(gap, dim=1).mean()
