# SPDX-License-Identifier: Apache-2.0
"""ResNet as a dense image teacher."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lidistill import compat
from lidistill.models.teachers.weights import initial_weights
from lidistill.registry import MODELS

compat.apply()  # mmdet imports mmcv's compiled operators


@MODELS.register_module()
class ResNetTeacher(nn.Module):
    """mmdet's ResNet, optionally with its strides turned into dilation.

    Multiply-adds of a ResNet-50's convolutions on a 224 x 416 image, by ``stride``: 32: 7.6 G,
    16: 11.5 G, 8: 35.4 G, 4: 136.8 G.

    Args:
        depth: 18, 34, 50, 101 or 152.
        dilated: True keeps stride 4 to the end (SLidR: a 56 x 104 map of a 224 x 416 image); False
            is the plain network, stride 32 (PPKT).
        weights: local file of published weights, see
            :func:`lidistill.models.teachers.weights.load_image_weights`; ``"random"``;
            None leaves random weights for a checkpoint that is loaded later (without one,
            ``lidistill train`` refuses the teacher).
        stride: 4, 8, 16 or 32, in place of ``dilated``: the last stages are dilated.
        base_channels: width of the first stage; 64 in the published networks.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: the weights do not fit, or there is no such stride.

    Source: SLidR, CVPR 2022, section 4.1. At the cells both have, the dilated network equals the
        plain one: the first block of a dilated stage keeps the dilation of the stage before.
    """

    def __init__(
        self,
        depth: int = 50,
        dilated: bool = True,
        weights: str | Path | None = None,
        stride: int | None = None,
        base_channels: int = 64,
    ) -> None:
        super().__init__()
        from mmdet.models.backbones import ResNet

        self.stride = stride or (4 if dilated else 32)
        if self.stride not in (4, 8, 16, 32):
            raise ValueError(f"stride: expected 4, 8, 16 or 32, got {stride}")
        strides = [1, *(2 if self.stride >= 2**stage else 1 for stage in (3, 4, 5))]
        # Eval mode is the Teacher's business: where this network is trained, its norms must learn.
        self.encoder = ResNet(
            depth,
            out_indices=(3,),
            style="pytorch",
            norm_eval=False,
            strides=strides,
            base_channels=base_channels,
        )
        before = 1
        for stage, step in zip((2, 3, 4), strides[1:], strict=True):
            if step == 1:
                _set_dilations(self.encoder.get_submodule(f"layer{stage}"), before, 2 * before)
                before *= 2
        self.out_channels: int = self.encoder.feat_dim
        self.loaded = initial_weights(self.encoder, weights)
        # the same values to rounding, on a CPU 1.2 (stride 16) to 1.5 times (stride 4) sooner
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images, ImageNet-normalised RGB -> (B, C, H / stride, W / stride).

        The map lies in memory as ``torch.channels_last``.
        """
        (feature_map,) = self.encoder(images)
        return feature_map


def _set_dilations(stage: nn.Module, before: int, after: int) -> None:
    """Dilate a stage as if its first spatial convolution still had stride 2.

    That convolution keeps the dilation of the stage before. mmdet dilates it too, and leaves out
    the second convolution of basic blocks (depth 18 and 34).
    """
    dilation = before
    for module in stage.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.dilation = module.padding = (dilation, dilation)
            dilation = after
