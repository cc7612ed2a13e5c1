# SPDX-License-Identifier: Apache-2.0
"""``conv3d``: torchsparse's geometry over `lidistill.ops.sparse`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from lidistill.ops.sparse.conv import sparse_conv
from lidistill.ops.sparse.neighbours import offset_table
from lidistill.ops.sparse.pair_table import PairTable
from lidistill.ops.torchsparse.nn.functional.downsample import spdownsample
from lidistill.ops.torchsparse.nn.utils import get_kernel_offsets
from lidistill.ops.torchsparse.tensor import SparseTensor
from lidistill.ops.torchsparse.utils import Size, Triple, make_ntuple


@dataclass(frozen=True)
class KernelMap:
    """What a convolution leaves in ``kmaps``.

    Attributes:
        table: which input feeds which output.
        coords: (V_in, 4) voxels before it.
        out_coords: (V_out, 4) voxels behind it.
    """

    table: PairTable
    coords: Tensor
    out_coords: Tensor


def conv3d(
    input: SparseTensor,
    weight: Tensor,
    kernel_size: Size,
    bias: Tensor | None = None,
    stride: Size = 1,
    dilation: Size = 1,
    transposed: bool = False,
) -> SparseTensor:
    """Convolve: ``out[u] = bias + sum over k of x[u + offset of k] @ weight[k]``.

    Offsets are those of `get_kernel_offsets` in steps of the tensor's stride. A stride of 1 keeps
    the voxels, another one leads to those of `spdownsample`.

    Args:
        input: features (V, Cin).
        weight: (K, Cin, Cout), or (Cin, Cout) for a kernel of one cell.
        kernel_size: one number or three.
        bias: (Cout,) or None.
        stride: one number or three.
        dilation: 1.
        transposed: back along the pairs of the earlier convolution of this kernel and stride.

    Returns:
        A tensor with features (V_out, Cout), which shares ``cmaps`` and ``kmaps`` with ``input``.

    Raises:
        ValueError: a dilation; a transposed convolution without an earlier one; features of another
            number of voxels than the earlier convolution had; what `sparse_conv` refuses.
    """
    check_dilation(dilation)
    sizes, strides = make_ntuple(kernel_size, 3), make_ntuple(stride, 3)
    if math.prod(sizes) == math.prod(strides) == 1:
        feats = input.feats @ weight
        feats = feats if bias is None else feats + bias
        return _on(input, feats, input.coords, input.stride)
    kernel = weight.reshape(-1, *weight.shape[-2:]).permute(2, 0, 1)  # (Cout, K, Cin)
    if transposed:
        fine = tuple(s // t for s, t in zip(input.stride, strides, strict=True))
        known = _known(input, fine, sizes, strides)
        feats = sparse_conv(input.feats, kernel, known.table.inverse(), bias)
        return _on(input, feats, known.coords, fine)
    key = _key(input.stride, sizes, strides)
    if key not in input.kmaps:
        input.kmaps[key] = _build(input, sizes, strides)
    known = input.kmaps[key]
    feats = sparse_conv(input.feats, kernel, known.table, bias)
    coarse = tuple(s * t for s, t in zip(input.stride, strides, strict=True))
    return _on(input, feats, known.out_coords, coarse)


def check_dilation(dilation: Size) -> None:
    """Refuse a dilation, which torchsparse 1.4.0 leaves out of its tables, in silence.

    Raises:
        ValueError: one that is not 1.
    """
    if math.prod(make_ntuple(dilation, 3)) != 1:
        raise ValueError(
            f"expected dilation=1, got {dilation}: torchsparse 1.4.0 takes it and convolves "
            "without; dilation=1 gives the numbers of a checkpoint that was trained there"
        )


def _build(input: SparseTensor, sizes: Triple, strides: Triple) -> KernelMap:
    coords = out_coords = input.coords
    offsets = get_kernel_offsets(sizes, input.stride)
    if math.prod(strides) > 1:
        out_coords = spdownsample(coords, strides, sizes, input.stride)
    rows = _batch_first(coords)
    out_rows = rows if out_coords is coords else _batch_first(out_coords)
    return KernelMap(offset_table(rows, out_rows, offsets), coords, out_coords)


def _batch_first(coords: Tensor) -> Tensor:
    return coords[:, [3, 0, 1, 2]]


def _known(input: SparseTensor, fine: Triple, sizes: Triple, strides: Triple) -> KernelMap:
    """The map of the convolution that a transposed one goes back along."""
    found = input.kmaps.get(_key(fine, sizes, strides))
    if found is None:
        kept = [f"kernel {k} stride {s} from tensor stride {t}" for t, k, s, _ in input.kmaps]
        raise ValueError(
            f"expected a convolution of kernel {sizes} and stride {strides} from tensor stride "
            f"{fine} before its transposed one, known: {', '.join(kept) or 'none'}: give both the "
            "same kernel and stride, and keep cmaps and kmaps where a tensor is made anew"
        )
    known: KernelMap = found
    return known


def _key(tensor_stride: Triple, sizes: Triple, strides: Triple) -> tuple[Triple, ...]:
    return tensor_stride, sizes, strides, (1, 1, 1)


def _on(input: SparseTensor, feats: Tensor, coords: Tensor, stride: Triple) -> SparseTensor:
    out = SparseTensor(feats, coords, stride)
    out.cmaps, out.kmaps = input.cmaps, input.kmaps
    out.cmaps.setdefault(stride, coords)
    return out
