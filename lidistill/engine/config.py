# SPDX-License-Identifier: Apache-2.0
"""Reading configs, the same way for every verb that takes one."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

REMEMBERED = 32  # texts of configs


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``config`` and ``--cfg-options``, to be handed to :func:`load_config`."""
    parser.add_argument("config", type=Path, help="config file: configs/<method>/<name>.py")
    parser.add_argument(
        "--cfg-options",
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
        path: A pure-Python config (``with read_base()``) or one in mmengine's older text style.
        options: ``KEY=VALUE`` replacements; values are Python literals, else strings.
        data_root: replaces the config's ``data_root`` in every path.

    Returns:
        The mmengine ``Config``.

    Raises:
        FileNotFoundError: where there is no such file, with the configs that there are.
        ValueError: for a config that does not parse or has no ``data_root`` to replace, or an
            option that is not ``KEY=VALUE``.
    """
    from mmengine.config import Config
    from mmengine.config.utils import ConfigParsingError

    _format_once()
    path = Path(path)
    if not path.is_file():
        known = sorted(str(known) for known in Path("configs").glob("*/*.py"))
        raise FileNotFoundError(
            f"expected a config file, found no {path}; there are: {', '.join(known) or 'none here'}"
        )
    try:
        config = Config.fromfile(path)
    except (ConfigParsingError, SyntaxError) as error:
        raise ValueError(f"{path}: {error}") from error
    config.merge_from_dict(parse_options(options))
    if data_root is not None:
        _move_data(config, data_root, path)
    return config


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words as a dictionary.

    Raises:
        ValueError: for a word that is not ``KEY=VALUE``.
    """
    return dict(_parse_option(option) for option in options)


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
    """Remember how mmengine laid out a config's text.

    A run asks for the same text half a dozen times, each of which costs seconds in yapf: more than
    the rest of a short training.
    """
    from mmengine.config import config as module

    original = module.FormatCode
    if hasattr(original, "__wrapped__"):
        return
    seen: dict[str, Any] = {}

    @wraps(original)
    def format_code(text: str, *args: Any, **kwargs: Any) -> Any:
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


def _parse_option(option: str) -> tuple[str, Any]:
    key, sign, value = option.partition("=")
    if not sign or not key:
        raise ValueError(f"expected --cfg-options KEY=VALUE, got {option!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, {"true": True, "false": False}.get(value, value)
