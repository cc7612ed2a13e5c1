# SPDX-License-Identifier: Apache-2.0
"""What a tap hands to a method: features with the geometry that gives them meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class SparseVoxels:
    """Features of occupied voxels.

    Attributes:
        features: (V, C) float.
        coords: (V, 4) int32, (batch, z, y, x) in cells of this stride.
        spatial_shape: cells along (z, y, x); empty where it is not known.
        batch_size: number of samples.
        counts: (V,) points of each voxel, as a voxel encoder sees them; else None.
    """

    features: torch.Tensor
    coords: torch.Tensor
    spatial_shape: tuple[int, ...]
    batch_size: int
    counts: torch.Tensor | None = None


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
class Points:
    """Features of points, as PointNet++ holds them.

    Attributes:
        features: (B, C, N) float.
        xyz: (B, N, 3) metres.
    """

    features: torch.Tensor
    xyz: torch.Tensor


@dataclass
class Rows:
    """One feature row per point, voxel or region: (N, C) float."""

    features: torch.Tensor


def wrap_output(
    value: Any, grid: Any = None, inputs: Sequence[Any] = (), voxel_shape: Sequence[int] = ()
) -> Any:
    """Give a module's raw output its geometry; values of other kinds pass unchanged.

    Args:
        value: spconv's ``SparseConvTensor``, a (B, C, H, W), (B, C, N) or (N, C) tensor, or
            anything else (head dictionaries, lists of levels).
        grid: the BEVGrid to attach to a 4-D map.
        inputs: the module's positional arguments; a voxel encoder gets coordinates there, a layer
            of PointNet++ the places of its points.
        voxel_shape: cells along (z, y, x) of the voxels that enter the model.
    """
    voxels = _encoded_voxels(value, inputs, voxel_shape)
    if voxels is not None:
        return voxels
    if isinstance(value, torch.Tensor):
        if value.dim() == 4:
            return FeatureMap(value, grid)
        if value.dim() == 3:
            places = (len(value), value.shape[2], 3)
            xyz = [each for each in inputs if getattr(each, "shape", None) == places]
            return Points(value, xyz[0]) if xyz else value
        return Rows(value) if value.dim() == 2 else value
    if hasattr(value, "indices") and hasattr(value, "spatial_shape"):
        return SparseVoxels(
            value.features, value.indices, tuple(value.spatial_shape), value.batch_size
        )
    return value


def _encoded_voxels(
    value: Any, inputs: Sequence[Any], voxel_shape: Sequence[int]
) -> SparseVoxels | None:
    """Output of a voxel encoder, called as mmdet3d does: (points, counts, coordinates)."""
    if isinstance(value, tuple) and len(value) == 2 and _is_coords(value[1], value[0]):
        value, inputs = value[0], (value[1],)  # dynamic encoders return their coordinates
    if not isinstance(value, torch.Tensor) or value.dim() != 2:
        return None
    coords = [each for each in inputs if _is_coords(each, value)]
    if not coords:
        return None
    counts = [
        each for each in inputs if isinstance(each, torch.Tensor) and each.shape == value.shape[:1]
    ]
    batch = coords[0][:, 0]
    return SparseVoxels(
        value,
        coords[0],
        tuple(voxel_shape),
        int(batch.max()) + 1 if len(batch) else 0,
        counts[0] if counts else None,
    )


def _is_coords(value: Any, rows: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and isinstance(rows, torch.Tensor)
        and value.shape == (len(rows), 4)
        and not value.is_floating_point()
    )
