# SPDX-License-Identifier: Apache-2.0
"""What image features say of depth and of content: (M, C, h, w) to logits over bins and context.

Each network has the attributes ``bins`` and ``channels`` and is called with features and the
cameras' numbers; :class:`lidistill.models.view_transforms.lift_splat.LiftSplat` does the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.registry import MODELS

CAMERA_NUMBERS = 27


@MODELS.register_module()
class PlainDepthNet(nn.Module):
    """One 1x1 convolution.

    Args:
        in_channels: of the image features.
        bins: depth bins D.
        channels: of the context.

    Source: LSS (2008.05711); UniDistill (2303.15083) uses the same.
    """

    def __init__(self, in_channels: int, bins: int, channels: int) -> None:
        super().__init__()
        self.bins, self.channels = bins, channels
        self.conv = nn.Conv2d(in_channels, bins + channels, 1)

    def forward(self, features: Tensor, _numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Depth logits (M, D, h, w) and context (M, C, h, w)."""
        both = self.conv(features)
        return both[:, : self.bins], both[:, self.bins :]


@MODELS.register_module()
class CameraAwareDepthNet(nn.Module):
    """Depth that knows focal length, augmentation and pose of its camera.

    Args:
        in_channels: of the image features.
        bins: depth bins D.
        channels: of the context.
        mid_channels: of what is between.
        blocks: residual blocks before the pyramid of dilations.
        dilations: of that pyramid.

    Source: BEVDepth (2206.10092), section 3.3.
    Differs from the authors' release: no deformable convolution, which has no CPU kernel.
    """

    def __init__(
        self,
        in_channels: int,
        bins: int,
        channels: int,
        mid_channels: int = 512,
        blocks: int = 3,
        dilations: tuple[int, ...] = (1, 6, 12, 18),
    ) -> None:
        super().__init__()
        self.bins, self.channels = bins, channels
        self.reduce_conv = _conv(in_channels, mid_channels, 3, bias=True)  # as published weights
        self.bn = nn.BatchNorm1d(CAMERA_NUMBERS)
        self.depth_mlp, self.depth_se = _Mlp(mid_channels), _Gate(mid_channels)
        self.context_mlp, self.context_se = _Mlp(mid_channels), _Gate(mid_channels)
        self.context_conv = nn.Conv2d(mid_channels, channels, 1)
        self.depth_conv = nn.Sequential(
            *(_Residual(mid_channels) for _ in range(blocks)),
            _Dilations(mid_channels, tuple(dilations)),
            nn.Conv2d(mid_channels, bins, 1),
        )

    def forward(self, features: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Depth logits (M, D, h, w) and context (M, C, h, w).

        Args:
            features: (M, C_in, h, w).
            numbers: (M, 27), see :meth:`lidistill.geometry.cameras.Cameras.numbers`.
        """
        camera = self.bn(numbers.to(self.bn.weight.dtype))
        reduced = self.reduce_conv(features)
        context = self.context_se(reduced, self.context_mlp(camera))
        depth = self.depth_se(reduced, self.depth_mlp(camera))
        return self.depth_conv(depth), self.context_conv(context)


def _conv(
    inputs: int, outputs: int, kernel: int, dilation: int = 1, bias: bool = False
) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=bias),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Mlp(nn.Module):
    """(M, 27) to (M, C, 1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(CAMERA_NUMBERS, channels)
        self.fc2 = nn.Linear(channels, channels)

    def forward(self, numbers: Tensor) -> Tensor:
        """Embed the camera."""
        out: Tensor = self.fc2(F.relu(self.fc1(numbers)))
        return out[..., None, None]


class _Gate(nn.Module):
    """Channels scaled by what the camera's embedding says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, channels, 1)
        self.conv_expand = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        """Scaled features."""
        gate = self.conv_expand(F.relu(self.conv_reduce(embedding)))
        return features * gate.sigmoid()


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Same shape."""
        out = F.relu(self.bn1(self.conv1(features)))
        return F.relu(features + self.bn2(self.conv2(out)))


class _Dilations(nn.Module):
    """Several reaches side by side (atrous spatial pyramid) and the image's mean."""

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            _conv(channels, channels, 1 if dilation == 1 else 3, dilation) for dilation in dilations
        )
        self.mean = nn.Conv2d(channels, channels, 1)
        self.merge = _conv(channels * (len(dilations) + 1), channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Same shape."""
        mean = F.relu(self.mean(features.mean((2, 3), keepdim=True)))
        parts = [branch(features) for branch in self.branches] + [mean.expand_as(features)]
        out: Tensor = self.merge(torch.cat(parts, 1))
        return out
