# SPDX-License-Identifier: Apache-2.0
"""``spconv.pytorch.core``: the sparse tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lidistill.ops.sparse.layers import IndiceData

__all__ = ["IndiceData", "SparseConvTensor", "expand_nd"]


def expand_nd(ndim: int, value: int | Sequence[int]) -> list[int]:
    """One integer for each of ``ndim`` axes.

    Raises:
        ValueError: another number of them.
    """
    values = [value] * ndim if isinstance(value, int) else list(value)
    if len(values) != ndim:
        raise ValueError(f"expected one value or {ndim}, one an axis, got {value}")
    return [int(each) for each in values]


class SparseConvTensor:
    """Features of the active voxels of a batch of grids.

    Args:
        features: (V, C).
        indices: (V, 1 + D) int32, sample and cell of each voxel, unique; copied where they are not
            contiguous.
        spatial_shape: D grid sizes.
        batch_size: number of samples.
        grid: memory for spconv's kernels; kept, not used.
        voxel_num: number of voxels for TensorRT; kept, not used.
        indice_dict: what earlier layers left under their ``indice_key``.
        benchmark: kept, not used, as all that follow.
        permanent_thrust_allocator: see ``benchmark``.
        enable_timer: see ``benchmark``.
        force_algo: see ``benchmark``.

    Raises:
        ValueError: shapes or types that do not fit.
    """

    def __init__(  # noqa: PLR0913 -- the library's own signature
        self,
        features: Tensor,
        indices: Tensor,
        spatial_shape: Sequence[int],
        batch_size: int,
        grid: Tensor | None = None,
        voxel_num: Tensor | None = None,
        indice_dict: dict[str, IndiceData] | None = None,
        benchmark: bool = False,
        permanent_thrust_allocator: bool = False,
        enable_timer: bool = False,
        force_algo: Any = None,
    ) -> None:
        axes = len(spatial_shape)
        if features.ndim != 2 or indices.ndim != 2 or indices.shape[1] != axes + 1:
            raise ValueError(
                f"expected features (V, C) and indices (V, {axes + 1}) as (batch, ...) for the "
                f"grid {list(spatial_shape)}, got {tuple(features.shape)} and "
                f"{tuple(indices.shape)}"
            )
        if indices.dtype != torch.int32:
            raise ValueError(f"expected int32 indices, got {indices.dtype}: call .int() on them")
        if batch_size <= 0:
            raise ValueError(f"expected at least one sample, got batch_size {batch_size}")
        self._features = features
        self.indices = indices.contiguous()
        self.spatial_shape = [int(size) for size in spatial_shape]
        self.batch_size = int(batch_size)
        self.indice_dict = {} if indice_dict is None else indice_dict
        self.grid, self.voxel_num = grid, voxel_num
        self.benchmark, self.force_algo = benchmark, force_algo
        self.benchmark_record: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"SparseConvTensor[shape={self._features.shape}]"

    @property
    def features(self) -> Tensor:
        """(V, C)."""
        return self._features

    @features.setter
    def features(self, value: Tensor) -> None:
        raise ValueError("features cannot be set: x = x.replace_feature(features) makes a new one")

    @property
    def is_quantized(self) -> bool:
        """Never here."""
        return False

    @property
    def spatial_size(self) -> int:
        """Number of cells of one grid."""
        return math.prod(self.spatial_shape)

    def shadow_copy(self) -> SparseConvTensor:
        """The same voxels, features and dictionary in a new tensor."""
        return self.replace_feature(self._features)

    def replace_feature(self, feature: Tensor) -> SparseConvTensor:
        """A tensor of the same voxels with other features (V, C')."""
        out = type(self).__new__(type(self))
        out.__dict__.update(self.__dict__, _features=feature)
        return out

    def select_by_index(self, valid_indices: Tensor) -> SparseConvTensor:
        """Some of the voxels, by a mask (V,) or row numbers; tables of earlier layers are lost."""
        out = self.replace_feature(self._features[valid_indices])
        out.indices, out.indice_dict = self.indices[valid_indices].contiguous(), {}
        return out

    def minus(self) -> SparseConvTensor:
        """Negative features."""
        return self.replace_feature(-self._features)

    @classmethod
    def from_dense(cls, x: Tensor) -> SparseConvTensor:
        """The cells of a dense (B, ..., C) map that are not zero in all channels."""
        sparse = x.to_sparse(x.ndim - 1)
        indices = sparse.indices().T.contiguous().int()
        return cls(sparse.values(), indices, list(x.shape[1:-1]), x.shape[0])

    def find_indice_pair(self, key: str | None) -> IndiceData | None:
        """What an earlier layer left under ``key``."""
        return None if key is None else self.indice_dict.get(key)

    def dense(self, channels_first: bool = True) -> Tensor:
        """(B, C, ...), or (B, ..., C); zero where no voxel is."""
        shape = (self.batch_size, *self.spatial_shape, self._features.shape[1])
        cells = tuple(self.indices.to(self._features.device).long().unbind(1))
        out = self._features.new_zeros(shape).index_put(cells, self._features)
        return out.movedim(-1, 1).contiguous() if channels_first else out

    def __add__(self, other: SparseConvTensor | Tensor) -> SparseConvTensor:
        features = other.features if isinstance(other, SparseConvTensor) else other
        return self.replace_feature(self._features + features)

    __radd__ = __add__
