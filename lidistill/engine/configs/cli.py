# SPDX-License-Identifier: Apache-2.0
"""``lidistill config``: list the configs that come with lidistill, copy one to edit it."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "list the configs that come with lidistill; copy one to edit it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    every = commands.add_parser("list", help="names and what they are")
    every.add_argument("words", nargs="*", help="only names that contain each of these")
    copy = commands.add_parser(
        "copy", help="a file to edit, in any folder; its bases stay lidistill's"
    )
    copy.add_argument("name", help="as listed, for example slidr/demo_pretrain")
    copy.add_argument(
        "target", nargs="?", type=Path, default=Path(), help="file or folder to write"
    )


def run(args: argparse.Namespace) -> int:
    """Entry of the verb."""
    from rich.console import Console
    from rich.markup import escape

    from lidistill.engine.configs.shipped import copy_config, list_configs, shipped_configs

    console = Console(highlight=False, soft_wrap=True)
    if args.command == "copy":
        target = copy_config(args.name, args.target)
        console.print(f"{escape(str(target))}: lidistill train {escape(str(target))}")
        return 0
    found = [each for each in list_configs() if all(word in each[0] for word in args.words)]
    width = max((len(name) for name, _ in found), default=0)
    for name, words in found:
        console.print(f"{name:<{width}}  [dim]{escape(words)}[/]")
    console.print(f"[dim]{len(found)} configs in {escape(str(shipped_configs()))}[/]")
    return 0
