# SPDX-License-Identifier: Apache-2.0
"""Where packages lie, for bases of configs: asked of Python, not of setuptools.

``mmdet3d::second/...`` and ``from lidistill.configs.slidr.demo import *`` name them.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from lidistill.provenance import CHECKOUT

OWN = "lidistill"


def is_installed(package: str) -> bool:
    """Whether a distribution or a module of that name is there."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return _folder(package) is not None
    return True


def get_installed_path(package: str) -> str:
    """Folder of a package; a distribution's name (``mmcv-lite``) stands for its module.

    In a checkout lidistill's configs stand beside the package, and so its folder is the checkout.

    Raises:
        ModuleNotFoundError: no such package.
    """
    if package == OWN and not (CHECKOUT / OWN / "configs").is_dir():
        return str(CHECKOUT)
    try:
        listed = metadata.distribution(package).read_text("top_level.txt") or ""
    except metadata.PackageNotFoundError:
        listed = ""
    for module in (package, *listed.split()[:1]):
        folder = _folder(module)
        if folder is not None:
            return str(folder)
    raise ModuleNotFoundError(
        f"no package {package!r} is installed here, which a config names with {package}::..."
    )


def ask_python(module: Any) -> None:
    """Let mmengine find packages without ``pkg_resources``, which setuptools 81 left out.

    Args:
        module: ``mmengine.utils.package_utils``.
    """
    ours = {"is_installed": is_installed, "get_installed_path": get_installed_path}
    theirs = {name: getattr(module, name) for name in ours}
    for name, loaded in list(sys.modules.items()):
        if name.split(".")[0] == "mmengine":
            for key, function in theirs.items():
                if vars(loaded).get(key) is function:
                    setattr(loaded, key, ours[key])


def _folder(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):  # a-name, or a module without a spec
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin).parent
