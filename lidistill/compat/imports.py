# SPDX-License-Identifier: Apache-2.0
"""Run a function right after a module's first import: bridges cost nothing until needed.

Or hide from a module what it would import and does not need, or give it another one's name.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

Callback = Callable[[ModuleType], None]


def when_imported(name: str, callback: Callback) -> None:
    """Call ``callback(module)`` once ``name`` is imported; at once where it already is.

    Args:
        name: full name of the module.
        callback: receives the module, executed, before its importer goes on.
    """
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        callback(module)
        return
    _await(name).callbacks.append(callback)


def import_without(name: str, *hidden: str) -> None:
    """Let ``name`` believe, while it is imported, that the modules ``hidden`` are not installed.

    Those that are imported already stay; so does ``name`` itself.
    """
    if name not in sys.modules:
        _await(name).hidden.extend(hidden)


@dataclass
class _Wish:
    """What to do about one module."""

    callbacks: list[Callback] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)


def ask_before_others(finder: importlib.abc.MetaPathFinder) -> None:
    """Let ``finder`` answer before Python's own; callbacks run on the modules that it finds."""
    if finder not in sys.meta_path:
        sys.meta_path.insert(_in_front() + 1, finder)


def _in_front() -> int:
    """Where the finder of this file stands in ``sys.meta_path``, first of all when it comes."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    return sys.meta_path.index(_FINDER)


def _await(name: str) -> _Wish:
    _in_front()
    return _FINDER.wishes.setdefault(name, _Wish())


@contextmanager
def _hide(names: Sequence[str]) -> Iterator[None]:
    absent: Any = None  # what makes an import statement raise ImportError
    for name in names:
        sys.modules.setdefault(name, absent)
    try:
        yield
    finally:
        for name in names:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the awaited modules as everyone else does and wraps their loaders."""

    def __init__(self) -> None:
        self.wishes: dict[str, _Wish] = {}
        self._searching: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Spec of an awaited module; None for all others."""
        if name not in self.wishes or name in self._searching:
            return None
        self._searching.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._searching.discard(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self.wishes[name])
        return spec


class _Loader(importlib.abc.Loader):
    """Another loader, followed by callbacks."""

    def __init__(self, loader: importlib.abc.Loader, wish: _Wish) -> None:
        self._loader = loader
        self._wish = wish

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave it to the wrapped loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module as its own loader does, then run the callbacks."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with _hide(self._wish.hidden):
            self._loader.exec_module(module)
        while self._wish.callbacks:
            self._wish.callbacks.pop(0)(module)


class Alias(importlib.abc.Loader):
    """Gives a module under the name of another package's; it stays one module."""

    def __init__(self, home: str) -> None:
        self._home = home

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module of ``home``, imported."""
        module = importlib.import_module(self._home)
        self._spec, self._loader = module.__spec__, module.__loader__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It is executed; only its own name is given back to it."""
        module.__spec__, module.__loader__ = self._spec, self._loader


_FINDER = _Finder()
