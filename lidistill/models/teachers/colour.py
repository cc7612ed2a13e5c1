# SPDX-License-Identifier: Apache-2.0
"""Plain colour as a teacher: what a distillation gains when the image network knows nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.registry import MODELS


@MODELS.register_module()
class LocalColour(nn.Module):
    """Local mean, and deviation, of the colour. Has no parameters; a gate for worlds and methods.

    Args:
        deviation: also give the local standard deviation, the simplest texture.
        window: side of the square window in pixels, odd.
    """

    stride = 4

    def __init__(self, deviation: bool = False, window: int = 5) -> None:
        super().__init__()
        if window % 2 == 0 or window < 1:
            raise ValueError(f"window must be odd, got {window}")
        self.window, self.deviation = window, deviation
        self.out_channels = 6 if deviation else 3

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, 3 or 6, H / 4, W / 4)."""
        mean = self._average(images)
        if not self.deviation:
            return mean
        variance = self._average(images.square()) - mean.square()
        return torch.cat([mean, variance.clamp(min=1e-8).sqrt()], dim=1)

    def _average(self, values: Tensor) -> Tensor:
        return F.avg_pool2d(
            values, self.window, self.stride, self.window // 2, count_include_pad=False
        )
