# SPDX-License-Identifier: Apache-2.0
"""CPU forward passes for spconv's layers; on CUDA the library's own, quantized ones untouched.

spconv 2.3.8 on the CPU asks for a CUDA stream in ``backward``, races with more than one thread
(silently wrong), reads non-contiguous coordinates wrongly, and its CUDA builds refuse CPU tensors.
The functions here replace the layers' forwards for CPU tensors with `lidistill.ops.sparse.conv`,
whatever algorithm the layer was built with.

On CUDA the library's kernels run, always by its differentiable way where that is asked for: left to
itself, a layer in ``eval`` mode gives no gradient, without an error, and looks away from autocast
(a bfloat16 input then fails).

1x1x1 convolutions keep spconv's meaning: their weight (Cout, 1, 1, 1, Cin) is *memory* viewed as
(Cin, Cout), so a weight trained on one device runs on the other. An importer of a (Cin, Cout)
matrix reshapes it and never transposes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def patch_core(module: Any) -> None:
    """Make `SparseConvTensor` copy non-contiguous coordinates (``nonzero().int()`` gives such).

    Its ``dense()`` indexes with a list, which torch has announced to read as one index tensor.
    """
    tensor_class = module.SparseConvTensor
    if hasattr(tensor_class.__init__, "__wrapped__"):
        return
    original = tensor_class.__init__

    @wraps(original)
    def init(self: Any, features: Tensor, indices: Tensor, *args: Any, **kwargs: Any) -> None:
        original(self, features, indices.contiguous(), *args, **kwargs)

    tensor_class.__init__ = init
    module.scatter_nd = _scatter


def _scatter(indices: Tensor, updates: Tensor, shape: Sequence[int]) -> Tensor:
    """Zeros of ``shape`` with ``updates`` (V, C) at the cells ``indices`` (V, 1 + D)."""
    return updates.new_zeros(shape).index_put(tuple(indices.unbind(1)), updates)


def patch_conv(module: Any) -> None:
    """Send CPU tensors of all convolution layers through `conv_forward`, mend ``eval`` on CUDA."""
    base = module.SparseConvolutionBase
    _for_cpu(base, "_conv_forward", conv_forward, tensor_at=1, otherwise=differentiable)


def patch_pool(module: Any) -> None:
    """Send CPU tensors of all pooling layers through `pool_forward` and `global_pool_forward`."""
    for name in ("SparseMaxPool", "SparseAvgPool"):
        _for_cpu(getattr(module, name), "forward", pool_forward)
    _for_cpu(module.SparseGlobalMaxOrAvgPool, "forward", global_pool_forward)


def _for_cpu(
    layer: type,
    method: str,
    forward: Callable,
    tensor_at: int = 0,
    otherwise: Callable[[Callable], Callable] = lambda original: original,
) -> None:
    """Replace ``layer.method`` by ``forward`` for sparse tensors on the CPU, unless quantized."""
    original = getattr(layer, method)
    if hasattr(original, "__wrapped__"):
        return
    theirs = otherwise(original)

    @wraps(original)
    def choose(self: Any, *args: Any, **kwargs: Any) -> Any:
        x = args[tensor_at] if len(args) > tensor_at else kwargs["input"]
        own = x.features.device.type == "cpu" and not x.is_quantized
        return (forward if own else theirs)(self, *args, **kwargs)

    setattr(layer, method, choose)


def differentiable(original: Callable) -> Callable:
    """`SparseConvolutionBase._conv_forward` that goes the way of training wherever it can.

    That way has gradients, and under autocast it computes in float16 whatever it is given. It is
    not taken without gradients outside autocast, nor by fused activations and quantized tensors,
    which it refuses.
    """

    def forward(self: Any, training: bool, input: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = torch.is_grad_enabled() or torch.is_autocast_enabled(input.features.device.type)
        able = self.act_type.value == 0 and not input.is_quantized
        return original(self, training or (wanted and able), input, *args, **kwargs)

    return forward


def conv_forward(  # noqa: PLR0913 -- the library's own signature
    self: Any,
    training: bool,
    input: Any,
    weight: Tensor,
    bias: Tensor | None,
    add_input: Any = None,
    channel_scale: Tensor | None = None,
    output_scale: float | None = None,
    name: str | None = None,
    sparse_unique_name: str = "",
    act_type: Any = None,
    act_alpha: float = 0,
    act_beta: float = 0,
) -> Any:
    """`SparseConvolutionBase._conv_forward` for CPU tensors.

    Args:
        self: the layer.
        training: whether the layer is in training mode.
        input: `SparseConvTensor` on the CPU.
        weight: (Cout, kernel..., Cin).
        bias: (Cout,) or None.
        add_input: sparse tensor added to the result before the activation, or None.
        channel_scale: for quantized inference; unused.
        output_scale: for quantized inference; unused.
        name: for the library's benchmark records; unused.
        sparse_unique_name: for the library's timer; unused.
        act_type: the library's fused activation.
        act_alpha: its first parameter.
        act_beta: its second parameter.

    Returns:
        A new `SparseConvTensor`.
    """
    from spconv.pytorch.conv import _apply_act

    from lidistill.ops.sparse.conv import sparse_conv
    from lidistill.ops.sparse.neighbours import pointwise_table

    x = input
    if x.features.shape[1] != self.in_channels:
        raise ValueError(
            f"expected {self.in_channels} input channels for {self}, got {x.features.shape[1]}"
        )
    out = x.shadow_copy()
    if self.conv1x1:
        kernel = weight.view(self.in_channels, 1, self.out_channels).transpose(0, 2)
        features = sparse_conv(x.features, kernel, pointwise_table(len(x.features)), bias)
        out = out.replace_feature(features)
        out.spatial_shape = _out_shape(self, x.spatial_shape)
        return out
    if training and self.act_type.value != 0:
        raise ValueError(f"fused activations are for inference, got {self.act_type} in training")
    datas, indice_dict = _geometry(self, x)
    table, coords, shape = datas.table, datas.out_indices, datas.out_spatial_shape
    if self.inverse:
        table, coords, shape = table.inverse(), datas.indices, datas.spatial_shape
    features = sparse_conv(x.features, weight, table, bias)
    if act_type is not None:
        features = _apply_act(features, act_type, act_alpha, act_beta)
    if add_input is not None:
        features = features + add_input.features
        features = _apply_act(features, self.act_type, self.act_alpha, self.act_beta)
    _record_count(self, coords)
    return _with_geometry(out.replace_feature(features), coords, indice_dict, shape)


def pool_forward(self: Any, input: Any) -> Any:
    """`SparseMaxPool.forward` and `SparseAvgPool.forward` for CPU tensors, over active voxels.

    Args:
        self: the layer.
        input: `SparseConvTensor` on the CPU.

    Returns:
        A new `SparseConvTensor`.
    """
    from spconv.pytorch.pool import SparseAvgPool

    from lidistill.ops.sparse.pool import sparse_avg_pool, sparse_max_pool

    pool = sparse_avg_pool if isinstance(self, SparseAvgPool) else sparse_max_pool
    datas, indice_dict = _geometry(self, input)
    out = input.shadow_copy().replace_feature(pool(input.features, datas.table))
    _record_count(self, datas.out_indices)
    return _with_geometry(out, datas.out_indices, indice_dict, datas.out_spatial_shape)


def global_pool_forward(self: Any, input: Any) -> Tensor:
    """Global max and mean pooling for CPU tensors: (B, C); zero for an empty sample."""
    samples = [input.features[input.indices[:, 0] == b] for b in range(input.batch_size)]
    zero = input.features.new_zeros(input.features.shape[1])
    return torch.stack(
        [(s.mean(0) if self.is_mean else s.amax(0)) if len(s) else zero for s in samples]
    )


def _out_shape(layer: Any, shape: Sequence[int]) -> list[int]:
    """Spatial shape behind a convolution or pooling layer that is not an inverse convolution."""
    from spconv.pytorch import ops

    if layer.subm:
        return list(shape)
    geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    if getattr(layer, "transposed", False):
        return ops.get_deconv_output_size(shape, *geometry, layer.output_padding)
    return ops.get_conv_output_size(shape, *geometry)


def _geometry(layer: Any, x: Any) -> tuple[Any, dict]:
    """The layer's index data, found by its ``indice_key`` or built, and the new dictionary."""
    key = layer.indice_key
    datas = x.find_indice_pair(key)
    indice_dict = x.indice_dict.copy()
    if getattr(layer, "inverse", False):
        if datas is None or datas.is_subm:
            raise ValueError(
                f"expected an inverse convolution to name an earlier strided layer, got indice_key "
                f"{key!r}; known: {[k for k, d in x.indice_dict.items() if not d.is_subm]}"
            )
        layer._check_inverse_reuse_valid(x, x.spatial_shape, datas)
        return datas, indice_dict
    if datas is not None:
        if not layer.subm:
            raise ValueError(
                f"expected an indice_key of its own for {layer}, got {key!r}, which an earlier "
                "layer has: only submanifold layers share keys"
            )
        layer._check_subm_reuse_valid(x, x.spatial_shape, datas)
        return datas, indice_dict
    datas = _build_geometry(layer, x)
    if key is not None:
        indice_dict[key] = datas
    return datas, indice_dict


def _build_geometry(layer: Any, x: Any) -> Any:
    """Make spconv's `IndiceData` with a `PairTable` in the place of pair lists."""
    from spconv.pytorch.core import IndiceData

    from lidistill.ops.sparse.neighbours import strided_table, submanifold_table

    geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    out_shape = _out_shape(layer, x.spatial_shape)
    if layer.subm:
        coords = x.indices
        table = submanifold_table(coords, x.spatial_shape, layer.kernel_size, layer.dilation)
    else:
        transposed = getattr(layer, "transposed", False)
        coords, table = strided_table(x.indices, x.spatial_shape, out_shape, *geometry, transposed)
    datas = IndiceData(
        coords,
        x.indices,
        None,
        None,
        x.spatial_shape,
        out_shape,
        is_subm=layer.subm,
        algo=layer.algo,
        ksize=layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
    )
    datas.table = table
    return datas


def _record_count(layer: Any, coords: Tensor) -> None:
    """Keep the library's running maximum of output voxels, where the layer was asked to."""
    count = layer.get_max_num_voxels() if hasattr(layer, "get_max_num_voxels") else None
    if count is not None and not layer.subm and not getattr(layer, "inverse", False):
        count.clamp_(min=len(coords))


def _with_geometry(x: Any, coords: Tensor, indice_dict: dict, shape: Sequence[int]) -> Any:
    x.indices = coords
    x.indice_dict = indice_dict
    x.spatial_shape = list(shape)
    return x
