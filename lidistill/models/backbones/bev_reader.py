# SPDX-License-Identifier: Apache-2.0
"""Reads bird's-eye-view maps at voxels, so that encoders of detectors can be taught by points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lidistill.geometry.bev_grid import BEVGrid
from lidistill.registry import MODELS


@MODELS.register_module()
class BEVAtVoxels(nn.Module):
    """Student that gives each voxel the features of an encoder's BEV map at its place.

    What expects one vector per voxel (image-to-LiDAR methods, the linear probe) then takes an
    encoder whose output is a map. Height is lost: voxels above each other read the same vector.

    Args:
        encoder: network, or its config, with ``forward`` as
            :class:`lidistill.models.backbones.voxelnet.VoxelNet` and its ``stride``.

    Source: SLidR, CVPR 2022, section 4.1 (VoxelNet).
    Differs from the authors' release: the map is read at the voxel's centre, theirs at the point
        itself (at most half a voxel aside); past the last cell's place that cell counts, where
        theirs fades to zero.
    """

    def __init__(self, encoder: nn.Module | dict) -> None:
        super().__init__()
        self.encoder: Any = MODELS.build(encoder) if isinstance(encoder, dict) else encoder

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
            voxel_coords: (V, 4) int32 (batch, z, y, x).
            spatial_shape: cells along (z, y, x); y and x multiples of the stride.
            batch_size: number of samples B.

        Returns:
            (V, C) in the order of ``voxel_coords``.
        """
        bev = self.encoder(voxel_features, voxel_coords, spatial_shape, batch_size)
        return read_at_voxels(bev, voxel_coords, spatial_shape, self.encoder.stride)


def read_at_voxels(
    bev: Tensor, voxel_coords: Tensor, spatial_shape: tuple[int, int, int], stride: int
) -> Tensor:
    """Read a strided BEV map bilinearly at the centres of voxels.

    Through padded stride-2 convolutions cell k of the map comes to stand at voxel ``stride * k``,
    its lower edge, so that is where its value counts; the release reads it there too.

    Args:
        bev: (B, C, Y / stride, X / stride), rows y, columns x.
        voxel_coords: (V, 4) integer (batch, z, y, x).
        spatial_shape: voxels along (z, y, x).
        stride: voxels per cell of the map.

    Returns:
        (V, C).

    Raises:
        ValueError: the stride does not divide the grid, or the map has another size.
    """
    _, rows, columns = spatial_shape
    grid = BEVGrid((0.0, float(columns)), (0.0, float(rows)), (1.0, 1.0)).strided(stride)
    last = torch.tensor(grid.shape, device=bev.device).flip(0).float() * stride - stride  # x, y
    xy = torch.minimum(voxel_coords[:, [3, 2]].float() + 0.5, last)  # (V, 2), in voxels
    return grid.read_bilinear(bev, xy + stride / 2, voxel_coords[:, 0].long())
