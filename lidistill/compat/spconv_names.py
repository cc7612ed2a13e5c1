# SPDX-License-Identifier: Apache-2.0
"""The name ``spconv`` for the package that answers in its place (`spconv_choice.answer`).

What is imported as ``spconv.pytorch.conv`` is that package's module of this name, the same object.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from lidistill.compat import spconv_choice
from lidistill.compat.imports import Alias, ask_before_others

MODULES = {"own": "lidistill.ops.spconv", "triton": "spconv_triton"}
"""Package behind the name ``spconv``, where that is not spconv's own."""


def install() -> bool:
    """Let the choice decide what ``import spconv`` finds; imports neither torch nor any of them.

    Raises:
        ValueError: a value of ``LIDISTILL_SPARSE`` that is not known, not installed, or too late.
    """
    forced = os.environ.get(spconv_choice.VARIABLE, "")
    if forced:
        spconv_choice.check_forced(forced, spconv_choice.look())
        if forced != "spconv" and "spconv" in sys.modules:
            raise ValueError(
                f"{spconv_choice.VARIABLE}={forced}, but spconv was imported before lidistill: "
                "import lidistill first"
            )
    ask_before_others(_FINDER)
    return True


class _Finder(MetaPathFinder):
    """Finds ``spconv`` and what is in it where another package answers."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, dot, rest = fullname.partition(".")
        if package != "spconv" or spconv_choice.answer() == "spconv":
            return None
        home = MODULES[spconv_choice.answer()]
        if not dot:
            return ModuleSpec(fullname, _Top(home), is_package=True)
        if find_spec(f"{home}.{rest}") is None:
            return None
        return ModuleSpec(fullname, Alias(f"{home}.{rest}"))


class _Top(Loader):
    """Makes the package ``spconv`` itself, with the version whose interface the other one has."""

    def __init__(self, home: str) -> None:
        self._home = home

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        home = import_module(self._home)
        for name in ("ConvAlgo", "AlgoHint", "constants", "SPCONV_VERSION_NUMBERS"):
            setattr(module, name, getattr(home, name))
        # spconv-triton has its own, which reads like a release of spconv 1
        version = ".".join(map(str, home.SPCONV_VERSION_NUMBERS))
        vars(module)["__version__"] = version


_FINDER = _Finder()
