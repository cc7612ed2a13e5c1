# SPDX-License-Identifier: Apache-2.0
"""Configs in YAML or JSON are data: reading one runs no code, whoever wrote it.

A config in Python is a program, and reading it runs it. YAML and JSON may name YAML and JSON bases,
and under ``type`` names of classes of the packages below; nothing else comes to life from them.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import YamlHandler

from lidistill.io import DataError

SUFFIXES = (".yaml", ".yml", ".json")
PACKAGES = ("lidistill", "mmdet3d", "mmdet", "mmengine", "torch.nn", "torch.optim")
"""Where dotted names of classes may point."""
BASE = "_base_"
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}")
_MARK = "PLACEHOLDER"
FIX = "a config that is a program must be a .py file; read it before you run it."


class SafeYamlHandler(YamlHandler):
    """mmengine's reader of YAML, which makes any Python object a file asks for, made safe."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Plain data only."""
        return yaml.safe_load(file)


def read_yaml_safely() -> None:
    """Let mmengine read YAML as data from now on; again and again is fine."""
    register_handler(["yaml", "yml"])(SafeYamlHandler)


def check_bases(path: Path, seen: tuple[Path, ...] = ()) -> None:
    """Refuse a YAML or JSON config that holds objects, or names a program as a base.

    Raises:
        DataError: with the file and what is wrong; nothing of it was run.
    """
    if path in seen:
        raise DataError("This config is its own base.", path=path)
    content = _plain_content(path)
    bases = content.get(BASE, [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or _MARK in base or Path(base).suffix not in SUFFIXES:
            raise DataError(
                f"Expected bases in YAML or JSON, got {BASE}: {base!r}.", path=path, fix=FIX
            )
        below = path.parent / base
        if not below.is_file():
            raise DataError(f"Its base {base!r} is not there.", path=path)
        check_bases(below, (*seen, path))


def check_content(node: Any, path: Path, key: str = "") -> None:
    """Refuse names of anything but the packages' classes under ``type``, and imports.

    Raises:
        DataError: with the key and what it names.
    """
    if isinstance(node, Mapping):
        for name, value in node.items():
            place = f"{key}.{name}" if key else str(name)
            if name == "custom_imports" and value:
                raise DataError(f"{place} would import code.", path=path, fix=FIX)
            if name == "type" and isinstance(value, str) and "." in value:
                _check_class(value, place, path)
            check_content(value, path, place)
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            check_content(value, path, f"{key}[{number}]")


def _plain_content(path: Path) -> dict[str, Any]:
    text = _PLACEHOLDER.sub(_MARK, config_text(path))
    try:
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        words = " ".join(str(error).split())[:300]
        raise DataError(
            f"Expected a config of plain data, but it does not parse: {words}.", path=path, fix=FIX
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"Expected keys and values, got a {type(content).__name__}.", path=path)
    return content


def config_text(path: Path) -> str:
    """Text of a config.

    Raises:
        DataError: it is not UTF-8, or a Python file with a byte order mark.
    """
    fix = "save it as UTF-8 without a byte order mark."
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"Expected a config in UTF-8, got byte {data[error.start]:#04x} at {error.start}.",
            path=path,
            fix=fix,
        ) from error
    if "\0" in text or text.startswith("\ufeff"):
        what = "zero bytes" if "\0" in text else "a byte order mark"
        raise DataError(f"Expected a config in UTF-8, got {what}.", path=path, fix=fix)
    return text


def _check_class(name: str, place: str, path: Path) -> None:
    """A dotted name must be a class of the packages."""
    allowed = any(name.startswith(f"{package}.") for package in PACKAGES)
    if allowed:
        from lidistill import compat

        compat.apply()
        module, _, attribute = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute, None)
        except ImportError:
            found = None
        if inspect.isclass(found):
            return
    raise DataError(
        f"{place} is {name!r}: expected the name of a class of {', '.join(PACKAGES)}.",
        path=path,
        fix=FIX,
    )
