# SPDX-License-Identifier: Apache-2.0
"""Several bird's-eye views of one place made one: of two sensors, or of several moments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lidistill.registry import MODELS


@MODELS.register_module()
class GatedFuser(nn.Module):
    """Concatenate, scale channels by the whole map's mean, then one 3x3 convolution.

    Args:
        in_channels: of each map.
        out_channels: of the result.

    Source: UniDistill (2303.15083), its fusion detector.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        total = sum(in_channels)
        self.gate = nn.Conv2d(total, total, 1)
        self.conv = _conv(total, out_channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, C, Y, X) of maps of that form."""
        both = torch.cat(list(maps), 1)
        weight = self.gate(both.mean((2, 3), keepdim=True)).sigmoid()
        out: Tensor = self.conv(both * weight)
        return out


@MODELS.register_module()
class ConvFuser(nn.Module):
    """Concatenate, then one 3x3 convolution, as BEVFusion does.

    Args:
        in_channels: of each map.
        out_channels: of the result.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.conv = _conv(sum(in_channels), out_channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, C, Y, X) of maps of that form."""
        out: Tensor = self.conv(torch.cat(list(maps), 1))
        return out


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
