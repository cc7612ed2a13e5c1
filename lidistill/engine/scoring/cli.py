# SPDX-License-Identifier: Apache-2.0
"""``lidistill eval``: scores of result files of any program, one sub-command a benchmark."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "score result files of any program: KITTI's AP on the CPU, nuScenes' NDS"
METRICS = ("bbox", "bev", "3d")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds one sub-command a benchmark."""
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    _kitti(commands.add_parser("kitti", description="KITTI's object benchmark", help="label files"))
    _nuscenes(
        commands.add_parser(
            "nuscenes", description="nuScenes' detection benchmark", help="a results file"
        )
    )


def _kitti(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gt", type=Path, required=True, metavar="DIR", help="folder label_2")
    parser.add_argument(
        "--pred", type=Path, required=True, metavar="DIR", help="folder of <frame>.txt with scores"
    )
    parser.add_argument(
        "--split", type=Path, metavar="FILE", help="frames to score, one a line; all labelled ones"
    )
    parser.add_argument(
        "--missing",
        choices=("error", "empty", "skip"),
        default="error",
        help="what a frame without a result file means; empty: nothing was detected",
    )
    parser.add_argument(
        "--classes",
        action="extend",
        nargs="+",
        metavar="NAME",
        help="Car, Pedestrian and Cyclist, or others",
    )
    parser.add_argument(
        "--loose", action="store_true", help="bev and 3d from 0.5 (cars) and 0.25 on, not 0.7 / 0.5"
    )
    parser.add_argument(
        "--overlap",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=MIN",
        help="overlap that a class needs; own classes need one",
    )
    parser.add_argument(
        "--official",
        action="store_true",
        help="leave out classes that nothing was detected of, as the official program does",
    )
    parser.add_argument(
        "--by", choices=METRICS, default="3d", help="metric by which distances and misses are told"
    )
    _out(parser, "table, scores.json and curves as SVG and PNG")


def _nuscenes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="data root")
    parser.add_argument("--version", required=True, help="folder of the tables, e.g. v1.0-mini")
    parser.add_argument("--split", required=True, help="mini_val, val, or a name of splits.json")
    parser.add_argument(
        "--pred", type=Path, required=True, metavar="FILE", help="results in nuScenes' JSON form"
    )
    parser.add_argument(
        "--missing",
        choices=("error", "empty"),
        default="error",
        help="what a keyframe without an entry means; empty: nothing was detected",
    )
    _out(parser, "table and scores.json")


def _out(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"folder to write to: {what}")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    if args.benchmark == "kitti":
        from lidistill.engine.scoring.kitti import score_kitti

        return score_kitti(args)
    from lidistill.engine.scoring.nuscenes import score_nuscenes

    return score_nuscenes(args)
