# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's own encoders as students: each gets our voxels in the form it wants, none is edited.

The foreign module stands in an attribute under its own names, so that a checkpoint's tensors go
into a detector by taking a prefix off (see :mod:`lidistill.distill.parts`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lidistill import compat
from lidistill.models.backbones.bev_reader import read_at_voxels
from lidistill.registry import MODELS

Shape = tuple[int, int, int]


def build_part(part: nn.Module | dict | None) -> Any:
    """A module, or the module of a config; mmdet3d's need the bridges. None stays None."""
    if part is None or isinstance(part, nn.Module):
        return part
    compat.apply()
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmdet3d"):
        return MODELS.build(dict(part))


def pad_columns(values: Tensor, count: int) -> Tensor:
    """Add ``count`` columns of zeros to (V, C) features."""
    return nn.functional.pad(values, (0, count)) if count else values


@MODELS.register_module()
class SparseEncoderMap(nn.Module):
    """mmdet3d's ``SparseEncoder`` (SECOND, CenterPoint) with the calling form of our VoxelNet.

    Inside :class:`lidistill.models.backbones.bev_reader.BEVAtVoxels` it is a student for points.

    Args:
        encoder: the module or its config; ``encoder.sparse_shape`` is its grid.
        pad_channels: columns of zeros added to the voxel features, for an encoder that expects
            more inputs: the time lag of points, which is zero in a single sweep.

    Raises:
        ValueError: the encoder returns its middle features as well.
    """

    def __init__(self, encoder: nn.Module | dict, pad_channels: int = 0) -> None:
        super().__init__()
        self.encoder = build_part(encoder)
        self.pad_channels = pad_channels
        if getattr(self.encoder, "return_middle_feats", False):
            raise ValueError("expected an encoder with return_middle_feats=False")
        from spconv.pytorch.conv import SparseConvolution

        layers = [m for m in self.encoder.modules() if isinstance(m, SparseConvolution)]
        self.stride = math.prod(layer.stride[-1] for layer in layers)

    def forward(
        self, voxel_features: Tensor, voxel_coords: Tensor, spatial_shape: Shape, batch_size: int
    ) -> Tensor:
        """Bird's-eye-view map.

        Args:
            voxel_features: (V, in_channels - pad_channels) float: the mean of x, y, z, intensity.
            voxel_coords: (V, 4) int32 (batch, z, y, x).
            spatial_shape: cells along (z, y, x).
            batch_size: number of samples B.

        Returns:
            (B, C * slices, Y / stride, X / stride).

        Raises:
            ValueError: the voxels belong to another grid than the encoder was built for.
        """
        own = tuple(self.encoder.sparse_shape)
        extra = own[0] - spatial_shape[0]  # SECOND adds one slice of height
        if own[1:] != tuple(spatial_shape[1:]) or extra not in (0, 1):
            raise ValueError(_other_grid(own, spatial_shape))
        features = pad_columns(voxel_features, self.pad_channels)
        bev: Tensor = self.encoder(features, voxel_coords, batch_size)
        return bev


def rank_in_voxel(voxel: Tensor) -> Tensor:
    """(N,) how many earlier points share each point's voxel (N,)."""
    order = torch.argsort(voxel, stable=True)
    ordered = voxel[order]
    starts = torch.searchsorted(ordered, ordered)  # first row of the same voxel
    rank = torch.empty_like(voxel)
    rank[order] = torch.arange(len(voxel), device=voxel.device) - starts
    return rank


def _other_grid(own: tuple[int, ...], given: Shape) -> str:
    return (
        f"the encoder was built for a grid of {own} cells (z, y, x; height plus one), the voxels "
        f"have {tuple(given)}; give Voxelize the detector's point_range and voxel_size"
    )


@MODELS.register_module()
class MinkUNetAtVoxels(nn.Module):
    """mmdet3d's ``MinkUNetBackbone`` on spconv: one vector a voxel.

    Args:
        backbone: the module or its config, ``sparseconv_backend="spconv"``.
        pad_channels: columns of zeros added to the voxel features.

    Raises:
        ValueError: a backbone on another sparse engine.
    """

    def __init__(self, backbone: nn.Module | dict, pad_channels: int = 0) -> None:
        super().__init__()
        self.backbone = build_part(backbone)
        self.pad_channels = pad_channels
        engine = getattr(self.backbone, "sparseconv_backend", None)
        if engine != "spconv":
            raise ValueError(f"expected sparseconv_backend='spconv', got {engine!r}")

    def forward(self, voxel_features: Tensor, voxel_coords: Tensor) -> Tensor:
        """(V, C) features of voxels (V, F) at (V, 4) (batch, z, y, x), in their order.

        mmdet3d's segmentors hand x y z over; the batch must be in ascending order. mmdet3d makes
        the grid as large as the farthest voxels ask for, so those at an odd border meet no
        coarser level.
        """
        features = pad_columns(voxel_features, self.pad_channels)
        out: Tensor = self.backbone(features, voxel_coords[:, [0, 3, 2, 1]].contiguous())
        return out


@MODELS.register_module()
class PillarsAtVoxels(nn.Module):
    """PointPillars' own parts as a student: one vector a pillar.

    Args:
        voxel_encoder: mmdet3d's ``PillarFeatureNet`` or its config.
        middle_encoder: its ``PointPillarsScatter``, where a backbone follows; None without one.
        backbone: 2-D backbone on the scattered map; None gives the pillar features as they are.
        neck: behind the backbone; its first output is read.
        channels: leading columns of the points that the pillars take: x, y, z, intensity.
        max_points: points a pillar holds, the first ones; as in the detector's voxelization.
        pad_channels: columns of zeros added to each point.

    Raises:
        ValueError: a backbone without a middle encoder.
    """

    def __init__(
        self,
        voxel_encoder: nn.Module | dict,
        middle_encoder: nn.Module | dict | None = None,
        backbone: nn.Module | dict | None = None,
        neck: nn.Module | dict | None = None,
        channels: int = 4,
        max_points: int = 20,
        pad_channels: int = 0,
    ) -> None:
        super().__init__()
        if backbone is not None and middle_encoder is None:
            raise ValueError("expected a middle_encoder (PointPillarsScatter) before a backbone")
        self.voxel_encoder: Any = build_part(voxel_encoder)
        self.middle_encoder: Any = build_part(middle_encoder)
        self.backbone: Any = build_part(backbone)
        self.neck: Any = build_part(neck)
        self.channels, self.max_points, self.pad_channels = channels, max_points, pad_channels

    def forward(
        self,
        points: Tensor,
        point_to_voxel: Tensor,
        voxel_coords: Tensor,
        spatial_shape: Shape,
        batch_size: int,
    ) -> Tensor:
        """One vector a pillar.

        Args:
            points: (N, channels or more) in metres.
            point_to_voxel: (N,) pillar of each point, -1 for none.
            voxel_coords: (V, 4) (batch, z, y, x), z = 0.
            spatial_shape: cells along (z, y, x); one along z.
            batch_size: number of samples B.

        Returns:
            (V, C) in the order of ``voxel_coords``; behind a backbone, its map read bilinearly.
        """
        if spatial_shape[0] != 1:
            raise ValueError(
                f"expected pillars, one cell along z, got {spatial_shape}; give Voxelize the "
                "height of the detector's range as voxel size along z"
            )
        pillars, counts = self.gather(points, point_to_voxel, len(voxel_coords))
        features: Tensor = self.voxel_encoder(pillars, counts, voxel_coords)
        if self.backbone is None:
            return features
        own = (self.middle_encoder.ny, self.middle_encoder.nx)
        if own != tuple(spatial_shape[1:]):
            raise ValueError(_other_grid((0, *own), spatial_shape))
        maps = self.backbone(self.middle_encoder(features, voxel_coords, batch_size))
        bev = (maps if self.neck is None else self.neck(maps))[0]  # (B, C, Y / s, X / s)
        stride = spatial_shape[1] // bev.shape[2]
        return read_at_voxels(bev, voxel_coords, spatial_shape, stride)

    def gather(self, points: Tensor, point_to_voxel: Tensor, pillars: int) -> tuple[Tensor, Tensor]:
        """Points of each pillar (V, max_points, C), zeros behind the last, and counts (V,)."""
        inside = point_to_voxel >= 0
        voxel = point_to_voxel[inside]
        values = pad_columns(points[inside, : self.channels], self.pad_channels)
        place = rank_in_voxel(voxel)
        kept = place < self.max_points
        voxel, place, values = voxel[kept], place[kept], values[kept]
        out = values.new_zeros(pillars, self.max_points, values.shape[1])
        out[voxel, place] = values
        return out, torch.bincount(voxel, minlength=pillars)
