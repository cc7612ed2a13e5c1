# SPDX-License-Identifier: Apache-2.0
"""Forward passes of sparse layers on the CPU, over any layer and tensor with spconv's attributes.

lidistill's own layers (`lidistill.ops.spconv`) and, through `lidistill.compat.spconv_layers`, those
of spconv and spconv-triton run these for CPU tensors.

Output voxels of a strided layer are in lexicographic order of (batch, z, y, x), whatever order the
inputs have. spconv gives them in the order in which the inputs first reach them on the CPU, and in
any order on a GPU.

1x1x1 convolutions keep spconv's meaning: their weight (Cout, 1, 1, 1, Cin) is *memory* viewed as
(Cin, Cout), so a weight trained on one device runs on the other. Importers reshape such a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.ops.sparse.conv import sparse_conv
from lidistill.ops.sparse.neighbours import pointwise_table, strided_table, submanifold_table
from lidistill.ops.sparse.pair_table import PairTable
from lidistill.ops.sparse.pool import sparse_avg_pool, sparse_max_pool


@dataclass
class IndiceData:
    """What a layer leaves under its ``indice_key``: its geometry and its pair table.

    Attributes:
        out_indices: (V_out, 1 + D) int32 voxels behind the layer.
        indices: (V_in, 1 + D) int32 voxels before it.
        spatial_shape: D grid sizes before it.
        out_spatial_shape: D grid sizes behind it.
        is_subm: of a submanifold layer.
        algo: the layer's, for who asks; tables do not depend on it.
        ksize: D kernel sizes.
        stride: D strides.
        padding: D paddings.
        dilation: D dilations.
        table: which input feeds which output.
    """

    out_indices: Tensor
    indices: Tensor
    spatial_shape: list[int]
    out_spatial_shape: list[int]
    is_subm: bool
    algo: Any
    ksize: list[int]
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    table: PairTable


def conv_output_size(
    size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> list[int]:
    """Grid sizes behind a strided convolution or pooling layer."""
    axes = zip(size, kernel_size, stride, padding, dilation, strict=True)
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes]


def deconv_output_size(
    size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    output_padding: Sequence[int],
) -> list[int]:
    """Grid sizes behind a transposed convolution, as spconv counts them: without ``dilation``."""
    axes = zip(size, kernel_size, stride, padding, output_padding, strict=True)
    return [(n - 1) * s - 2 * p + k + o for n, k, s, p, o in axes]


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
    x = input
    if x.features.shape[1] != self.in_channels:
        raise ValueError(
            f"expected {self.in_channels} input channels for {self}, got {x.features.shape[1]}"
        )
    if self.conv1x1 and add_input is not None:
        raise ValueError(f"expected no add_input for {self}: spconv leaves it out; add it behind")
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
        features = _activated(features, act_type, act_alpha)
    if add_input is not None:
        features = _activated(features + add_input.features, self.act_type, self.act_alpha)
    _record_count(self, coords)
    return _with_geometry(out.replace_feature(features), coords, indice_dict, shape)


def max_pool_forward(self: Any, input: Any) -> Any:
    """`SparseMaxPool.forward` for CPU tensors, over active voxels.

    Args:
        self: the layer.
        input: `SparseConvTensor` on the CPU.

    Returns:
        A new `SparseConvTensor`.
    """
    return _pool_forward(self, input, sparse_max_pool)


def avg_pool_forward(self: Any, input: Any) -> Any:
    """`SparseAvgPool.forward` for CPU tensors, over active voxels.

    Args:
        self: the layer.
        input: `SparseConvTensor` on the CPU.

    Returns:
        A new `SparseConvTensor`.
    """
    return _pool_forward(self, input, sparse_avg_pool)


def global_pool_forward(self: Any, input: Any) -> Tensor:
    """Global max and mean pooling for CPU tensors: (B, C); zero for an empty sample."""
    samples = [input.features[input.indices[:, 0] == b] for b in range(input.batch_size)]
    zero = input.features.new_zeros(input.features.shape[1])
    return torch.stack(
        [(s.mean(0) if self.is_mean else s.amax(0)) if len(s) else zero for s in samples]
    )


def _pool_forward(layer: Any, x: Any, pool: Any) -> Any:
    datas, indice_dict = _geometry(layer, x)
    out = x.shadow_copy().replace_feature(pool(x.features, datas.table))
    _record_count(layer, datas.out_indices)
    return _with_geometry(out, datas.out_indices, indice_dict, datas.out_spatial_shape)


def _activated(x: Tensor, kind: Any, alpha: float) -> Tensor:
    """The library's fused activations, told by the values of its enumeration."""
    if kind.value == 3:
        return F.leaky_relu(x, alpha)
    if kind.value == 2:
        return torch.sigmoid(x)
    return F.relu(x) if kind.value == 1 else x


def _out_shape(layer: Any, shape: Sequence[int]) -> list[int]:
    """Spatial shape behind a convolution or pooling layer that is not an inverse convolution."""
    if layer.subm:
        return list(shape)
    geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    if getattr(layer, "transposed", False):
        return deconv_output_size(shape, *geometry, layer.output_padding)
    return conv_output_size(shape, *geometry)


def _geometry(layer: Any, x: Any) -> tuple[IndiceData, dict]:
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
        _check_same(layer, x, datas.out_spatial_shape, datas.out_indices, ksize=datas.ksize)
        return datas, indice_dict
    if datas is not None:
        if not (layer.subm and datas.is_subm):
            raise ValueError(
                f"expected an indice_key of its own for {layer}, got {key!r}, which an earlier "
                "layer has: only submanifold layers share keys"
            )
        own = {"ksize": datas.ksize, "dilation": datas.dilation}
        _check_same(layer, x, datas.spatial_shape, datas.indices, **own)
        return datas, indice_dict
    datas = _build_geometry(layer, x)
    if key is not None:
        indice_dict[key] = datas
    return datas, indice_dict


def _check_same(
    layer: Any,
    x: Any,
    shape: list[int],
    indices: Tensor,
    ksize: list[int],
    dilation: list[int] | None = None,
) -> None:
    """Refuse a layer that shares an ``indice_key`` and does not fit the table found under it."""
    found = {
        "kernel size": (layer.kernel_size, ksize),
        "dilation": (layer.dilation, dilation),
        "spatial shape": (list(x.spatial_shape), list(shape)),
    }
    for what, (got, expected) in found.items():
        if expected is not None and got != expected:
            raise ValueError(
                f"expected layers that share the indice_key {layer.indice_key!r} to have the same "
                f"{what}, got {got} for {layer} and {expected} before: give it a key of its own"
            )
    if x.indices is not indices and not torch.equal(x.indices, indices):
        raise ValueError(
            f"expected layers that share the indice_key {layer.indice_key!r} to have the same "
            f"voxels in one order, got {len(x.indices)} for {layer} and {len(indices)} before, or "
            "others: give it a key of its own"
        )


def _build_geometry(layer: Any, x: Any) -> IndiceData:
    geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    out_shape = _out_shape(layer, x.spatial_shape)
    if layer.subm:
        coords = x.indices
        table = submanifold_table(coords, x.spatial_shape, layer.kernel_size, layer.dilation)
    else:
        transposed = getattr(layer, "transposed", False)
        coords, table = strided_table(x.indices, x.spatial_shape, out_shape, *geometry, transposed)
    return IndiceData(
        coords,
        x.indices,
        x.spatial_shape,
        out_shape,
        is_subm=layer.subm,
        algo=layer.algo,
        ksize=layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        table=table,
    )


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
