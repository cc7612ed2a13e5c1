# SPDX-License-Identifier: Apache-2.0
"""The verb ``lidistill world``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lidistill.parallel import available_cpus
from lidistill.world.presets import PRESETS

HELP = "generate the embedded driving world (synthetic nuScenes and KITTI layouts)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--out", type=Path, required=True, help="folder; gets nuscenes/ and kitti/")
    parser.add_argument("--layout", choices=("nuscenes", "kitti", "both"), default="nuscenes")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=available_cpus(), help="threads")


def run(args: argparse.Namespace) -> int:
    """Generate the world; an interrupted one is continued."""
    from lidistill.world.build import generate

    generate(args.out, args.layout, args.preset, args.seed, args.jobs)
    sys.stdout.write(f"{args.out}: {args.layout} world, preset {args.preset}, seed {args.seed}\n")
    return 0
