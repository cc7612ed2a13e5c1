# SPDX-License-Identifier: Apache-2.0
"""Reading configs, the same way for every verb that takes one."""

from __future__ import annotations

import argparse
import re
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lidistill import compat
from lidistill.engine.configs.data import (
    SUFFIXES,
    check_bases,
    check_content,
    config_text,
    read_yaml_safely,
)
from lidistill.engine.configs.options import merge_options, parse_options
from lidistill.engine.configs.shipped import find_config
from lidistill.io import DataError

if TYPE_CHECKING:
    from mmengine.config import Config

REMEMBERED = 1024  # statements of configs
_STATEMENT = re.compile(r"^(?=[A-Za-z_]\w*=)", re.MULTILINE)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``config`` and ``--cfg-options``, to be handed to :func:`load_config`."""
    parser.add_argument(
        "config", type=Path, help="config file, or a name of `lidistill config list`"
    )
    add_options_argument(parser)


def add_options_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options`` alone."""
    parser.add_argument(
        "--cfg-options",
        action="extend",  # given twice, the second would take the first's place
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="replace values of the config, for example train_cfg.max_epochs=1",
    )


def load_config(
    path: str | Path, options: Sequence[str] = (), data_root: str | None = None
) -> Config:
    """Read a config with its bases.

    Args:
        path: A pure-Python config (``with read_base()``), one in mmengine's older text style, or
            plain data in YAML or JSON; or the name of one that comes with lidistill.
        options: ``KEY=VALUE`` replacements; values are Python literals, else strings.
        data_root: replaces the config's ``data_root`` in every path.

    Returns:
        The mmengine ``Config``.

    Raises:
        FileNotFoundError: where there is no such file or name, with the nearest names.
        ValueError: for a config that does not parse or has no ``data_root`` to replace, or an
            option that is not ``KEY=VALUE`` or whose key nothing would read.
    """
    _format_once()
    path = find_config(path)
    config = _read(path)
    try:
        merge_options(config, parse_options(options))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if data_root is not None:
        _move_data(config, data_root, path)
    return config


def needs(config: Config, path: str | Path, *keys: str) -> None:
    """Refuse a config without what a verb builds.

    Args:
        config: as read.
        path: of it, for the message.
        keys: that must be there: ``model``, ``train_dataloader``, ...

    Raises:
        ValueError: it lacks some of them.
    """
    missing = [key for key in keys if config.get(key) is None]
    if missing:
        raise ValueError(
            f"{path} names no {' and no '.join(missing)}: it is a part of a config, or none; "
            "`lidistill config list` shows those that can be trained"
        )


def _read(path: Path) -> Config:
    """A Python config is run; one in YAML or JSON is read as data."""
    compat.apply()  # finds its bases
    from mmengine.config import Config
    from mmengine.config.utils import ConfigParsingError

    config_text(path)
    data_only = path.suffix in SUFFIXES
    if data_only:
        read_yaml_safely()
        check_bases(path)
    try:
        config = Config.fromfile(path, import_custom_modules=not data_only)
    except UnicodeDecodeError as error:
        raise DataError(
            f"A base of this config is not UTF-8 ({error.reason}).",
            path=path,
            fix="save it as such.",
        ) from error
    except (ConfigParsingError, SyntaxError) as error:
        raise ValueError(f"{path}: {error}") from error
    except (OSError, ImportError, DataError):
        raise
    except Exception as error:  # a program may raise anything
        raise _not_run(path, error) from error
    if data_only:
        check_content(config.to_dict(), path)
    return config


def _not_run(path: Path, error: Exception) -> DataError:
    """The error for a config that raises one, with the line where it did."""
    steps = traceback.extract_tb(error.__traceback__)
    lines = [step.lineno for step in steps if Path(step.filename).name == path.name]
    where = f" in line {lines[-1]}" if lines else ""
    return DataError(
        f"This config does not run: {type(error).__name__}{where}: {error}.",
        path=path,
        fix="mend it; --debug shows where it, or one of its bases, stopped.",
    )


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Apply ``change`` to every string of a nested config, in place; classes stay lazy."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        for key, item in list(dict.items(value)):  # ConfigDict.items() would import every class
            dict.__setitem__(value, key, map_strings(item, change))
        return value
    if isinstance(value, list | tuple):
        return type(value)(map_strings(item, change) for item in value)
    return value


def _format_once() -> None:
    """Remember how mmengine laid out a config's text, statement by statement.

    A run asks half a dozen times for texts that differ in a line or two, each of which costs
    seconds in yapf: more than the rest of a short training. yapf lays out one statement at a time.
    """
    from mmengine.config import config as module

    original = module.FormatCode
    if hasattr(original, "__wrapped__"):
        return
    seen: dict[str, Any] = {}

    @wraps(original)
    def format_code(text: str, *args: Any, **kwargs: Any) -> Any:
        done = [statement(part, *args, **kwargs) for part in _STATEMENT.split(text) if part]
        return "".join(part for part, _ in done), any(changed for _, changed in done)

    def statement(text: str, *args: Any, **kwargs: Any) -> Any:
        key = repr((text, args, kwargs))
        if key not in seen:
            seen[key] = original(text, *args, **kwargs)
            if len(seen) > REMEMBERED:
                del seen[next(iter(seen))]
        return seen[key]

    module.FormatCode = format_code


def _move_data(config: Config, data_root: str, path: Path) -> None:
    """Replace the leading folder ``config.data_root`` by ``data_root`` in every path."""
    if "stages" in config:  # its stages' configs have data roots, it has none
        return
    old, new = str(config.get("data_root", "")).rstrip("/"), data_root.rstrip("/")
    if not old:
        raise ValueError(f"{path} has no data_root that another could replace")

    def move(text: str) -> str:
        return new + text[len(old) :] if text == old or text.startswith(old + "/") else text

    map_strings(config._cfg_dict, move)
