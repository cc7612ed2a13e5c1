# SPDX-License-Identifier: Apache-2.0
"""Sparse residual U-Net on voxels: the student of SLidR and its successors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.models.backbones.sparse_blocks import ResidualBlock, norm_relu, sparse_tensor
from lidistill.registry import MODELS


@MODELS.register_module()
class SparseUNet(nn.Module):
    """Residual U-Net with the layout of MinkowskiEngine's Res16UNet34C, in spconv.

    A stem, four halvings (2x2x2, stride 2) each followed by residual blocks, four doublings
    onto the voxels of the way down, each joined with its skip, and a 1x1x1 output layer. At the
    default sizes 37,849,184 parameters. Names follow SLidR's checkpoints: ``conv0p1s1``, ``bn0``,
    ``block1.0.conv1`` ..., ``final`` (``.kernel`` there is ``.weight`` here, ``.bn.`` is dropped).

    Args:
        in_channels: F' of the voxel features; SLidR feeds intensity only.
        out_channels: width of the output layer; 0 leaves it out and returns ``planes[-1]``
            channels.
        stem: width of the first convolution.
        planes: widths of the stages, encoder then decoder; an even number of them.
        blocks: residual blocks of each stage.
        norm_momentum: of stem, down, up and shortcut norms (SLidR: 0.05).
        block_norm_momentum: of the norms inside residual blocks; SLidR's setting never reaches
            them.
        normalize: scale each output vector to unit length, as SLidR's student does.

    Source: Choy et al., "4D Spatio-Temporal ConvNets", CVPR 2019; SLidR, CVPR 2022, section 4.1.
    Differs from the authors' release: spconv in place of MinkowskiEngine; an odd grid is padded so
        that no voxel falls off at a halving.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 64,
        stem: int = 32,
        planes: Sequence[int] = (32, 64, 128, 256, 256, 128, 96, 96),
        blocks: Sequence[int] = (2, 3, 4, 6, 2, 2, 2, 2),
        norm_momentum: float = 0.05,
        block_norm_momentum: float = 0.1,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        from spconv.pytorch import SubMConv3d

        if len(planes) != len(blocks) or len(planes) < 2 or len(planes) % 2:
            raise ValueError(
                "planes and blocks need one even length (encoder stages, then as many decoder "
                f"stages), got {len(planes)} and {len(blocks)}"
            )
        self.levels = len(planes) // 2
        self.normalize = normalize
        self.feature_channels = planes[-1]
        self.out_channels = out_channels or planes[-1]
        self._momenta = (norm_momentum, block_norm_momentum)
        self.conv0p1s1 = SubMConv3d(
            in_channels, stem, 3, padding=1, bias=False, indice_key="level0"
        )
        self.bn0 = nn.BatchNorm1d(stem, momentum=norm_momentum)
        skips = self._add_encoder(stem, planes, blocks)
        self._add_decoder(skips, planes, blocks)
        self.final = nn.Linear(planes[-1], out_channels) if out_channels else nn.Identity()

    def _add_encoder(self, stem: int, planes: Sequence[int], blocks: Sequence[int]) -> list[int]:
        """Halvings with their blocks; returns the widths met on the way, stem first."""
        from spconv.pytorch import SparseConv3d

        widths = [stem]
        for level in range(self.levels):
            down = SparseConv3d(
                widths[-1], widths[-1], 2, stride=2, bias=False, indice_key=f"down{level}"
            )
            setattr(self, f"conv{level + 1}p{2**level}s2", down)
            norm = nn.BatchNorm1d(widths[-1], momentum=self._momenta[0])
            setattr(self, f"bn{level + 1}", norm)
            stage = self._stage(widths[-1], planes[level], blocks[level], f"level{level + 1}")
            setattr(self, f"block{level + 1}", stage)
            widths.append(planes[level])
        return widths

    def _add_decoder(self, skips: list[int], planes: Sequence[int], blocks: Sequence[int]) -> None:
        """Doublings onto the skips' voxels, with their blocks."""
        from spconv.pytorch import SparseInverseConv3d

        width = skips[-1]
        for stage in range(self.levels, 2 * self.levels):
            level = 2 * self.levels - stage - 1  # resolution it rises to
            up = SparseInverseConv3d(width, planes[stage], 2, bias=False, indice_key=f"down{level}")
            setattr(self, f"convtr{stage}p{2 ** (level + 1)}s2", up)
            norm = nn.BatchNorm1d(planes[stage], momentum=self._momenta[0])
            setattr(self, f"bntr{stage}", norm)
            joined = planes[stage] + skips[level]
            block = self._stage(joined, planes[stage], blocks[stage], f"level{level}")
            setattr(self, f"block{stage + 1}", block)
            width = planes[stage]

    def _stage(self, in_channels: int, channels: int, count: int, key: str) -> nn.Sequential:
        momentum, inside = self._momenta
        widths = [in_channels] + [channels] * (count - 1)
        return nn.Sequential(
            *(ResidualBlock(width, channels, key, inside, momentum) for width in widths)
        )

    def features(
        self,
        voxel_features: Tensor,
        voxel_coords: Tensor,
        spatial_shape: tuple[int, int, int],
        batch_size: int,
    ) -> Tensor:
        """Decoder output before the output layer: (V, ``planes[-1]``). Arguments as `forward`."""
        step = 2**self.levels
        depth, height, width = (-(-size // step) * step for size in spatial_shape)
        padded = (depth, height, width)
        x: Any = sparse_tensor(voxel_features, voxel_coords, padded, batch_size)
        x = norm_relu(self.conv0p1s1(x), self.bn0)
        skips = [x]
        for level in range(self.levels):
            down = self.get_submodule(f"conv{level + 1}p{2**level}s2")
            x = norm_relu(down(x), self.get_submodule(f"bn{level + 1}"))
            x = self.get_submodule(f"block{level + 1}")(x)
            skips.append(x)
        for stage in range(self.levels, 2 * self.levels):
            level = 2 * self.levels - stage - 1
            up = self.get_submodule(f"convtr{stage}p{2 ** (level + 1)}s2")
            x = norm_relu(up(x), self.get_submodule(f"bntr{stage}"))
            x = x.replace_feature(torch.cat([x.features, skips[level].features], dim=1))
            x = self.get_submodule(f"block{stage + 1}")(x)
        return x.features

    def forward(
        self,
        voxel_features: Tensor,
        voxel_coords: Tensor,
        spatial_shape: tuple[int, int, int],
        batch_size: int,
    ) -> Tensor:
        """One vector per voxel.

        Args:
            voxel_features: (V, in_channels) float.
            voxel_coords: (V, 4) int32 (batch, z, y, x), unique.
            spatial_shape: cells along (z, y, x).
            batch_size: number of samples B.

        Returns:
            (V, out_channels) in the order of ``voxel_coords``; unit norm if ``normalize``.
        """
        out = self.final(self.features(voxel_features, voxel_coords, spatial_shape, batch_size))
        return F.normalize(out, dim=1) if self.normalize else out
