# SPDX-License-Identifier: Apache-2.0
"""mmcv's own sparse convolutions (those of spconv 1), which Cylinder3D is built from.

Their pairs lie in a dense table: for each kernel offset input rows and output rows, -1 behind.
Weights are (kernel..., Cin, Cout). The tables are built on the CPU; sums run on any device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.ops.sparse.neighbours import strided_table, submanifold_table
from lidistill.ops.sparse.pair_table import PairTable


def index_pairs(
    coords: Tensor,
    shape: Sequence[int],
    out_shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    submanifold: bool = False,
    transposed: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Which input feeds which output through each kernel offset.

    Args:
        coords: (V, 1 + D) int32 voxel coordinates, batch first, unique, inside ``shape``.
        shape: D grid sizes of the input.
        out_shape: D grid sizes of the output.
        kernel_size: D kernel sizes.
        stride: D strides, not read for submanifold convolutions.
        padding: D paddings, not read for submanifold convolutions.
        dilation: D dilations.
        submanifold: outputs sit where inputs sit.
        transposed: ``out = in * stride - padding + k * dilation``.

    Returns:
        Output coordinates (V_out, 1 + D) int32, in lexicographic order unless submanifold; pairs
        (K, 2, V) int32; pairs of each offset (K,) int32.
    """
    held = coords.detach().cpu().int().contiguous()
    if submanifold:
        table = submanifold_table(held, shape, kernel_size, dilation)
        out = coords
    else:
        found, table = strided_table(
            held, shape, out_shape, kernel_size, stride, padding, dilation, transposed
        )
        out = found.to(coords.device)
    pairs, counts = _dense(table, len(coords))
    return out, pairs.to(coords.device), counts.to(coords.device)


def _dense(table: PairTable, width: int) -> tuple[Tensor, Tensor]:
    """Pairs (K, 2, ``width``) and their numbers (K,)."""
    pairs, counts = table.pairs_on(torch.device("cpu"))
    return F.pad(pairs, (0, width - pairs.shape[2]), value=-1), counts.int()


def pair_conv(
    features: Tensor, weight: Tensor, pairs: Tensor, counts: Tensor, num_out: int, inverse: bool
) -> Tensor:
    """Sum over offsets k and pairs (i, o) of k of ``features[i] @ weight[k]``.

    Args:
        features: (V, Cin).
        weight: (kernel..., Cin, Cout).
        pairs: (K, 2, *) of `index_pairs`.
        counts: (K,).
        num_out: V_out.
        inverse: inputs and outputs of the pairs change places.

    Returns:
        (V_out, Cout). Differentiable in features and weight.
    """
    kernel = weight.flatten(0, -3)
    out = features.new_zeros((num_out, kernel.shape[2]))
    for k, ins, outs in _offsets(pairs, counts, inverse):
        out.index_add_(0, outs, features[ins] @ kernel[k].to(features.dtype))
    return out


def pair_conv_grad(
    gradient: Tensor, features: Tensor, weight: Tensor, pairs: Tensor, counts: Tensor, inverse: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of features and weight."""
    kernel = weight.flatten(0, -3)
    grad, kernel_grad = torch.zeros_like(features), torch.zeros_like(kernel)
    for k, ins, outs in _offsets(pairs, counts, inverse):
        shares = gradient[outs]
        grad.index_add_(0, ins, shares @ kernel[k].T.to(shares.dtype))
        kernel_grad[k] = features[ins].T @ shares
    return grad, kernel_grad.view(weight.shape)


def pair_max(features: Tensor, pairs: Tensor, counts: Tensor, num_out: int) -> Tensor:
    """Maximum over each output's inputs: (V_out, C), zero for outputs without any.

    Differs from mmcv, whose maximum starts at zero and so clips negative features.
    """
    best = features.new_full((num_out, features.shape[1]), -torch.inf)
    reached = torch.zeros((num_out, 1), dtype=torch.bool, device=features.device)
    for _, ins, outs in _offsets(pairs, counts, False):
        best[outs] = torch.maximum(best[outs], features[ins])
        reached[outs] = True
    return torch.where(reached, best, 0)


def pair_max_grad(
    gradient: Tensor, features: Tensor, best: Tensor, pairs: Tensor, counts: Tensor
) -> Tensor:
    """Gradient of the features; the first of equal inputs, by offset, has it all.

    Differs from mmcv, which gives it to each of them.
    """
    grad = torch.zeros_like(features)
    left = torch.ones_like(best, dtype=torch.bool)
    for _, ins, outs in _offsets(pairs, counts, False):
        value, wanted = features[ins], best[outs]
        hit = left[outs] & ((value == wanted) | (value.isnan() & wanted.isnan()))
        grad[ins] += torch.where(hit, gradient[outs], 0)
        left[outs] &= ~hit
    return grad


def _offsets(pairs: Tensor, counts: Tensor, inverse: bool) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Offsets that have pairs, with their input and output rows."""
    for k, count in enumerate(counts.tolist()):
        if count:
            ins, outs = pairs[k, :, :count].long()
            yield (k, outs, ins) if inverse else (k, ins, outs)
