# SPDX-License-Identifier: Apache-2.0
"""A stand-in for ``mmcv._ext``, the compiled half of mmcv, so that mmdet3d runs on ``mmcv-lite``.

mmcv has no wheel for current PyTorch, its source build takes ten minutes, and mmdet3d refuses
mmcv 2.2. mmcv-lite 2.1.0 ships the Python half of every op and asks ``mmcv._ext`` for the rest.
:func:`install` adds a finder behind Python's own: where compiled mmcv is present, Python finds that
and nothing changes; where it is not, ``mmcv._ext`` is a module that answers with
:mod:`lidistill.ops.mmcv.functions` and :mod:`lidistill.ops.mmcv.point_functions`. An op that is
missing there fails when it is *called*, with :class:`MissingOpError`, so importing mmcv and mmdet3d
works.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

MODULE = "mmcv._ext"


class MissingOpError(NotImplementedError):
    """An op of mmcv's compiled extension that lidistill does not provide."""


def install() -> bool:
    """Let ``mmcv._ext`` be answered by the stand-in unless it is compiled; imports neither.

    Returns:
        True if the stand-in answers, False if compiled mmcv does. Safe to call again.

    Raises:
        ImportError: if mmcv itself is missing.
    """
    loaded = sys.modules.get(MODULE)
    if loaded is not None:
        return isinstance(loaded, StandIn)
    package = importlib.util.find_spec("mmcv")
    if package is None:
        raise ImportError(
            "expected mmcv or mmcv-lite, found neither; run: pip install mmcv-lite==2.1.0"
        )
    if PathFinder.find_spec(MODULE, package.submodule_search_locations) is not None:
        return False
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
    return True


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(MODULE, _Loader(), origin=__file__) if fullname == MODULE else None


class _Loader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(MODULE, "lidistill's stand-in for mmcv's compiled ops.")

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(_functions())


class StandIn(ModuleType):
    """The module that answers as ``mmcv._ext``; any op is an attribute, provided or not."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(f"module {MODULE!r} has no attribute {name!r}")
        return _missing(name)


def _functions() -> dict[str, Callable[..., Any]]:
    from lidistill.ops.mmcv import functions as mmcv_functions
    from lidistill.ops.mmcv import point_functions as mmcv_point_functions

    return {**mmcv_functions.FUNCTIONS, **mmcv_point_functions.FUNCTIONS}


def _missing(name: str) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise MissingOpError(
            f"expected mmcv's compiled op {name!r}, got lidistill's stand-in, which has only "
            f"{', '.join(sorted(_functions()))}; build compiled mmcv into an environment of its "
            "own with: make mmcv"
        )

    fail.__name__ = name
    return fail
