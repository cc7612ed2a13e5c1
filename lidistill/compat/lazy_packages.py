# SPDX-License-Identifier: Apache-2.0
"""OpenMMLab's collecting packages import what is asked for, not everything they could offer.

``mmdet3d.models`` imports four hundred modules of its own and of mmdet, and through them
transformers, scikit-learn, pandas, scipy and torch's compiler, before the first detector is built.
Their ``__init__`` files only collect names: such a package is opened here by reading that file, and
a name is imported when it is taken from the package or asked of a registry. A name that is unknown
then imports everything after all, so no look-up fails that would not have failed before.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

Home = tuple[str, str | None]
"""Module and name in it; None for the module itself."""

ROOTS = (
    "mmdet.models",
    "mmdet.datasets",
    "mmdet.evaluation",
    "mmdet.utils",
    "mmdet.visualization",
    "mmdet3d.models",
    "mmdet3d.datasets",
    "mmdet3d.evaluation",
    "mmdet3d.utils",
    "mmdet3d.visualization",
    "mmengine._strategy",
    "mmengine.hooks",
    "mmengine.model",
    "mmengine.optim",
    "mmengine.runner",
    "mmengine.visualization",
)
"""These packages and those inside of them."""
WITH = {"mmdet3d.models": ("mmdet.models",)}
"""What a package's modules import besides: their names register themselves then, too."""
OVERRIDES = {"mmdet3d.models": ("mmdet3d.models.layers.spconv", ("Sparse", "SubM"))}
"""Package -> module that replaces registered names, and how these begin."""


def register_later(key: str, register: Callable[[], Any]) -> None:
    """Call ``register`` when a registry is asked for ``key``."""
    _NAMES.add(key, register)


def register_mmcv_first(module: Any) -> None:
    """Import mmcv's layers before mmdet3d replaces them: mmcv refuses a name that is taken.

    Args:
        module: the module of mmdet3d that does, executed; it registers nothing until it is called.
    """
    import_module("mmcv.ops")


AGE = "digit_version(TORCH_VERSION) >= "
"""How mmengine asks for a torch that every torch of ours is newer than."""


def install() -> None:
    """Open the packages of ``ROOTS`` lazily from now on; what is imported already stays."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds packages as everyone else does, and wraps the loaders of those that only collect."""

    def __init__(self) -> None:
        self._searching: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Spec of a collecting package; None for all others."""
        within = any(name == root or name.startswith(f"{root}.") for root in ROOTS)
        if not within or name in self._searching:
            return None
        self._searching.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._searching.discard(name)
        if spec is None or spec.loader is None or not str(spec.origin).endswith("__init__.py"):
            return spec
        homes = names_of(name, Path(str(spec.origin)))
        if homes is not None:
            spec.loader = _Loader(spec.loader, homes)
        return spec


class _Package(ModuleType):
    """A collecting package: a name is imported when it is taken."""

    def __init__(self, name: str, homes: dict[str, Home]) -> None:
        super().__init__(name)
        self.__dict__["_homes"] = homes

    def __getattr__(self, key: str) -> Any:
        homes = self.__dict__["_homes"]
        if key in homes:
            module, attribute = homes[key]
            owner = import_module(module)
            value = owner if attribute is None else getattr(owner, attribute)
        else:
            value = self._inside(key)
        self.__dict__[key] = value
        return value

    def __setattr__(self, key: str, value: Any) -> None:
        """Keep a module from hiding the function of its own name, as importing it would do."""
        if self.__dict__["_homes"].get(key) == (f"{self.__name__}.{key}", key):
            value = getattr(value, key, value)
        super().__setattr__(key, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self.__dict__["_homes"]})

    def _inside(self, key: str) -> ModuleType:
        """A module of the package: the eager one would have imported it."""
        name = f"{self.__name__}.{key}"
        if not key.startswith("__"):
            try:
                return import_module(name)
            except ModuleNotFoundError as error:
                if error.name != name:
                    raise
        raise AttributeError(f"module {self.__name__!r} has no attribute {key!r}")


class _Loader(importlib.abc.Loader):
    """Another loader's package, without what its ``__init__`` imports."""

    def __init__(self, loader: importlib.abc.Loader, homes: dict[str, Home]) -> None:
        self._loader, self._homes = loader, homes

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """A package that knows where its names are."""
        return _Package(spec.name, self._homes)

    def exec_module(self, module: ModuleType) -> None:
        """List its names; registries may ask for them from now on."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__dict__["__all__"] = [key for key in self._homes if not key.startswith("_")]
        _NAMES.open(module.__name__, self._homes)


class _Names:
    """How the names of opened packages come to be; registries ask here before they say no."""

    def __init__(self) -> None:
        self._makers: dict[str, list[Callable[[], Any]]] = {}
        self._opened: list[str] = []
        self._overrides: dict[str, tuple[str, ...]] = {}

    def add(self, key: str, maker: Callable[[], Any]) -> None:
        """Call ``maker`` when ``key`` is asked for."""
        self._makers.setdefault(key, []).append(maker)

    def open(self, package: str, homes: dict[str, Home]) -> None:
        """Remember the names of a package that has just been opened."""
        self._opened.append(package)
        for key in homes:
            self.add(key, partial(getattr, sys.modules[package], key, None))
        if package in OVERRIDES:
            module, beginnings = OVERRIDES[package]
            self._overrides[module] = beginnings

    def register(self, key: str) -> None:
        """Import the modules that define ``key``: they register it, as the eager package did."""
        for module, beginnings in list(self._overrides.items()):
            if key.startswith(beginnings):
                del self._overrides[module]
                import_module(module)
        for maker in self._makers.pop(key, ()):
            maker()

    def register_all(self) -> bool:
        """Import everything that opened packages collect; False where that was done before."""
        if not self._opened:
            return False
        while self._opened:
            for other in WITH.get(self._opened.pop(), ()):
                import_module(other)
        while self._makers:
            self.register(next(iter(self._makers)))
        return True


def patch_registry(module: Any) -> None:
    """Let ``Registry.get`` import the module of a name that it does not know yet.

    Args:
        module: ``mmengine.registry.registry``.
    """
    registry = module.Registry
    original = registry.get
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def get(self: Any, key: str) -> Any:
        if not isinstance(key, str):
            return original(self, key)
        self.import_from_location()
        _NAMES.register(key.rpartition(".")[2])
        found = original(self, key)
        if found is None and _NAMES.register_all():
            found = original(self, key)
        return found

    registry.get = get


# -- reading an __init__.py -----------------------------------------------------------------------
def names_of(package: str, path: Path) -> dict[str, Home] | None:
    """Where each name comes from that a package's ``__init__.py`` imports.

    Args:
        package: full name of the package.
        path: its ``__init__.py``.

    Returns:
        Name -> home; None where the file does more than import names from known places.
    """
    homes: dict[str, Home] = {}
    for node in _statements(ast.parse(path.read_text(encoding="utf-8"))):
        found = _imported(package, path.parent, node)
        if found is None:
            return None
        homes.update(found)
    return homes


def _statements(tree: ast.Module) -> list[ast.stmt]:
    """What the file does, but for its docstring, its ``__all__`` and questions of torch's age."""
    done: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test).startswith(AGE):
            done += node.body
        else:
            done.append(node)
    return [node for node in done if not _is_label(node)]


def _is_label(node: ast.stmt) -> bool:
    text = ast.unparse(node)
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant or text.startswith(("__all__ =", "__all__.append(", "__all__.extend("))


def _imported(package: str, folder: Path, node: ast.stmt) -> dict[str, Home] | None:
    """Names of one statement."""
    if not isinstance(node, ast.ImportFrom) or node.level > 1:
        return None
    source = node.module or ""
    if node.level == 1:
        source = f"{package}.{source}".rstrip(".")
    homes: dict[str, Home] = {}
    for alias in node.names:
        if alias.name == "*":
            inside = _starred(package, folder, source)
            if inside is None:
                return None
            homes.update(inside)
        elif node.module is None:
            homes[alias.asname or alias.name] = (f"{source}.{alias.name}", None)
        else:
            homes[alias.asname or alias.name] = (source, alias.name)
    return homes


def _starred(package: str, folder: Path, source: str) -> dict[str, Home] | None:
    """What ``from source import *`` brings, for a collecting package inside of ``package``."""
    if not source.startswith(f"{package}."):
        return None
    path = folder.joinpath(*source.removeprefix(f"{package}.").split("."), "__init__.py")
    inside = names_of(source, path) if path.is_file() else None
    return None if inside is None else {key: (source, key) for key in inside if key[0] != "_"}


_NAMES = _Names()
_FINDER = _Finder()
