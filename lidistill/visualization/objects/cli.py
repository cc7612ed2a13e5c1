# SPDX-License-Identifier: Apache-2.0
"""``lidistill view``: object-complete sheets, and recordings of scenes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lidistill.converters.object_bank.cli import add_window, compose_options

HELP = "look at data: sheets of completed objects, recordings of scenes for rerun"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds one sub-command a way of looking."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="WHAT")
    text = "an HTML sheet a scene: frames and objects before and after completion"
    objects = _command(commands, "objects", text)
    objects.add_argument("--bank", type=Path, required=True, metavar="DIR")
    objects.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the pages")
    objects.add_argument(
        "--scenes", action="extend", nargs="+", metavar="NAME", help="all where left out"
    )
    objects.add_argument("--frames", type=int, default=3, help="shown of each scene")
    objects.add_argument("--objects", type=int, default=12, help="shown of each scene")
    add_window(objects)
    text = "a recording for rerun: points, cameras, boxes, completed objects over time"
    scene = _command(commands, "scene", text)
    scene.add_argument("--bank", type=Path, metavar="DIR", help="to show completed objects too")
    scene.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .rrd file")
    scene.add_argument("--scene", metavar="NAME", help="the first where left out")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("infos", type=Path, help="info file of lidistill create_data")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the data root")
    return parser


def run(args: argparse.Namespace) -> int:
    """Runs the verb."""
    from lidistill.converters.object_bank.build import BankReader

    bank = None if args.bank is None else BankReader(args.bank)
    if args.command == "scene":
        from lidistill.visualization.objects.recording import record_scene

        written = [record_scene(args.infos, args.root, args.out, args.scene, bank)]
    else:
        from lidistill.visualization.objects.sheet import write_sheets

        written = write_sheets(
            BankReader(args.bank),
            args.infos,
            args.root,
            args.out,
            args.scenes,
            args.frames,
            args.objects,
            compose_options(args),
        )
    for path in written:
        sys.stdout.write(f"{path} ({path.stat().st_size / 2**20:.1f} MiB)\n")
    return 0
