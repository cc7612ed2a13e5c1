# SPDX-License-Identifier: Apache-2.0
"""The name ``torchsparse`` for `lidistill.ops.torchsparse`, where torchsparse is not installed.

What is imported as ``torchsparse.nn`` is that package's module of this name, the same object.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from lidistill.compat.imports import Alias, ask_before_others

NAME = "torchsparse"
HOME = "lidistill.ops.torchsparse"


def install() -> bool:
    """Let ``import torchsparse`` find ours if there is no other; imports neither.

    Returns:
        Whether ours answers.
    """
    ask_before_others(_FINDER)
    return answers()


def answers() -> bool:
    """Whether lidistill answers ``import torchsparse``: where it is not installed."""
    module = sys.modules.get(NAME)
    return _FINDER.nobody_else() if module is None else module.__name__ == HOME


def said() -> str:
    """Who answers, in words."""
    if answers():
        return "not installed: lidistill answers `import torchsparse`, on every device"
    return "its own package answers `import torchsparse`"


class _Finder(MetaPathFinder):
    """Finds ``torchsparse`` and what is in it where no other finder does."""

    def __init__(self) -> None:
        self._asking = False

    def nobody_else(self) -> bool:
        """Whether no other finder knows torchsparse."""
        self._asking = True
        try:
            return find_spec(NAME) is None
        finally:
            self._asking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, dot, rest = fullname.partition(".")
        if package != NAME or self._asking or not answers():
            return None
        home = f"{HOME}{dot}{rest}"
        return None if find_spec(home) is None else ModuleSpec(fullname, Alias(home))


_FINDER = _Finder()
