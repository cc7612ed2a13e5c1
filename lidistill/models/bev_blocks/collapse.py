# SPDX-License-Identifier: Apache-2.0
"""From voxels to a map: heights become channels, one 1x1 convolution mixes them."""

from __future__ import annotations

from torch import Tensor, nn

from lidistill.registry import MODELS


@MODELS.register_module()
class HeightCollapse(nn.Module):
    """(B, C, Z, Y, X) to (B, D, Y, X).

    Args:
        in_channels: C times Z.
        out_channels: D.

    Source: CaDDN (2103.01100), section 3.2; names as in its release.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, voxels: Tensor) -> Tensor:
        """Collapse; channel c of height z is number c * Z + z."""
        return self.finish(self.conv(voxels.flatten(1, 2)))

    def finish(self, mixed: Tensor) -> Tensor:
        """What comes after the convolution."""
        out: Tensor = self.bn(mixed).relu()
        return out
