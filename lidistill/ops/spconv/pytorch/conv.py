# SPDX-License-Identifier: Apache-2.0
"""``spconv.pytorch.conv``: sparse convolutions in one to four dimensions, on the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lidistill.ops.sparse import layers
from lidistill.ops.spconv.core import Activation, ConvAlgo
from lidistill.ops.spconv.pytorch.core import SparseConvTensor, expand_nd
from lidistill.ops.spconv.pytorch.modules import SparseModule

Size = int | Sequence[int]
MAX_VOXELS = "max_num_voxels_during_training"
"""Buffer of a layer that records how many voxels come out of it at most."""


def on_cpu(layer: nn.Module, x: SparseConvTensor) -> None:
    """Refuse tensors on other devices.

    Raises:
        ValueError: ``x`` is not on the CPU.
    """
    device = x.features.device
    if device.type != "cpu":
        raise ValueError(
            f"expected a sparse tensor on the CPU for lidistill's own {type(layer).__name__}, got "
            f"one on {device}: on a GPU spconv's layers need spconv or spconv-triton; "
            "`lidistill doctor` names the one for this GPU"
        )


class SparseConvolution(SparseModule):
    """A sparse convolution of any kind; the classes below are what networks are built from.

    Args:
        ndim: number of axes D.
        in_channels: Cin.
        out_channels: Cout.
        kernel_size: one number, or D.
        stride: of a strided convolution; not read by a submanifold one.
        padding: see ``stride``.
        dilation: one number, or D.
        groups: 1.
        bias: add a vector (Cout,).
        subm: outputs sit where the inputs sit.
        output_padding: cells that a transposed convolution adds at the end of each axis.
        transposed: a transposed convolution.
        inverse: back to the voxels before the layer with the same ``indice_key``.
        indice_key: under which the table is found by later layers.
        algo: kept for who asks.
        fp32_accum: not read: sums are taken in float32 at least.
        record_voxel_count: keep the largest number of output voxels in a buffer.
        act_type: activation of the result, for inference.
        act_alpha: slope of a leaky ReLU.
        act_beta: not read.
        large_kernel_fast_algo: not read.
        name: of the layer; not read.
        device: of the weights.
        dtype: of the weights.

    Raises:
        ValueError: groups, a padded 1x1x1 convolution, or sizes of another number of axes.
    """

    def __init__(  # noqa: PLR0913 -- the library's own signature
        self,
        ndim: int,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        subm: bool = False,
        output_padding: Size = 0,
        transposed: bool = False,
        inverse: bool = False,
        indice_key: str | None = None,
        algo: Any = None,
        fp32_accum: bool | None = None,
        record_voxel_count: bool = False,
        act_type: Any = Activation.None_,
        act_alpha: float = 0,
        act_beta: float = 0,
        large_kernel_fast_algo: bool = False,
        name: str | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(name)
        if groups != 1:
            raise ValueError(f"expected groups=1, the only one that spconv knows, got {groups}")
        self.ndim, self.in_channels, self.out_channels = ndim, in_channels, out_channels
        self.kernel_size = expand_nd(ndim, kernel_size)
        self.stride = expand_nd(ndim, stride)
        self.padding = expand_nd(ndim, padding)
        self.dilation = expand_nd(ndim, dilation)
        self.output_padding = expand_nd(ndim, output_padding)
        self.groups, self.subm = groups, subm
        self.transposed, self.inverse = transposed, inverse
        self.indice_key = indice_key
        self.algo = ConvAlgo.Native if algo is None else algo
        self.fp32_accum, self.record_voxel_count = fp32_accum, record_voxel_count
        self.act_type, self.act_alpha, self.act_beta = act_type, act_alpha, act_beta
        self.conv1x1 = math.prod(self.kernel_size) == 1 and (subm or math.prod(self.stride) == 1)
        if self.conv1x1 and not subm and any(self.padding):
            raise ValueError(f"expected a convolution of one cell without padding, got {padding}")
        if self.conv1x1 and act_type.value:
            raise ValueError(f"expected a convolution of one cell without {act_type}")
        if record_voxel_count and not subm and not inverse:
            self.register_buffer(MAX_VOXELS, torch.zeros(1, dtype=torch.int32, device=device))
        self.weight_shape = [out_channels, *self.kernel_size, in_channels]
        self.weight = nn.Parameter(torch.zeros(self.weight_shape, device=device, dtype=dtype))
        bias_start = torch.zeros(out_channels, device=device, dtype=dtype) if bias else None
        self.bias = None if bias_start is None else nn.Parameter(bias_start)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(fan in), the weight first: spconv's start, bit by bit."""
        fan_in = self.in_channels * math.prod(self.kernel_size)
        bound = math.sqrt(3) * (nn.init.calculate_gain("leaky_relu", 5**0.5) / math.sqrt(fan_in))
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def forward(
        self, input: SparseConvTensor, add_input: SparseConvTensor | None = None
    ) -> SparseConvTensor:
        """A sparse tensor (V, Cin) -> one of (V_out, Cout); ``add_input`` is added to it."""
        on_cpu(self, input)
        fused = {"act_type": self.act_type, "act_alpha": self.act_alpha}
        found: SparseConvTensor = layers.conv_forward(
            self, self.training, input, self.weight, self.bias, add_input, **fused
        )
        return found

    def is_inverseable(self) -> bool:
        """Whether an inverse convolution can name this layer."""
        return self.indice_key is not None and not self.subm

    def get_max_num_voxels(self) -> Tensor | None:
        """Buffer (1,) of the largest number of output voxels so far, where it is recorded."""
        return getattr(self, MAX_VOXELS, None)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        count = self.get_max_num_voxels()
        if count is not None:  # a checkpoint of a layer that did not record it
            state_dict.setdefault(prefix + MAX_VOXELS, torch.zeros_like(count))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Arguments that are not as usual."""
        parts = [
            f"{self.in_channels}, {self.out_channels}",
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
            f"padding={self.padding}",
            f"dilation={self.dilation}",
        ]
        parts += [f"indice_key={self.indice_key!r}"] if self.indice_key else []
        parts += ["bias=False"] if self.bias is None else []
        return ", ".join(parts)


class _Strided(SparseConvolution):
    """A convolution in a fixed number of axes, with spconv's order of arguments."""

    NDIM: int
    SUBM = False
    TRANSPOSED = False

    def __init__(  # noqa: PLR0913 -- the library's own signature
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        indice_key: str | None = None,
        algo: Any = None,
        fp32_accum: bool | None = None,
        record_voxel_count: bool = False,
        large_kernel_fast_algo: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(
            self.NDIM,
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            indice_key=indice_key,
            algo=algo,
            fp32_accum=fp32_accum,
            record_voxel_count=record_voxel_count,
            large_kernel_fast_algo=large_kernel_fast_algo,
            name=name,
            subm=self.SUBM,
            transposed=self.TRANSPOSED,
        )


class _Transposed(_Strided):
    TRANSPOSED = True


class _Submanifold(_Strided):
    SUBM = True


class _Inverse(SparseConvolution):
    """An inverse convolution in a fixed number of axes, with spconv's order of arguments."""

    NDIM: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        indice_key: str,
        bias: bool = True,
        algo: Any = None,
        fp32_accum: bool | None = None,
        large_kernel_fast_algo: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(
            self.NDIM,
            in_channels,
            out_channels,
            kernel_size,
            bias=bias,
            inverse=True,
            indice_key=indice_key,
            algo=algo,
            fp32_accum=fp32_accum,
            large_kernel_fast_algo=large_kernel_fast_algo,
            name=name,
        )


class SparseConv1d(_Strided):
    """Strided convolution: outputs sit where the kernel meets an input."""

    NDIM = 1


class SparseConv2d(_Strided):
    """Strided convolution: outputs sit where the kernel meets an input."""

    NDIM = 2


class SparseConv3d(_Strided):
    """Strided convolution: outputs sit where the kernel meets an input."""

    NDIM = 3


class SparseConv4d(_Strided):
    """Strided convolution: outputs sit where the kernel meets an input."""

    NDIM = 4


class SparseConvTranspose1d(_Transposed):
    """Transposed convolution: outputs sit where an input reaches."""

    NDIM = 1


class SparseConvTranspose2d(_Transposed):
    """Transposed convolution: outputs sit where an input reaches."""

    NDIM = 2


class SparseConvTranspose3d(_Transposed):
    """Transposed convolution: outputs sit where an input reaches."""

    NDIM = 3


class SparseConvTranspose4d(_Transposed):
    """Transposed convolution: outputs sit where an input reaches."""

    NDIM = 4


class SparseInverseConv1d(_Inverse):
    """Back to the voxels before the layer with the same ``indice_key``."""

    NDIM = 1


class SparseInverseConv2d(_Inverse):
    """Back to the voxels before the layer with the same ``indice_key``."""

    NDIM = 2


class SparseInverseConv3d(_Inverse):
    """Back to the voxels before the layer with the same ``indice_key``."""

    NDIM = 3


class SparseInverseConv4d(_Inverse):
    """Back to the voxels before the layer with the same ``indice_key``."""

    NDIM = 4


class SubMConv1d(_Submanifold):
    """Submanifold convolution: outputs sit where the inputs sit."""

    NDIM = 1


class SubMConv2d(_Submanifold):
    """Submanifold convolution: outputs sit where the inputs sit."""

    NDIM = 2


class SubMConv3d(_Submanifold):
    """Submanifold convolution: outputs sit where the inputs sit."""

    NDIM = 3


class SubMConv4d(_Submanifold):
    """Submanifold convolution: outputs sit where the inputs sit."""

    NDIM = 4
