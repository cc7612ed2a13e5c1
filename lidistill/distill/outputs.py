# SPDX-License-Identifier: Apache-2.0
"""What a tap hands to a method: features with the geometry that gives them meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class SparseVoxels:
    """Features of occupied voxels.

    Attributes:
        features: (V, C) float.
        coords: (V, 4) int32, (batch, z, y, x) in cells of this stride.
        spatial_shape: cells along (z, y, x).
        batch_size: number of samples.
    """

    features: torch.Tensor
    coords: torch.Tensor
    spatial_shape: tuple[int, ...]
    batch_size: int


@dataclass
class FeatureMap:
    """A dense map: an image feature map or a bird's-eye view.

    Attributes:
        features: (B, C, H, W) float; for a BEV map rows are y and columns are x.
        grid: the :class:`lidistill.geometry.bev_grid.BEVGrid` of a BEV map, else None.
    """

    features: torch.Tensor
    grid: Any = None


@dataclass
class Rows:
    """One feature row per point, voxel or region: (N, C) float."""

    features: torch.Tensor


def wrap_output(value: Any, grid: Any = None) -> Any:
    """Give a module's raw output its geometry; values of other kinds pass unchanged.

    Args:
        value: spconv's ``SparseConvTensor``, a (B, C, H, W) or (N, C) tensor, or anything else
            (head dictionaries, lists of levels).
        grid: the BEVGrid to attach to a 4-D map.
    """
    if isinstance(value, torch.Tensor):
        if value.dim() == 4:
            return FeatureMap(value, grid)
        return Rows(value) if value.dim() == 2 else value
    if hasattr(value, "indices") and hasattr(value, "spatial_shape"):
        return SparseVoxels(
            value.features, value.indices, tuple(value.spatial_shape), value.batch_size
        )
    return value
