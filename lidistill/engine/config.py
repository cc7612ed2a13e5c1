# SPDX-License-Identifier: Apache-2.0
"""Reading configs, the same way for every verb that takes one."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config


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


def load_config(path: Path, options: Sequence[str] = ()) -> Config:
    """Read a config with its bases.

    Args:
        path: A pure-Python config (``with read_base()``) or one in mmengine's older text style.
        options: ``KEY=VALUE`` replacements; values are Python literals, else strings.

    Returns:
        The mmengine ``Config``.

    Raises:
        FileNotFoundError: where there is no such file, with the configs that there are.
        ValueError: for a config that does not parse, or an option that is not ``KEY=VALUE``.
    """
    from mmengine.config import Config
    from mmengine.config.utils import ConfigParsingError

    if not path.is_file():
        known = sorted(str(known) for known in Path("configs").glob("*/*.py"))
        raise FileNotFoundError(
            f"expected a config file, found no {path}; there are: {', '.join(known) or 'none here'}"
        )
    try:
        config = Config.fromfile(path)
    except (ConfigParsingError, SyntaxError) as error:
        raise ValueError(f"{path}: {error}") from error
    config.merge_from_dict(dict(_parse_option(option) for option in options))
    return config


def _parse_option(option: str) -> tuple[str, Any]:
    key, sign, value = option.partition("=")
    if not sign or not key:
        raise ValueError(f"expected --cfg-options KEY=VALUE, got {option!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, {"true": True, "false": False}.get(value, value)
