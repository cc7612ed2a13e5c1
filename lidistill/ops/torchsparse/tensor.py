# SPDX-License-Identifier: Apache-2.0
"""``torchsparse.tensor``: features on voxels, and on points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lidistill.ops.torchsparse.utils import Size, Triple, make_ntuple


class SparseTensor:
    """Features of voxels.

    Args:
        feats: (V, C).
        coords: (V, 4) int, x y z and sample of each voxel. A coarser voxel has the coordinates of
            its first cell at stride 1, so these stay multiples of ``stride``.
        stride: cells of stride 1 along each axis of a voxel, one number or three.

    Attributes:
        cmaps: coordinates (V, 4) by stride, of this tensor and of those that it comes from.
        kmaps: what convolutions left for later ones, their transposed ones too.
    """

    def __init__(self, feats: Tensor, coords: Tensor, stride: Size = 1) -> None:
        if coords.ndim != 2 or coords.shape[1] != 4 or len(feats) != len(coords):
            raise ValueError(
                "expected one row of features for each of the coordinates (V, 4) as (x, y, z, "
                f"batch), got {tuple(feats.shape)} and {tuple(coords.shape)}"
            )
        self.feats, self.coords = feats, coords
        self.stride: Triple = make_ntuple(stride, 3)
        self.cmaps: dict[Triple, Tensor] = {}
        self.kmaps: dict[tuple[Any, ...], Any] = {}

    @property
    def F(self) -> Tensor:  # noqa: N802 -- the library's own name
        """Features (V, C)."""
        return self.feats

    @F.setter
    def F(self, feats: Tensor) -> None:  # noqa: N802
        self.feats = feats

    @property
    def C(self) -> Tensor:  # noqa: N802
        """Coordinates (V, 4)."""
        return self.coords

    @C.setter
    def C(self, coords: Tensor) -> None:  # noqa: N802
        self.coords = coords

    @property
    def s(self) -> Triple:
        """Stride."""
        return self.stride

    @s.setter
    def s(self, stride: Size) -> None:
        self.stride = make_ntuple(stride, 3)

    def to(self, device: str | torch.device, non_blocking: bool = True) -> SparseTensor:
        """This tensor itself, moved."""
        self.feats = self.feats.to(device, non_blocking=non_blocking)
        self.coords = self.coords.to(device, non_blocking=non_blocking)
        return self

    def cuda(self) -> SparseTensor:
        """This tensor itself, on the GPU."""
        return self.to("cuda")

    def detach(self) -> SparseTensor:
        """This tensor itself, without history."""
        self.feats, self.coords = self.feats.detach(), self.coords.detach()
        return self

    def __add__(self, other: SparseTensor) -> SparseTensor:
        if other.stride != self.stride or len(other.feats) != len(self.feats):
            raise ValueError(
                f"expected a sum of tensors on the same voxels, got {len(self.feats)} of stride "
                f"{self.stride} and {len(other.feats)} of stride {other.stride}"
            )
        return on_voxels_of(self, self.feats + other.feats)


class PointTensor:
    """Features of points.

    Args:
        feats: (N, C).
        coords: (N, 4) float, x y z in voxels of stride 1 and sample.
        idx_query: voxels (N, 8) around each point, by stride.
        weights: their shares (N, 8), by stride.

    Attributes:
        additional_features: ``idx_query`` and ``counts``, by stride, of points put into voxels.
    """

    def __init__(
        self,
        feats: Tensor,
        coords: Tensor,
        idx_query: dict[Any, Tensor] | None = None,
        weights: dict[Any, Tensor] | None = None,
    ) -> None:
        self.F, self.C = feats, coords
        self.idx_query = {} if idx_query is None else idx_query
        self.weights = {} if weights is None else weights
        self.additional_features: dict[str, dict[Any, Tensor]] = {"idx_query": {}, "counts": {}}

    def to(self, device: str | torch.device, non_blocking: bool = True) -> PointTensor:
        """This tensor itself, moved."""
        self.F = self.F.to(device, non_blocking=non_blocking)
        self.C = self.C.to(device, non_blocking=non_blocking)
        return self

    def cuda(self) -> PointTensor:
        """This tensor itself, on the GPU."""
        return self.to("cuda")

    def detach(self) -> PointTensor:
        """This tensor itself, without history."""
        self.F, self.C = self.F.detach(), self.C.detach()
        return self

    def __add__(self, other: PointTensor) -> PointTensor:
        total = PointTensor(self.F + other.F, self.C, self.idx_query, self.weights)
        total.additional_features = self.additional_features
        return total


def on_voxels_of(tensor: SparseTensor, feats: Tensor) -> SparseTensor:
    """Other features (V, C') on the same voxels, with the same maps."""
    out = SparseTensor(feats, tensor.coords, tensor.stride)
    out.cmaps, out.kmaps = tensor.cmaps, tensor.kmaps
    return out
