# SPDX-License-Identifier: Apache-2.0
"""A stand-in for ``mmcv._ext``, the compiled half of mmcv, so that mmdet3d runs on ``mmcv-lite``.

mmcv has no wheel for current PyTorch, its source build takes ten minutes, and mmdet3d refuses
mmcv 2.2. mmcv-lite 2.1.0 ships the Python half of every op and asks ``mmcv._ext`` for the rest.
:func:`install` adds a finder behind Python's own: where compiled mmcv is present, Python finds that
and nothing changes; where it is not, ``mmcv._ext`` is a module that answers with
the functions of this folder. An op that is missing there fails when it is *called*, with
:class:`MissingOpError`, so importing mmcv and mmdet3d works. :func:`ops` lists them all.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

MODULE = "mmcv._ext"
BUILD = (
    "it needs compiled mmcv: pip uninstall -y mmcv-lite && pip install 'setuptools<81' ninja psutil"
    " && MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary mmcv mmcv==2.1.0 (minutes, a "
    "C++ compiler, and CUDA's where a GPU is to run it); in lidistill's repository `make mmcv` "
    "builds it for the CPU into an environment of its own"
)


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
    from lidistill.ops.mmcv import (
        functions,
        image_functions,
        point_functions,
        pooling_functions,
        sparse_functions,
    )

    rooms: tuple[Any, ...] = (
        functions,
        image_functions,
        point_functions,
        pooling_functions,
        sparse_functions,
    )
    return {name: function for room in rooms for name, function in room.FUNCTIONS.items()}


def _missing(name: str) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise MissingOpError(
            f"expected mmcv's compiled op {name!r}{_asked_by()}, got lidistill's stand-in, which "
            f"does not have it (`lidistill doctor --ops` lists what it has); {BUILD}"
        )

    fail.__name__ = name
    return fail


def _asked_by() -> str:
    """Where in the code above mmcv and torch the op was asked for, with a space before."""
    layer = ""
    for frame, line in traceback.walk_stack(sys._getframe()):
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("mmcv.ops"):
            layer = f" of {module}"
        elif module != __name__ and module.partition(".")[0] not in ("mmcv", "torch"):
            return f"{layer}, asked for by {module} line {line} ({frame.f_code.co_filename})"
    return layer


@dataclass(frozen=True)
class Op:
    """One function of mmcv's extension and what answers to it here.

    Attributes:
        name: As mmcv's Python half calls it.
        layer: The module of ``mmcv.ops`` that does.
        answer: ``lidistill: MODULE``, ``compiled mmcv: FILE``, or empty where nothing does.
    """

    name: str
    layer: str
    answer: str


def ops() -> list[Op]:
    """Every function that mmcv's Python half asks of its extension, by layer; imports neither.

    Raises:
        ImportError: if mmcv itself is missing.
    """
    stands_in = install()
    package = importlib.util.find_spec("mmcv")
    if package is None or not package.submodule_search_locations:
        raise ImportError(f"expected the package mmcv, found {package}")
    ours = _functions() if stands_in else {}
    found = []
    for folder in package.submodule_search_locations:
        for path in sorted(Path(folder, "ops").glob("*.py")):
            for name in _asked_in(path.read_text(encoding="utf-8")):
                answer = "" if stands_in else f"compiled mmcv: {folder}"
                if name in ours:
                    answer = f"lidistill: {ours[name].__module__}"
                found.append(Op(name, f"mmcv.ops.{path.stem}", answer))
    return found


def _asked_in(source: str) -> list[str]:
    """Names in the calls ``load_ext('_ext', [...])`` of a module."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = []
    for call in calls:
        if getattr(call.func, "attr", "") == "load_ext" and len(call.args) == 2:
            names += [str(name) for name in ast.literal_eval(call.args[1])]
    return names
