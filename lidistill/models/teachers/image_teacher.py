# SPDX-License-Identifier: Apache-2.0
"""What every image teacher offers."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class ImageTeacher(Protocol):
    """An image network whose output is a feature map.

    Attributes:
        out_channels: C of the map.
        stride: pixels of the image per cell of the map, along each axis.
    """

    out_channels: int
    stride: int

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float32 normalised images -> (B, C, H / stride, W / stride) map."""
        ...
