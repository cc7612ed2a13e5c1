# SPDX-License-Identifier: Apache-2.0
"""What stays in full precision where autocast makes the rest half."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Half-precision values as float32; float32, float64 and integers as they are."""
    return values.float() if values.is_floating_point() and values.itemsize < 4 else values


def full_precision_of(value: Any) -> Any:
    """A nested value with each half-precision tensor as float32.

    bfloat16 has 8 bits of mantissa: too few for means over thousands of points and for the logits
    of a softmax.

    Args:
        value: tensors in dataclasses, dictionaries, lists and tuples; anything else is handed on.

    Returns:
        A value of the same form, the given one itself where nothing in it is half; that is never
        changed.
    """
    if isinstance(value, Tensor):
        return full_precision(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {part.name: getattr(value, part.name) for part in dataclasses.fields(value)}
        full = full_precision_of(parts)
        return value if full is parts else dataclasses.replace(value, **full)
    if isinstance(value, dict):
        items = {key: full_precision_of(item) for key, item in value.items()}
        return items if any(items[key] is not value[key] for key in value) else value
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        rows = [full_precision_of(item) for item in value]
        same = all(new is old for new, old in zip(rows, value, strict=True))
        return value if same else type(value)(rows)
    return value
