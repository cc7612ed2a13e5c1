# SPDX-License-Identifier: Apache-2.0
"""The package's one numba decorator: machine code is kept on disk where that can be written."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)
from numba.core.dispatcher import Dispatcher

from lidistill.homes import HOMELESS

SAID = "LIDISTILL_NO_KERNEL_CACHE"
"""Set in the environment once the warning is out: worker processes need not say it again."""


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """``numba.njit`` that drops the GIL and keeps the machine code on disk.

    It is kept in ``$NUMBA_CACHE_DIR`` if set, else beside the source, else in the user's cache
    folder. Where none of them can be written, or a file there cannot be read, the function is
    compiled in each process; one line on stderr says so.

    Args:
        function: What to compile, where the decorator is used without options.
        options: Of ``numba.njit``; ``cache=False`` for what is stored with its callers.

    Returns:
        The compiled function, or a decorator.
    """
    if function is None:
        return lambda decorated: njit(decorated, **options)
    keep = options.pop("cache", True)
    compiler: Any = numba.njit  # its stubs do not know all options
    compiled = compiler(nogil=True, **options)(function)
    if keep and hasattr(compiled, "enable_caching"):  # not with NUMBA_DISABLE_JIT
        try:
            compiled._cache = _Cache(function)
        except RuntimeError:  # "no locator available"
            no_cache("no folder for them can be written")
    return compiled


def no_cache(reason: str) -> None:
    """Says on stderr, once for this process and its workers, that kernels are not kept."""
    if SAID not in os.environ:
        os.environ[SAID] = "1"
        sys.stderr.write(
            f"compiled kernels are not kept ({reason}): each start compiles them anew; set "
            "NUMBA_CACHE_DIR to a folder that can be written\n"
        )


def user_cache() -> Path | None:
    """``$XDG_CACHE_HOME`` or ``~/.cache``; None for a user without a home (an unknown user id)."""
    home = "" if HOMELESS in os.environ else os.path.expanduser("~/.cache")
    named = os.environ.get("XDG_CACHE_HOME") or home
    return Path(named) if os.path.isabs(named) else None


class _UserWide(UserWideCacheLocator):
    """Numba's, which without a home would make a folder named ``~`` where the program was begun."""

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> Any:
        return None if user_cache() is None else super().from_function(py_func, py_file)


class _Files(CompileResultCacheImpl):
    _locator_classes: list[Any] = [  # noqa: RUF012
        UserProvidedCacheLocator,
        InTreeCacheLocator,
        _UserWide,
    ]


class _Cache(FunctionCache):
    """Numba's, for which a full disk or a damaged file is no reason to end the program.

    Compiled functions of other files are compiled in, so their files count as the function's own
    does: numba looks at that alone, and went on with what others were before they were changed.
    """

    _impl_class = _Files

    def __init__(self, py_func: Callable[..., Any]) -> None:
        super().__init__(py_func)
        stamp, others = self._impl.locator.get_source_stamp(), _others(py_func)
        if others:
            self._cache_file = IndexDataCacheFile(
                self._cache_path, self._impl.filename_base, (stamp, others)
            )

    @contextlib.contextmanager
    def _guard_against_spurious_io_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, ValueError, LookupError, pickle.PickleError) as error:
            no_cache(f"{self.cache_path}: {error}")


def _others(function: Callable[..., Any]) -> list[tuple[str, float, int]]:
    """Other files with compiled functions that a function may call: name, time and size of each."""
    own, known = function.__code__.co_filename, [function.__globals__]
    found: dict[str, tuple[str, float, int]] = {}
    while known:
        for value in list(known.pop().values()):
            called: Any = value.py_func if isinstance(value, Dispatcher) else function
            path = called.__code__.co_filename
            if path != own and path not in found:
                about = os.stat(path)
                found[path] = (os.path.basename(path), about.st_mtime, about.st_size)
                known.append(called.__globals__)
    return sorted(found.values())
