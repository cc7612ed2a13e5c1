# SPDX-License-Identifier: Apache-2.0
"""``spconv.pytorch.pool``: pooling over active voxels, on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lidistill.ops.sparse import layers
from lidistill.ops.spconv.core import ConvAlgo
from lidistill.ops.spconv.pytorch.conv import MAX_VOXELS, Size, on_cpu
from lidistill.ops.spconv.pytorch.core import SparseConvTensor, expand_nd
from lidistill.ops.spconv.pytorch.modules import SparseModule


class _Pool(SparseModule):
    """Pooling over the voxels under a kernel.

    Args:
        ndim: number of axes D.
        kernel_size: one number, or D.
        stride: one number, or D; the kernel size if None.
        padding: one number, or D.
        dilation: one number, or D.
        indice_key: under which an inverse convolution finds the table.
        subm: outputs sit where the inputs sit.
        algo: kept for who asks.
        record_voxel_count: keep the largest number of output voxels in a buffer.
        name: of the layer; not read.
    """

    def __init__(
        self,
        ndim: int,
        kernel_size: Size = 3,
        stride: Size | None = 1,
        padding: Size = 0,
        dilation: Size = 1,
        indice_key: str | None = None,
        subm: bool = False,
        algo: Any = None,
        record_voxel_count: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.ndim = ndim
        self.kernel_size = expand_nd(ndim, kernel_size)
        self.stride = expand_nd(ndim, kernel_size if stride is None else stride)
        self.padding = expand_nd(ndim, padding)
        self.dilation = expand_nd(ndim, dilation)
        self.indice_key, self.subm = indice_key, subm
        self.algo = ConvAlgo.Native if algo is None else algo
        self.record_voxel_count = record_voxel_count
        if record_voxel_count and not subm:
            self.register_buffer(MAX_VOXELS, torch.zeros(1, dtype=torch.int32))

    def get_max_num_voxels(self) -> Tensor | None:
        """Buffer (1,) of the largest number of output voxels so far, where it is recorded."""
        return getattr(self, MAX_VOXELS, None)

    def extra_repr(self) -> str:
        """The kernel."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class SparseMaxPool(_Pool):
    """Maximum over the voxels under a kernel; the first of equals has the gradient."""

    def forward(self, input: SparseConvTensor) -> SparseConvTensor:
        """A sparse tensor (V, C) -> one of (V_out, C)."""
        on_cpu(self, input)
        found: SparseConvTensor = layers.max_pool_forward(self, input)
        return found


class SparseAvgPool(_Pool):
    """Mean over the voxels under a kernel."""

    def forward(self, input: SparseConvTensor) -> SparseConvTensor:
        """A sparse tensor (V, C) -> one of (V_out, C)."""
        on_cpu(self, input)
        found: SparseConvTensor = layers.avg_pool_forward(self, input)
        return found


class SparseGlobalMaxOrAvgPool(SparseModule):
    """Maximum or mean over all voxels of a sample.

    Args:
        is_mean: the mean.
        name: of the layer; not read.
    """

    def __init__(self, is_mean: bool, name: str | None = None) -> None:
        super().__init__(name)
        self.is_mean = is_mean

    def forward(self, input: SparseConvTensor) -> Tensor:
        """A sparse tensor (V, C) -> (B, C), zero for a sample without voxels."""
        return layers.global_pool_forward(self, input)


class SparseGlobalMaxPool(SparseGlobalMaxOrAvgPool):
    """Maximum over all voxels of a sample."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(False, name)


class SparseGlobalAvgPool(SparseGlobalMaxOrAvgPool):
    """Mean over all voxels of a sample."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(True, name)


class _Axes:
    """A pool in a fixed number of axes, with spconv's order of arguments."""

    NDIM: int

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        indice_key: str | None = None,
        algo: Any = None,
        record_voxel_count: bool = False,
        name: str | None = None,
    ) -> None:
        build: Any = super().__init__
        geometry = (self.NDIM, kernel_size, stride, padding, dilation)
        build(*geometry, indice_key, False, algo, record_voxel_count, name)


class SparseMaxPool1d(_Axes, SparseMaxPool):
    """Maximum over the voxels under a kernel."""

    NDIM = 1


class SparseMaxPool2d(_Axes, SparseMaxPool):
    """Maximum over the voxels under a kernel."""

    NDIM = 2


class SparseMaxPool3d(_Axes, SparseMaxPool):
    """Maximum over the voxels under a kernel."""

    NDIM = 3


class SparseMaxPool4d(_Axes, SparseMaxPool):
    """Maximum over the voxels under a kernel."""

    NDIM = 4


class SparseAvgPool1d(_Axes, SparseAvgPool):
    """Mean over the voxels under a kernel."""

    NDIM = 1


class SparseAvgPool2d(_Axes, SparseAvgPool):
    """Mean over the voxels under a kernel."""

    NDIM = 2


class SparseAvgPool3d(_Axes, SparseAvgPool):
    """Mean over the voxels under a kernel."""

    NDIM = 3
