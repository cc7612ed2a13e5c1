# SPDX-License-Identifier: Apache-2.0
"""Sparse convolution: values and gradients of the dense one, on the CPU at any thread count.

spconv 2.3.8's own CPU path sums from several threads into one row without a lock, so it is wrong,
silently, with more than one thread. Here each output row is written by one thread. On other devices
the sums are taken in torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lidistill.ops._threads import in_parallel
from lidistill.ops.gradients import differentiable_once
from lidistill.ops.sparse._conv_kernels import multiply, outer, strip
from lidistill.ops.sparse.index_pairs import pair_conv, pair_conv_grad
from lidistill.ops.sparse.pair_table import BLOCK, PairTable

# Blocks that the weight gradient does for all offsets together: about 1000 voxels.
_GROUP = 4


def sparse_conv(
    features: Tensor, weight: Tensor, table: PairTable, bias: Tensor | None = None
) -> Tensor:
    """Convolve: ``out[o] = bias + sum over k and pairs (i, o) of k of weight[:, k] @ features[i]``.

    Each output row is summed in the order of the kernel offsets, so the result is the same bit for
    bit whatever the number of threads, and from run to run.

    Args:
        features: (V_in, Cin) float.
        weight: (Cout, K, Cin), or (Cout, kernel..., Cin) as spconv keeps it.
        table: which input feeds which output through each of the K kernel offsets.
        bias: (Cout,) or None.

    Returns:
        (V_out, Cout), dtype of ``features``. Half-precision inputs are summed in float32; under
        ``torch.autocast`` the result has the autocast dtype, as of a dense convolution.

    Raises:
        ValueError: shapes that do not fit each other, or two dtypes outside autocast.
    """
    _check(features, weight, table)
    out_dtype = features.dtype
    device = features.device.type
    if torch.is_autocast_enabled(device):
        if out_dtype != torch.float64:
            out_dtype = torch.get_autocast_dtype(device)
    elif out_dtype != weight.dtype:
        raise ValueError(
            f"expected features and weight of one dtype, got {out_dtype} and {weight.dtype}: cast "
            f"one of them, or run under torch.autocast({device!r})"
        )
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    kernel = weight.to(dtype).reshape(weight.shape[0], -1, weight.shape[-1])
    start = None if bias is None else bias.to(dtype)
    function = _SparseConv if _by_kernels(features) else _PairConv
    return function.apply(features.to(dtype), kernel, start, table).to(out_dtype)


def _by_kernels(features: Tensor) -> bool:
    """Whether our kernels sum these; the others are summed in torch."""
    return features.device.type == "cpu"


def _check(features: Tensor, weight: Tensor, table: PairTable) -> None:
    volume = weight[0, ..., 0].numel()
    if features.ndim != 2 or features.shape[1] != weight.shape[-1] or volume != table.volume:
        raise ValueError(
            f"expected features (V, {weight.shape[-1]}) and a table of {volume} kernel offsets for "
            f"the weight {tuple(weight.shape)}, got {tuple(features.shape)} and {table.volume}"
        )
    if features.shape[0] != table.num_in:
        raise ValueError(
            f"expected one feature row for each of the table's {table.num_in} voxels, got "
            f"{features.shape[0]}: was the table built for other coordinates (a reused indice_key)?"
        )


class _SparseConv(torch.autograd.Function):
    """`sparse_conv` on one dtype, with weight (Cout, K, Cin)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, table: PairTable
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.table = table
        return _multiply(x, weight.permute(1, 2, 0), bias, table)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous()
        table: PairTable = ctx.table
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _multiply(grad, weight.permute(1, 0, 2), None, table.inverse())
        if ctx.needs_input_grad[1]:
            grad_weight = _outer(grad, x, table)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(dim=0)
        return grad_x, grad_weight, grad_bias, None


class _PairConv(torch.autograd.Function):
    """`_SparseConv` in torch, on any device; keeps no gathered rows for the gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, table: PairTable
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.table = table
        with torch.autocast(x.device.type, enabled=False):  # sums in the precision of x
            pairs = table.pairs_on(x.device)
            out = pair_conv(x, weight.permute(1, 2, 0), *pairs, table.num_out, False)
        return out if bias is None else out.add_(bias)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        pairs, counts = ctx.table.pairs_on(x.device)
        with torch.autocast(x.device.type, enabled=False):
            kernel = weight.permute(1, 2, 0)
            grad_x, grad_kernel = pair_conv_grad(grads[0], x, kernel, pairs, counts, False)
        grad_bias = grads[0].sum(dim=0) if ctx.needs_input_grad[2] else None
        return grad_x, grad_kernel.permute(2, 0, 1), grad_bias, None


def _multiply(x: Tensor, kernel: Tensor, bias: Tensor | None, table: PairTable) -> Tensor:
    """``bias`` plus the sum over the pairs of ``x[in] @ kernel[k]``, kernel (K, Cin, Cout)."""
    width = kernel.shape[2]
    lanes = strip(x.element_size())
    # (K, strips, Cin, lanes): one strip of columns of one offset lies together
    packed = _full_strips(kernel, lanes).unflatten(2, (-1, lanes)).transpose(1, 2).contiguous()
    start = x.new_zeros(packed.shape[1] * lanes)
    if bias is not None:
        start[:width] = bias
    out = x.new_empty((table.num_out, len(start)))
    arrays = (
        x.detach().contiguous().numpy(),
        packed.detach().flatten().numpy(),
        start.detach().numpy(),
        table.pairs,
        out.numpy(),
        BLOCK,
    )
    in_parallel(lambda first, last: multiply(*arrays, first, last), table.num_blocks)
    return out[:, :width].contiguous()


def _outer(rows: Tensor, columns: Tensor, table: PairTable) -> Tensor:
    """Sum over the pairs of ``outer(rows[out], columns[in])``: (R, K, C)."""
    width = columns.shape[1]
    columns = _full_strips(columns, strip(columns.element_size()))
    out = rows.new_empty((rows.shape[1], table.volume, columns.shape[1]))
    parts = 1 if table.volume >= 8 else 4  # enough items for several threads
    arrays = (
        rows.detach().contiguous().numpy(),
        columns.detach().contiguous().numpy(),
        table.pairs,
        out.numpy(),
        parts,
        _GROUP,
    )
    in_parallel(lambda first, last: outer(*arrays, first, last), table.volume * parts)
    return out[:, :, :width].contiguous()


def _full_strips(x: Tensor, lanes: int) -> Tensor:
    """``x`` with its last axis filled up with zeros to whole strips."""
    missing = -x.shape[-1] % lanes
    return torch.nn.functional.pad(x, (0, missing)) if missing else x
