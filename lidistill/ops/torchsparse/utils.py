# SPDX-License-Identifier: Apache-2.0
"""``torchsparse.utils``: one number, or one an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from torch import Tensor

Size: TypeAlias = "int | Sequence[int] | Tensor"
Triple: TypeAlias = tuple[int, ...]


def make_ntuple(x: Size, ndim: int) -> Triple:
    """A tuple of ``ndim`` integers: one number repeated, or as many as there are axes.

    Raises:
        ValueError: another number of them.
    """
    given: Any = x.flatten().tolist() if isinstance(x, Tensor) else x
    values = (given,) * ndim if isinstance(given, int) else tuple(int(each) for each in given)
    if len(values) != ndim:
        raise ValueError(f"expected one number or {ndim}, one an axis, got {x}")
    return values
