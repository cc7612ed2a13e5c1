# SPDX-License-Identifier: Apache-2.0
"""Self-calibrated convolutions: what CMKD and MonoTAKD adapt a camera's map with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.registry import MODELS

_EPS = 1e-8


def _conv(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)]


class _Calibrated(nn.Module):
    """A convolution gated by a coarser view of its own input."""

    def __init__(self, channels: int, pooling: int) -> None:
        super().__init__()
        self.k2 = nn.Sequential(nn.AvgPool2d(pooling, pooling), *_conv(channels))
        self.k3 = nn.Sequential(*_conv(channels))
        self.k4 = nn.Sequential(*_conv(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Same shape."""
        coarse = F.interpolate(self.k2(maps), maps.shape[2:])
        gate = (maps + coarse + _EPS).sigmoid()
        out: Tensor = self.k4(self.k3(maps) * gate)
        return out


@MODELS.register_module()
class SelfCalibratedBlock(nn.Module):
    """A residual block of two halves: a plain 3x3 convolution and a self-calibrated one.

    Args:
        channels: of the map, in and out; even.
        pooling: cells a side of the coarser view.

    Source: Liu et al., "Improving Convolutional Networks with Self-Calibrated Convolutions", CVPR
        2020; in CMKD (2203.15839), section 3.2; names as in its release.
    """

    def __init__(self, channels: int, pooling: int = 4) -> None:
        super().__init__()
        half = channels // 2
        self.conv1_a = nn.Conv2d(channels, half, 1, bias=False)
        self.bn1_a = nn.BatchNorm2d(half)
        self.conv1_b = nn.Conv2d(channels, half, 1, bias=False)
        self.bn1_b = nn.BatchNorm2d(half)
        self.k1 = nn.Sequential(*_conv(half), nn.ReLU())
        self.scconv = _Calibrated(half, pooling)
        self.conv3 = nn.Conv2d(2 * half, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, Y, X) to the same shape."""
        first = self.k1(F.relu(self.bn1_a(self.conv1_a(maps))))
        second = F.relu(self.scconv(F.relu(self.bn1_b(self.conv1_b(maps)))))
        return F.relu(self.bn3(self.conv3(torch.cat([first, second], 1))) + maps)
