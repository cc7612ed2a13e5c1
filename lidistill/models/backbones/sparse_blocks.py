# SPDX-License-Identifier: Apache-2.0
"""Pieces that the sparse backbones share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill import compat

compat.apply()  # spconv on the CPU is wrong without its bridge


def sparse_tensor(
    features: Tensor, coords: Tensor, spatial_shape: tuple[int, int, int], batch_size: int
) -> Any:
    """Make a ``SparseConvTensor`` after checking what would fail silently inside spconv.

    Args:
        features: (V, C) float.
        coords: (V, 4) integer (batch, z, y, x).
        spatial_shape: cells along (z, y, x).
        batch_size: number of samples.

    Raises:
        ValueError: unequal lengths, or coordinates outside the grid or the batch.
    """
    import spconv.pytorch as spconv

    if coords.ndim != 2 or coords.shape[1] != 4 or len(coords) != len(features):
        raise ValueError(
            "expected features (V, C) and coords (V, 4) as batch z y x, got "
            f"{tuple(features.shape)} and {tuple(coords.shape)}"
        )
    if len(coords):
        low, high = coords.amin(0).tolist(), coords.amax(0).tolist()
        limits = [batch_size, *spatial_shape]
        if min(low) < 0 or any(top >= limit for top, limit in zip(high, limits, strict=True)):
            raise ValueError(
                f"voxel coords (batch, z, y, x) must lie in 0 .. {[n - 1 for n in limits]}, got "
                f"{low} .. {high}; are they in z y x order and made with this grid?"
            )
    indices = coords.to(torch.int32).contiguous()
    return spconv.SparseConvTensor(features, indices, list(spatial_shape), batch_size)


def lay_out(x: Any) -> Tensor:
    """Dense (B, C, Z, Y, X) map of a sparse tensor; zero where no voxel is."""
    batch, z, y, x_ = x.indices.long().unbind(1)
    dense = x.features.new_zeros(x.batch_size, *x.spatial_shape, x.features.shape[1])
    return dense.index_put((batch, z, y, x_), x.features).permute(0, 4, 1, 2, 3)


def norm_relu(x: Any, norm: nn.Module, relu: bool = True) -> Any:
    """Apply batch norm, and ReLU, to the features of a sparse tensor."""
    features = norm(x.features)
    return x.replace_feature(F.relu(features, inplace=True) if relu else features)


class ResidualBlock(nn.Module):
    """Two 3x3x3 submanifold convolutions and a shortcut (He et al., CVPR 2016, basic block).

    Args:
        in_channels: width of the input.
        out_channels: width of the output; a 1x1x1 shortcut is made where they differ.
        indice_key: name of the neighbour table that layers of one resolution share.
        norm_momentum: of the norms inside the block.
        shortcut_momentum: of the norm of the 1x1x1 shortcut.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        indice_key: str,
        norm_momentum: float = 0.1,
        shortcut_momentum: float = 0.1,
    ) -> None:
        super().__init__()
        from spconv.pytorch import SubMConv3d

        self.conv1 = SubMConv3d(
            in_channels, out_channels, 3, padding=1, bias=False, indice_key=indice_key
        )
        self.norm1 = nn.BatchNorm1d(out_channels, momentum=norm_momentum)
        self.conv2 = SubMConv3d(
            out_channels, out_channels, 3, padding=1, bias=False, indice_key=indice_key
        )
        self.norm2 = nn.BatchNorm1d(out_channels, momentum=norm_momentum)
        # A 1x1x1 convolution of sparse features is a linear map; nn.Linear keeps [out, in] weights
        # and so avoids spconv's transposed reading of 1x1x1 kernels.
        self.downsample: nn.Sequential | None = None
        if in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Linear(in_channels, out_channels, bias=False),
                nn.BatchNorm1d(out_channels, momentum=shortcut_momentum),
            )

    def forward(self, x: Any) -> Any:
        """Sparse tensor (V, in_channels) -> sparse tensor (V, out_channels) on the same voxels."""
        shortcut = x.features if self.downsample is None else self.downsample(x.features)
        x = norm_relu(self.conv1(x), self.norm1)
        x = norm_relu(self.conv2(x), self.norm2, relu=False)
        # in place: a batch norm's gradient does not need what it gave (a sixth of the memory)
        return x.replace_feature(F.relu(x.features.add_(shortcut), inplace=True))
