# SPDX-License-Identifier: Apache-2.0
"""``spdownsample``: the voxels behind a strided convolution."""

from __future__ import annotations

import torch
from torch import Tensor

from lidistill.ops.points.scatter import unique_rows
from lidistill.ops.torchsparse.nn.utils import get_kernel_offsets
from lidistill.ops.torchsparse.utils import Size, make_ntuple


def spdownsample(
    coords: Tensor, stride: Size = 2, kernel_size: Size = 2, tensor_stride: Size = 1
) -> Tensor:
    """Voxels that a strided convolution gives features to.

    Where the stride is 1 or the kernel's size along each axis, those are the voxels that the inputs
    lie in, at the stride's multiples below them. Else those, among the multiples, from which the
    kernel reads an input, none of them below the least coordinate of its sample.

    Args:
        coords: (V, 4) integer, x y z and sample, multiples of ``tensor_stride``.
        stride: of the convolution, one number or three.
        kernel_size: one number or three.
        tensor_stride: of the voxels.

    Returns:
        (V_out, 4) of the same dtype, in the order of (batch, x, y, z).
    """
    strides, sizes, steps = (make_ntuple(each, 3) for each in (stride, kernel_size, tensor_stride))
    wanted = coords.new_tensor([a * b for a, b in zip(strides, steps, strict=True)])
    cells, sample = coords[:, :3], coords[:, 3:]
    if not len(coords):
        return coords
    if all(s in (1, k) for s, k in zip(strides, sizes, strict=True)):
        cells = torch.div(cells, wanted, rounding_mode="floor") * wanted
    else:
        names, batch = torch.unique(sample[:, 0], return_inverse=True)
        lowest = cells.new_zeros((len(names), 3)).scatter_reduce_(
            0, batch[:, None].expand(-1, 3), cells, "amin", include_self=False
        )
        offsets = get_kernel_offsets(sizes, steps, device=coords.device)
        cells = cells[:, None] + offsets.to(coords.dtype)  # (V, K, 3)
        kept = ((cells % wanted == 0) & (cells >= lowest[batch][:, None])).all(-1)
        cells, sample = cells[kept], sample.expand(-1, len(offsets))[kept][:, None]
        if not len(cells):
            return coords[:0]
    rows = torch.cat([sample, cells], 1)
    low = rows.amin(0)
    found = unique_rows(rows - low)[0] + low
    return found[:, [1, 2, 3, 0]].contiguous()
