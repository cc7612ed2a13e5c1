# SPDX-License-Identifier: Apache-2.0
"""``lidistill show_config``: a config with its bases merged, and which code it would build.

Configs name classes, not strings of dots, so each ``type`` has a file and a line: this prints them.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill.engine.configs.read import add_config_arguments, load_config
from lidistill.engine.configs.stages import load_stage
from lidistill.registry import look_up

HELP = "print a resolved config and file:line of every class it would build"


@dataclass(frozen=True)
class Built:
    """One thing that a config would build.

    Attributes:
        key: Where in the config, for example ``model.student``.
        name: Class or function.
        place: ``file:line``, or why there is none.
    """

    key: str
    name: str
    place: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lidistill show_config``."""
    add_config_arguments(parser)
    parser.add_argument("--classes-only", action="store_true", help="leave the config's text out")


def run(args: argparse.Namespace) -> int:
    """Print the config, then a line for everything it would build; the same for its stages."""
    from mmengine.registry import init_default_scope
    from rich.console import Console
    from rich.syntax import Syntax

    console = Console(soft_wrap=True, highlight=False)
    for path, config in with_stages(args.config, load_config(args.config, args.cfg_options)):
        init_default_scope(config.get("default_scope") or "mmengine")
        console.print(f"# {path}", markup=False)
        if not args.classes_only:
            text = config.pretty_text
            console.print(Syntax(text, "python", word_wrap=True) if console.is_terminal else text)
        for built in find_built(config.to_dict()):
            console.print(f"{built.key}: {built.name}  {built.place}", markup=False)
    return 0


def with_stages(path: Path, config: Any) -> Iterator[tuple[Path, Any]]:
    """A config, then the configs of its stages.

    Args:
        path: The config's file; stages name theirs relative to it.
        config: Its content.

    Yields:
        File and content.
    """
    yield path, config
    for stage in config.get("stages") or []:
        yield load_stage(path, stage)


def find_built(node: Any, key: str = "") -> Iterator[Built]:
    """Walk a config and yield everything with a ``type``, parents before children.

    Args:
        node: Config dictionary, or a part of it.
        key: Where ``node`` stands.

    Yields:
        What would be built.
    """
    if isinstance(node, Mapping):
        if "type" in node and _is_buildable(node["type"]):
            yield locate(node["type"], key)
        for name, child in node.items():
            yield from find_built(child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from find_built(child, f"{key}[{index}]")


def locate(kind: Any, key: str = "") -> Built:
    """Where the class (or function) ``kind`` stands.

    Args:
        kind: A class, a function, or a name to be looked up in mmengine's registries.
        key: Where in the config it is named.

    Returns:
        Its name and place.
    """
    if isinstance(kind, str):
        try:
            found = look_up(kind)
        except ImportError as error:
            return Built(key, kind, f"cannot be imported: {error}")
        if found is None:
            return Built(key, kind, "unknown: in none of mmengine's registries")
        kind = found
    name = f"{kind.__module__}.{kind.__qualname__}"
    try:
        file = Path(inspect.getsourcefile(kind) or "")
        line = inspect.getsourcelines(kind)[1]
    except (TypeError, OSError):
        return Built(key, name, "built in, no source")
    return Built(key, name, f"{_short(file)}:{line}")


def _is_buildable(kind: Any) -> bool:
    return isinstance(kind, str) or inspect.isclass(kind) or inspect.isfunction(kind)


def _short(file: Path) -> str:
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)
