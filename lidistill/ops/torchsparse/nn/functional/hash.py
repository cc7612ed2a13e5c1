# SPDX-License-Identifier: Apache-2.0
"""``sphash`` and ``sphashquery``: which row a voxel is.

A hash here is the voxel's coordinates packed into one integer: two voxels never share one, and
hashes are in the lexicographic order of (batch, x, y, z). torchsparse's are FNV-1a, in any order.
"""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 18
REACH = 2 ** (BITS - 1)
"""Coordinates lie from ``-REACH`` to ``REACH - 1``."""
SAMPLES = 2 ** (63 - 3 * BITS)
"""Samples that a batch may have."""


def sphash(coords: Tensor, offsets: Tensor | None = None) -> Tensor:
    """A number for each voxel, or for its neighbours at given offsets.

    Args:
        coords: (V, 4) integer, x y z and sample.
        offsets: (K, 3) integer, or None.

    Returns:
        (V,) int64; (K, V) with offsets.

    Raises:
        ValueError: other shapes or types; coordinates that the packing has no room for.
    """
    given = [coords] if offsets is None else [coords, offsets]
    for tensor, width in zip(given, (4, 3), strict=False):
        if tensor.is_floating_point() or tensor.ndim != 2 or tensor.shape[1] != width:
            raise ValueError(
                "expected integer coordinates (V, 4) as (x, y, z, batch) and offsets (K, 3), got "
                f"{tensor.dtype} {tuple(tensor.shape)}"
            )
    cells, sample = coords[:, :3].long(), coords[:, 3].long()
    if offsets is not None:
        cells = cells + offsets.long().to(coords.device).unsqueeze(1)  # (K, V, 3)
    if cells.numel():
        low, high = (int(each) for each in torch.aminmax(cells))
        first, last = (int(each) for each in torch.aminmax(sample))
        if low < -REACH or high >= REACH or first < 0 or last >= SAMPLES:
            raise ValueError(
                f"expected coordinates from {-REACH} to {REACH - 1} and samples from 0 to "
                f"{SAMPLES - 1}, got {low} to {high} and {first} to {last}: take the least "
                "coordinate of each sample from its own, and see that columns are (x, y, z, batch)"
            )
    packed = sample
    for axis in (cells + REACH).unbind(-1):
        packed = (packed << BITS) + axis
    return packed


def sphashquery(queries: Tensor, references: Tensor) -> Tensor:
    """Where each number stands among others.

    Args:
        queries: int64 of any shape.
        references: (V,) int64.

    Returns:
        Rows of ``references``, int64 in the shape of ``queries``; -1 for those that are not there,
        the first of equals.
    """
    if not len(references):
        return torch.full_like(queries, -1)
    ordered, order = torch.sort(references, stable=True)
    at = torch.searchsorted(ordered, queries.contiguous()).clamp_(max=len(ordered) - 1)
    return torch.where(ordered[at] == queries, order[at], -1)
