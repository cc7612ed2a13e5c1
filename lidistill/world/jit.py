# SPDX-License-Identifier: Apache-2.0
"""The numba decorators of the world's kernels: no fastmath, no GIL, compiled once a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` with numba; keep the machine code on disk where a folder is writable.

    Fastmath stays off, so that a world is byte-identical by seed. The kernels drop the GIL: threads
    of one process cast several frames at once.
    """
    return _compile(function, forceinline=False)


def inlined(function: Callable[..., Any]) -> Any:
    """As :func:`kernel`, for the small functions of an inner loop.

    An array travels to a compiled function as up to ten arguments; inside a loop over rays, calls
    cost more than the work unless LLVM is told to inline them.
    """
    return _compile(function, forceinline=True)


def _compile(function: Callable[..., Any], forceinline: bool) -> Any:
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "forceinline": forceinline,
    }
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no writable cache folder: compile in each process
        return numba.njit(**options)(function)
