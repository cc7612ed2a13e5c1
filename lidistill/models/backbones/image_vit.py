# SPDX-License-Identifier: Apache-2.0
"""A vision transformer as a detector's image backbone: one map of patches, at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lidistill.registry import MODELS

SCALES = (2.0, 1.0, 0.5)


@MODELS.register_module()
class ViTPyramid(nn.Module):
    """The last map of a ViT, enlarged and reduced, for an FPN behind it; trained with the detector.

    Images must be multiples of the patch size, which the data preprocessor sees to with
    ``changes=dict(data_preprocessor=dict(pad_size_divisor=PATCH))``.

    Args:
        vit: config of :class:`lidistill.models.teachers.vit.ViTTeacher`, or any network with
            ``out_channels`` from (M, 3, H, W) to one map.
        scales: of the maps given, each of ``SCALES``, finest first.

    Source: ViTDet (2203.16527), section 3, the simple feature pyramid.
    """

    def __init__(self, vit: nn.Module | dict, scales: Sequence[float] = SCALES) -> None:
        super().__init__()
        unknown = [scale for scale in scales if scale not in SCALES]
        if unknown or not scales:
            raise ValueError(f"expected scales out of {SCALES}, got {tuple(scales)}")
        network: Any = MODELS.build(dict(vit)) if isinstance(vit, dict) else vit
        self.vit = network
        width = int(network.out_channels)
        steps: dict[float, nn.Module] = {
            2.0: nn.ConvTranspose2d(width, width, 2, stride=2),
            1.0: nn.Identity(),
            0.5: nn.MaxPool2d(2),
        }
        self.out_channels = [width] * len(scales)
        self.steps = nn.ModuleList(steps[scale] for scale in scales)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps (M, C, scale * H / patch, scale * W / patch), one a scale."""
        patches = self.vit(images)
        return [step(patches) for step in self.steps]
