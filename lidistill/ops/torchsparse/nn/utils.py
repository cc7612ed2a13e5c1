# SPDX-License-Identifier: Apache-2.0
"""``torchsparse.nn.utils``: a function on features, and the offsets of a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lidistill.ops.torchsparse.tensor import SparseTensor, on_voxels_of
from lidistill.ops.torchsparse.utils import Size, make_ntuple


def fapply(
    input: SparseTensor, fn: Callable[..., Tensor], *args: Any, **kwargs: Any
) -> SparseTensor:
    """What ``fn`` makes of the features (V, C), on the same voxels."""
    return on_voxels_of(input, fn(input.feats, *args, **kwargs))


def get_kernel_offsets(
    size: Size, stride: Size = 1, dilation: Size = 1, device: str | torch.device = "cpu"
) -> Tensor:
    """Offsets of a kernel in the order of its weights.

    Odd sizes are centred; even ones reach one cell further to the high side (2: 0 and 1). x runs
    fastest in a kernel of an odd number of cells, z in one of an even number.

    Args:
        size: cells along x, y, z, one number or three.
        stride: of the tensor that is convolved, in cells of stride 1.
        dilation: voxels from one cell of the kernel to the next.
        device: of the result.

    Returns:
        (K, 3) int32, x y z, in cells of stride 1.
    """
    sizes, strides, dilations = (make_ntuple(each, 3) for each in (size, stride, dilation))
    axes = [
        (torch.arange(n, dtype=torch.int32) - (n - 1) // 2) * s * d
        for n, s, d in zip(sizes, strides, dilations, strict=True)
    ]
    if math.prod(sizes) % 2:
        return torch.cartesian_prod(*axes[::-1]).flip(1).to(device)
    return torch.cartesian_prod(*axes).to(device)
