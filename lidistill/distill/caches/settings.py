# SPDX-License-Identifier: Apache-2.0
"""What a detector's config says beside its layers: it changes boxes, and no weight shows it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import FunctionType, MethodType
from typing import Any

from torch import nn

_IDLE = ("training", "train_cfg", "init_cfg")  # say nothing of a frozen network's outputs
_DEEP = 6  # of objects in objects


def settings_of(model: nn.Module) -> str:
    """Hash of thresholds (``test_cfg``), anchors, box coders, ranges: of all public attributes."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        digest.update(f"{name}{_words(vars(module))}".encode())
    return digest.hexdigest()[:16]


def _words(value: Any, depth: int = 0) -> str:
    """Plain values of any nesting as text, in one order; layers have their own hash."""
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    if hasattr(value, "tolist"):  # arrays and tensors
        return repr(value.tolist())
    if isinstance(value, list | tuple):
        return f"[{', '.join(_words(item, depth) for item in value)}]"
    if isinstance(value, nn.Module | type | FunctionType | MethodType) or depth == _DEEP:
        return ""
    plain = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    kept = {str(key): item for key, item in plain.items() if str(key)[:1] != "_"}
    parts = (f"{key}: {_words(kept[key], depth + 1)}" for key in sorted(set(kept) - {*_IDLE}))
    return f"{type(value).__name__}{{{', '.join(parts)}}}"
