# SPDX-License-Identifier: Apache-2.0
"""One numba decorator for all kernels of the world: no fastmath, no GIL, compiled once per machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` with numba; keep the machine code on disk where a folder is writable.

    Fastmath stays off, so that a world is byte-identical by seed. The kernels drop the GIL: threads
    of one process cast several frames at once.
    """
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no writable cache folder: compile in each process
        return numba.njit(nogil=True, error_model="numpy")(function)
