# SPDX-License-Identifier: Apache-2.0
"""Maps read bilinearly between their cells, at places that are never rounded to half precision."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F


def sample_maps(maps: Tensor, where: Tensor, **options: Any) -> Tensor:
    """``grid_sample`` for maps of any precision; differentiable in both.

    ``grid_sample`` wants places of the map's type. bfloat16 has 8 bits: on a map of 128 cells a
    place is then off by up to a quarter of a cell, along each axis.

    Args:
        maps: (B, C, Y, X).
        where: (B, h, w, 2) places (x, y) in [-1, 1], in single precision at least.
        options: of ``grid_sample``.

    Returns:
        (B, C, h, w) in the maps' dtype.
    """
    full = maps.float() if maps.itemsize < 4 else maps
    return F.grid_sample(full, where.to(full.dtype), **options).to(maps.dtype)
