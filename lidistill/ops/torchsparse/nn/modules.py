# SPDX-License-Identifier: Apache-2.0
"""``torchsparse.nn.modules``: convolution, norms and activations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from lidistill.ops.torchsparse.nn.functional.conv import check_dilation, conv3d
from lidistill.ops.torchsparse.nn.utils import fapply
from lidistill.ops.torchsparse.tensor import SparseTensor, on_voxels_of
from lidistill.ops.torchsparse.utils import Size, make_ntuple


class Conv3d(nn.Module):
    """A sparse convolution, submanifold where its stride is 1; `conv3d` with weights.

    Args:
        in_channels: Cin.
        out_channels: Cout.
        kernel_size: one number, or three along x, y, z.
        stride: one number, or three.
        dilation: 1; torchsparse 1.4.0 reads another one and leaves it out of its tables.
        bias: add a vector (Cout,).
        transposed: back to the voxels before the convolution of this kernel and stride.

    Attributes:
        kernel: (K, Cin, Cout) in the order of `get_kernel_offsets`, (Cin, Cout) for one cell.
        bias: (Cout,) or None.

    Raises:
        ValueError: a dilation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        dilation: int = 1,
        bias: bool = False,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = make_ntuple(kernel_size, 3), make_ntuple(stride, 3)
        check_dilation(dilation)
        self.dilation, self.transposed = dilation, transposed
        self.kernel_volume = math.prod(self.kernel_size)
        volume = (self.kernel_volume,) if self.kernel_volume > 1 else ()
        self.kernel = nn.Parameter(torch.zeros(*volume, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(fan in); the fan of a transposed layer counts its outputs."""
        channels = self.out_channels if self.transposed else self.in_channels
        bound = 1 / math.sqrt(channels * self.kernel_volume)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, input: SparseTensor) -> SparseTensor:
        """A sparse tensor (V, Cin) -> one of (V_out, Cout)."""
        geometry = (self.stride, self.dilation, self.transposed)
        return conv3d(input, self.kernel, self.kernel_size, self.bias, *geometry)

    def extra_repr(self) -> str:
        """Arguments that are not as usual."""
        parts = [f"{self.in_channels}, {self.out_channels}", f"kernel_size={self.kernel_size}"]
        parts += [f"stride={self.stride}"] if math.prod(self.stride) > 1 else []
        parts += ["bias=False"] if self.bias is None else []
        parts += ["transposed=True"] if self.transposed else []
        return ", ".join(parts)


class _OnFeatures:
    """Lets a layer of torch work on the features; a tensor without voxels comes back as it is."""

    def forward(self, input: Any) -> Any:
        """A sparse tensor (V, C) -> one on the same voxels."""
        apply: Any = super().forward  # type: ignore[misc]
        return fapply(input, apply) if len(input.feats) else input


class BatchNorm(_OnFeatures, nn.BatchNorm1d):
    """`nn.BatchNorm1d` on the features."""


class ReLU(_OnFeatures, nn.ReLU):
    """`nn.ReLU` on the features."""


class LeakyReLU(_OnFeatures, nn.LeakyReLU):
    """`nn.LeakyReLU` on the features."""


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` on the features of each sample by itself."""

    def forward(self, input: Any) -> Any:
        """A sparse tensor (V, C) -> one on the same voxels."""
        if not len(input.feats):
            return input
        norm, sample = super().forward, input.coords[:, 3]
        rows = [torch.nonzero(sample == each)[:, 0] for each in torch.unique(sample)]
        normed = torch.cat([norm(input.feats[each].T[None])[0].T for each in rows])
        return on_voxels_of(input, normed[torch.cat(rows).argsort()])
