# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD's modules on bird's-eye-view maps: spatial alignment, feature fusion, both in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.models.bev_blocks.self_calibrated import SelfCalibratedBlock
from lidistill.ops.images.deform_conv import Geometry, deform_conv
from lidistill.registry import MODELS

_SAME = Geometry(padding=(1, 1))


class _Dilations(nn.Module):
    """Reaches of 1, 6 and 12 cells and the map's mean, side by side, mixed again."""

    def __init__(self, channels: int, mid_channels: int) -> None:
        super().__init__()
        self.conv_1x1_1 = nn.Conv2d(channels, mid_channels, 1)
        self.bn_conv_1x1_1 = nn.BatchNorm2d(mid_channels)
        self.conv_3x3_1 = nn.Conv2d(channels, mid_channels, 3, padding=6, dilation=6)
        self.bn_conv_3x3_1 = nn.BatchNorm2d(mid_channels)
        self.conv_3x3_2 = nn.Conv2d(channels, mid_channels, 3, padding=12, dilation=12)
        self.bn_conv_3x3_2 = nn.BatchNorm2d(mid_channels)
        self.conv_1x1_2 = nn.Conv2d(channels, mid_channels, 1)
        self.bn_conv_1x1_2 = nn.BatchNorm2d(mid_channels)
        self.conv_1x1_3 = nn.Conv2d(4 * mid_channels, channels, 1)
        self.bn_conv_1x1_3 = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Same shape."""
        mean = maps.mean((2, 3), keepdim=True)
        parts = [
            self.bn_conv_1x1_1(self.conv_1x1_1(maps)).relu(),
            self.bn_conv_3x3_1(self.conv_3x3_1(maps)).relu(),
            self.bn_conv_3x3_2(self.conv_3x3_2(maps)).relu(),
            self._normalised(self.conv_1x1_2(mean)).relu().expand(-1, -1, *maps.shape[2:]),
        ]
        out: Tensor = self.bn_conv_1x1_3(self.conv_1x1_3(torch.cat(parts, 1))).relu()
        return out

    def _normalised(self, means: Tensor) -> Tensor:
        """By the batch; one sample has no spread, and the spread of those before stands for it."""
        norm = self.bn_conv_1x1_2
        if len(means) != 1:
            found: Tensor = norm(means)
            return found
        return F.batch_norm(
            means, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )


class _Deformable(nn.Module):
    """A 3x3 convolution that reads where another one says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 18, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Same shape."""
        return deform_conv(maps, self.conv1(maps), self.conv2.weight, _SAME)


@MODELS.register_module()
class SpatialAlignment(nn.Module):
    """Brings a camera's map to where a LiDAR's has its features: gain by channel, moved cells.

    Args:
        channels: of the map, in and out.
        signed: no ReLU at the end, so that it can follow a residual below zero; the release has
            one, and a residual without sign.

    Source: MonoTAKD (2404.04910), section 3.3 (SAM); names as in its release, which applies one
        deformable convolution twice.
    """

    def __init__(self, channels: int = 128, signed: bool = False) -> None:
        super().__init__()
        self.aspp = _Dilations(channels, channels // 2)
        self.fc = nn.Sequential(
            nn.Linear(channels, channels, bias=False), nn.ReLU(),
            nn.Linear(channels, channels, bias=False), nn.ReLU(),
            nn.Linear(channels, channels, bias=False), nn.Sigmoid(),
        )  # fmt: skip
        self.dcn = _Deformable(channels)
        self.conv = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.ReLU(),
            nn.Conv2d(2 * channels, channels, 3, padding=1, bias=False),
            nn.Identity() if signed else nn.ReLU(),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, Y, X) to the same shape."""
        gain = self.fc(self.aspp(maps).mean((2, 3)))[..., None, None]  # (B, C, 1, 1)
        moved = self.dcn(self.dcn(maps))
        out: Tensor = self.conv(gain * maps + moved)
        return out


@MODELS.register_module()
class FeatureFusion(nn.Module):
    """Mixes the sum of the visual and the residual map before the head.

    Args:
        channels: of the map, in and out.

    Source: MonoTAKD (2404.04910), section 3.4 (FFM); names as in its release, which normalises
        first and last with the same layer.
    """

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 1)
        self.bn2 = nn.BatchNorm2d(2 * channels)
        self.conv3 = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, Y, X) to the same shape."""
        out = F.relu(self.bn(self.conv(maps)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn(self.conv3(out)))


@MODELS.register_module()
class TwoBranches(nn.Module):
    """MonoTAKD's student between its camera map and the BEV network.

    One branch learns from the assistant, the other what the assistant lacks; the head sees both.
    Taps ``vis`` and ``spa`` for their maps; ``later.0``, ... for further residuals.

    Args:
        channels: of the map, in and out.
        blocks: self-calibrated blocks of the visual branch; 4 in the release, 0 is none. The last
            one ends in a ReLU: take some only where the assistant's map is not negative.
        signed: see :class:`SpatialAlignment`.
        fuse: off, the head sees the visual branch alone and the other rests in inference: so the
            release, where the sum is a line of comment.
        residuals: branches of residuals, one for each assistant of a chain.

    Source: MonoTAKD (2404.04910), sections 3.3 and 3.4.
    """

    def __init__(
        self,
        channels: int = 128,
        blocks: int = 0,
        signed: bool = True,
        fuse: bool = True,
        residuals: int = 1,
    ) -> None:
        super().__init__()
        self.vis = nn.Sequential(*(SelfCalibratedBlock(channels) for _ in range(blocks)))
        self.spa = SpatialAlignment(channels, signed)
        self.later = nn.ModuleList(SpatialAlignment(channels, signed) for _ in range(residuals - 1))
        self.ffm = FeatureFusion(channels) if fuse else None

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, Y, X) to the same shape."""
        vis: Tensor = self.vis(maps)
        if self.ffm is None and not self.training:
            return vis
        spa = self.spa(maps)
        for branch in self.later:
            spa = spa + branch(maps)
        return vis if self.ffm is None else self.ffm(vis + spa)
