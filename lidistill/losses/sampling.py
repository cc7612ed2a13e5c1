# SPDX-License-Identifier: Apache-2.0
"""Which pairs enter a loss: uniform draws, and OLIVINE's density and category aware weights.

Source: Zhang et al., "Fine-grained Image-to-LiDAR Contrastive Distillation with Visual Foundation
    Models"
(OLIVINE), NeurIPS 2024, section on density and category aware sampling.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sample_pairs(
    num_pairs: int,
    num_samples: int,
    generator: torch.Generator | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Draw distinct pairs.

    Args:
        num_pairs: pairs to choose from, P.
        num_samples: pairs wanted; all P if there are fewer (PPKT: 4096).
        generator: source of randomness, on the CPU.
        weights: (P,) unnormalised probabilities; None = uniform.

    Returns:
        (min(num_samples, P),) int64 distinct indices, on the CPU or where ``weights`` lie.
    """
    num_samples = min(num_samples, num_pairs)
    if weights is None:
        return torch.randperm(num_pairs, generator=generator)[:num_samples]
    if weights.shape != (num_pairs,):
        raise ValueError(f"expected weights ({num_pairs},), got {tuple(weights.shape)}")
    # Exponential races: the smallest arrival times are a weighted sample without replacement.
    draw = torch.rand(num_pairs, generator=generator, dtype=torch.float64)
    arrivals = -torch.log1p(-draw.to(weights.device)).clamp(max=-1e-300)  # 0 / 0 never wins
    times = arrivals / weights.double()
    return times.topk(num_samples, largest=False).indices


def silverman_bandwidth(values: Tensor) -> Tensor:
    """Bandwidth of a Gaussian kernel density estimate: ``1.06 std n^(-1/5)``.

    Args:
        values: (P,) samples.

    Returns:
        Scalar bandwidth in the unit of the samples.
    """
    if len(values) < 2:
        return values.new_zeros(())
    return 1.06 * values.std() * len(values) ** (-0.2)


def kernel_density(values: Tensor, bandwidth: Tensor | float, chunk: int = 4096) -> Tensor:
    """Gaussian kernel density estimate at the samples themselves.

    Args:
        values: (P,) samples.
        bandwidth: standard deviation of the kernel.
        chunk: samples evaluated at once; memory is ``chunk * P``.

    Returns:
        (P,) density per unit of the samples.
    """
    parts = []
    for block in values.split(chunk):
        gap = (block[:, None] - values[None]) / bandwidth
        parts.append(torch.exp(-0.5 * gap**2).mean(1))
    density = torch.cat(parts) if parts else values
    return density / (bandwidth * math.sqrt(2 * math.pi))


def density_sampling_weights(distance: Tensor, labels: Tensor) -> Tensor:
    """Sampling weights that lift far points and rare categories.

    Args:
        distance: (P,) distance of each pair's point from the sensor; the release uses the voxel
            index along rho.
        labels: (P,) non-negative integer weak label of each pair.

    Returns:
        (P,) float32 unnormalised probabilities ``1 / (density * pairs of the label)``.
    """
    if distance.shape != labels.shape or distance.ndim != 1:
        raise ValueError(
            "expected distance (P,) and labels (P,), got "
            f"{tuple(distance.shape)} and {tuple(labels.shape)}"
        )
    if len(distance) == 0:
        return distance.float()
    distance = distance.float()
    bandwidth = silverman_bandwidth(distance).clamp(min=1e-6)
    density = kernel_density(distance, bandwidth)
    count = torch.bincount(labels.long())[labels.long()]
    return 1.0 / (density * count)
