# SPDX-License-Identifier: Apache-2.0
"""The numba decorators of the world's kernels: no fastmath, no GIL, compiled once a machine."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba

from lidistill import jit
from lidistill.jit import njit, no_cache, user_cache

# Numba checks only the file of the outermost function, but the code of others and their constants
# are compiled in: the cache's folder is named after the content of all that may take part.
SOURCES = (Path(__file__).parent, Path(jit.__file__))


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` with numba; keep the machine code on disk where a folder is writable.

    Fastmath stays off, so that a world is byte-identical by seed. The kernels drop the GIL: threads
    of one process cast several frames at once.
    """
    folder = cache_folder()
    if folder is None:
        return njit(function, error_model="numpy", cache=False)
    settings: Any = numba.config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder)  # read while the function is decorated, and only then
    try:
        return njit(function, error_model="numpy")
    finally:
        settings.CACHE_DIR = before


def inlined(function: Callable[..., Any]) -> Any:
    """As :func:`kernel`, for the small functions of an inner loop; they must not make arrays.

    An array travels to a compiled function as up to ten arguments and is counted in and out: inside
    a loop over rays this costs more than the work, unless LLVM inlines the call and nothing counts.
    """
    return njit(function, error_model="numpy", cache=False, forceinline=True, _nrt=False)


def helper(function: Callable[..., Any]) -> Any:
    """As :func:`kernel`, for functions that kernels call; they are stored with their callers."""
    return njit(function, error_model="numpy", cache=False, _nrt=False)


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """Where compiled kernels are kept, or None, said on stderr, where no folder can be written.

    ``$NUMBA_CACHE_DIR`` if set, else the user's cache folder; below it a folder named after the
    kernels' source code. Not the temporary folder: what others can write there would be run here.
    """
    bases = [os.environ.get("NUMBA_CACHE_DIR"), user_cache()]
    for base in bases:
        if base:
            folder = Path(base) / "lidistill" / f"kernels-{_source_hash()[:16]}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    return folder
            except OSError:
                continue
    no_cache("no folder for them can be written")
    return None


def _source_hash() -> str:
    digest = hashlib.sha256()
    for source in SOURCES:
        for path in sorted(source.rglob("*.py")) if source.is_dir() else (source,):
            digest.update(path.read_bytes())
    return digest.hexdigest()
