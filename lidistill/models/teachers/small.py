# SPDX-License-Identifier: Apache-2.0
"""A light image network: the teacher of the embedded world's demo, quick on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.models.teachers.weights import initial_weights
from lidistill.registry import MODELS


@MODELS.register_module()
class SmallImageNet(nn.Module):
    """Residual convolutions at strides 4, 8 and 16, summed at stride 4 (a small feature pyramid).

    Group norm, so that training at batch 2 and evaluation behave alike.

    Args:
        width: channels at stride 4; twice that below.
        out_channels: C of the map.
        blocks: residual blocks per stage.
        weights: local file to start from; ``"random"``; None leaves random weights for a checkpoint
            that is loaded later.
    """

    stride = 4

    def __init__(
        self,
        width: int = 32,
        out_channels: int = 64,
        blocks: int = 1,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if width % 8:
            raise ValueError(f"width must be a multiple of 8 (group norm), got {width}")
        self.out_channels = out_channels
        self.stem = nn.Sequential(
            _conv(3, width // 2, stride=2),
            _norm(width // 2),
            nn.ReLU(inplace=True),
            _conv(width // 2, width, stride=2),
            _norm(width),
            nn.ReLU(inplace=True),
        )
        widths = (width, 2 * width, 2 * width)
        stages: list[nn.Module] = []
        laterals: list[nn.Module] = []
        before = width
        for level, channels in enumerate(widths):
            first = Residual(before, channels, stride=1 if level == 0 else 2)
            rest = [Residual(channels, channels) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
            laterals.append(nn.Conv2d(channels, out_channels, 1))
            before = channels
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList(laterals)
        self.loaded = initial_weights(self, weights)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images -> (B, out_channels, H / 4, W / 4)."""
        x = self.stem(images)
        size = x.shape[2:]
        total: Any = 0
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            level = lateral(x)
            if level.shape[2:] != size:
                level = F.interpolate(level, size, mode="bilinear", align_corners=False)
            total = total + level
        return total


class Residual(nn.Module):
    """Two 3x3 convolutions with group norm and a shortcut.

    Args:
        in_channels: width of the input.
        out_channels: width of the output.
        stride: of the first convolution and the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, out_channels, stride)
        self.norm1 = _norm(out_channels)
        self.conv2 = _conv(out_channels, out_channels)
        self.norm2 = _norm(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(8, channels // 4), channels)
