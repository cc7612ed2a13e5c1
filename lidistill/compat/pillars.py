# SPDX-License-Identifier: Apache-2.0
"""Pillar networks on the points that there are, not on the slots that a pillar could have."""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn


def patch_network(module: Any) -> None:
    """Mark layers whose input is zero where a pillar holds no point: those that stand alone.

    Args:
        module: ``mmdet3d.models.voxel_encoders.pillar_encoder``.
    """
    network = module.PillarFeatureNet
    original = network.forward
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        if type(self) is network and len(self.pfn_layers) == 1:
            self.pfn_layers[0].__dict__["_zero_padded"] = True
        out: Tensor = original(self, *args, **kwargs)
        return out

    network.forward = forward


def patch_layer(module: Any) -> None:
    """`PFNLayer` for CPU points: 32 slots a pillar, most of them empty, cost more than a backbone.

    Args:
        module: ``mmdet3d.models.voxel_encoders.utils``.
    """
    layer = module.PFNLayer
    original = layer.forward
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def forward(
        self: Any,
        inputs: Tensor,
        num_voxels: Tensor | None = None,
        aligned_distance: Tensor | None = None,
    ) -> Tensor:
        if num_voxels is None or aligned_distance is not None or not _applies(self, inputs):
            out: Tensor = original(self, inputs, num_voxels, aligned_distance)
            return out
        return _highest(self.linear, self.norm, inputs, num_voxels)[:, None]

    layer.forward = forward


def _applies(layer: Any, inputs: Tensor) -> bool:
    """Whether padded slots are zero here, and normed as torch's batch norm does."""
    norm = layer.norm
    return (
        getattr(layer, "_zero_padded", False)
        and layer.last_vfe
        and layer.mode == "max"
        and type(norm) is nn.BatchNorm1d
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and inputs.device.type == "cpu"
        and len(inputs) > 0
        and not torch.is_autocast_enabled("cpu")
    )


def _highest(linear: nn.Module, norm: Any, inputs: Tensor, counts: Tensor) -> Tensor:
    """Highest activation of each pillar, its empty slots among them.

    An empty slot is zero before the norm, so all have the same value behind it and the norm's mean
    and variance are sums over points, divided by the number of slots.

    Args:
        linear: without bias.
        norm: `torch.nn.BatchNorm1d`.
        inputs: (V, M, C) features, zero in empty slots.
        counts: (V,) points of each pillar, which come first.

    Returns:
        (V, D).
    """
    slots = inputs.shape[1]
    counts = counts.long().clamp(max=slots)
    filled = torch.arange(slots) < counts[:, None]  # (V, M)
    x = linear(inputs[filled])  # (P, D), pillar by pillar
    mean, variance = _statistics(norm, x, filled.numel())
    scale = norm.weight * torch.rsqrt(variance + norm.eps)  # (D,)
    shift = norm.bias - mean * scale  # what an empty slot becomes
    top = torch.segment_reduce(
        torch.addcmul(shift, x, scale), "max", lengths=counts, axis=0, initial=-torch.inf
    )
    top = torch.where((counts < slots)[:, None], torch.maximum(top, shift), top)
    return torch.relu(top)


def _statistics(norm: Any, x: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Mean and variance (D,) over points and empty slots; keeps the running ones."""
    if not norm.training:
        return norm.running_mean, norm.running_var
    mean = x.sum(dim=0) / slots
    around = (x - mean).square().sum(dim=0) + (slots - len(x)) * mean.square()
    variance = around / slots
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean.detach(), norm.momentum)
        norm.running_var.lerp_(variance.detach() * (slots / max(slots - 1, 1)), norm.momentum)
    return mean, variance
