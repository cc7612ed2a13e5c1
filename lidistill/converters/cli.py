# SPDX-License-Identifier: Apache-2.0
"""``lidistill create_data``: nuScenes, KITTI (object, raw) or SemanticKITTI to info files."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from lidistill.converters.contents import Contents, contents_tables
from lidistill.converters.folds import make_folds
from lidistill.converters.kitti.convert import POINT_FOLDERS, convert_kitti
from lidistill.converters.kitti.raw import convert_kitti_raw
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.converters.nuscenes.tables import find_versions
from lidistill.converters.semantic_kitti.convert import convert_semantic_kitti
from lidistill.io import DataError, available_cpus, read_manifest
from lidistill.parallel import ENGINES

HELP = "turn raw nuScenes, KITTI or SemanticKITTI into info files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds one sub-command a dataset."""
    commands = parser.add_subparsers(dest="dataset", required=True, metavar="DATASET")
    nuscenes = _command(commands, "nuscenes", "nuScenes, or any data set in its layout")
    nuscenes.add_argument(
        "--version",
        metavar="NAME",
        help="folder of the tables, e.g. v1.0-mini; may be left out where there is one only",
    )
    nuscenes.add_argument(
        "--max-sweeps", type=int, default=10, help="LiDAR sweeps to list before each keyframe"
    )
    nuscenes.add_argument(
        "--skip-incomplete",
        action="store_true",
        help="leave out scenes of which a file is missing",
    )
    nuscenes.add_argument(
        "--lidar",
        metavar="CHANNEL",
        help="channel of the LiDAR; LIDAR_TOP, or the only one, where this is left out",
    )
    nuscenes.add_argument(
        "--columns", type=int, default=5, help="float32 values a point in the LiDAR's files"
    )
    kitti = _command(commands, "kitti", "KITTI's object benchmark, or any data set in its layout")
    kitti.add_argument(
        "--points", choices=POINT_FOLDERS, default="velodyne", help="folder of the point clouds"
    )
    kitti.add_argument(
        "--with-plane", action="store_true", help="add the ground planes of training/planes"
    )
    kitti.add_argument(
        "--skip-incomplete",
        action="store_true",
        help="leave out frames of which a file is missing",
    )
    _add_columns(kitti, "x, y, z, reflectance, then more")
    kitti.add_argument(
        "--classes",
        action="extend",
        nargs="+",
        metavar="NAME",
        help="classes to teach, own ones too; KITTI's eight where this is left out",
    )
    kitti.add_argument(
        "--split",
        metavar="drives|FILE",
        help="in place of ImageSets/: whole raw drives, 0001 and 0005 to train, 0009 and 0052 to "
        'val; or a JSON file {"train": [...], "val": [...]} with names of frames or drives',
    )
    raw = _command(commands, "kittiraw", "KITTI's raw data, for pretraining: images and full scans")
    _add_columns(raw, "x, y, z, reflectance, then more")
    raw.add_argument(
        "--clear-of",
        metavar="LIST",
        help="frames of the object benchmark (ImageSets/val.txt): drives that hold any are left "
        "out; needs devkit/mapping below the root",
    )
    semantic = _command(commands, "semantickitti", "SemanticKITTI, or any data set in its layout")
    semantic.add_argument(
        "--skip-incomplete",
        action="store_true",
        help="leave out sequences and scans of which a file is missing",
    )
    _add_columns(semantic, "x, y, z, remission, then more")
    folds = commands.add_parser(
        "folds",
        help="leave one sequence out: info files over all of KITTI's data sets below one root",
        description="Write folds/SEQUENCE/{pretrain,train,val}.pkl below a root that holds "
        "SemanticKITTI, and KITTI's object or raw data if there are any, converted before.",
    )
    folds.add_argument("--root", type=Path, required=True, metavar="DIR", help="above the data")
    folds.add_argument(
        "--place",
        nargs=2,
        action="append",
        default=[],
        metavar=("SEQUENCE", "PATTERN"),
        help="frames whose token fits the pattern are from that sequence's place too",
    )


def _add_columns(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--columns", type=int, default=4, help=f"float32 values a point: {what}")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the data root")
    parser.add_argument(
        "--out-dir", type=Path, metavar="DIR", help="where the info files go; else the data root"
    )
    parser.add_argument("--jobs", type=int, default=available_cpus(), help="worker processes")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="loky",
        help="loky: processes on this machine; ray, dask: an existing cluster",
    )
    parser.add_argument(
        "--restart", action="store_true", help="convert again what was converted from the same data"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Runs the conversion and shows what was written."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.dataset == "folds":
        places: dict[str, list[str]] = {}
        for sequence, pattern in args.place:
            places.setdefault(sequence, []).append(pattern)
        make_folds(args.root, places)
        return 0
    if args.dataset == "nuscenes":
        written = convert_nuscenes(
            args.root,
            args.version or _only_version(args.root),
            args.out_dir,
            jobs=args.jobs,
            engine=args.engine,
            max_sweeps=args.max_sweeps,
            skip_incomplete=args.skip_incomplete,
            restart=args.restart,
            lidar=args.lidar,
            columns=args.columns,
        )
    elif args.dataset == "semantickitti":
        written = convert_semantic_kitti(
            args.root,
            args.out_dir,
            jobs=args.jobs,
            engine=args.engine,
            skip_incomplete=args.skip_incomplete,
            columns=args.columns,
        )
    elif args.dataset == "kittiraw":
        written = convert_kitti_raw(
            args.root,
            args.out_dir,
            jobs=args.jobs,
            engine=args.engine,
            restart=args.restart,
            columns=args.columns,
            clear_of=args.clear_of,
        )
    else:
        written = convert_kitti(
            args.root,
            args.out_dir,
            jobs=args.jobs,
            engine=args.engine,
            points=args.points,
            with_plane=args.with_plane,
            skip_incomplete=args.skip_incomplete,
            restart=args.restart,
            columns=args.columns,
            classes=args.classes,
            split=args.split,
        )
    _show(written)
    return 0


def _only_version(root: Path) -> str:
    found = find_versions(root)
    if len(found) == 1:
        return found[0]
    there = f"several are there: {', '.join(found)}" if found else "none is there"
    raise DataError(
        f"Expected one version of nuScenes tables (a folder with scene.json); {there}.",
        path=root,
        fix="name one with --version."
        if found
        else "pass the folder that holds samples/ and the tables' folder with --root; a synthetic "
        "one comes from: lidistill world --layout nuscenes --out DIR",
    )


def _show(written: dict[str, Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    manifests = {split: read_manifest(path) for split, path in written.items()}
    found = {
        split: Contents.from_dict(manifest["contents"])
        for split, manifest in manifests.items()
        if manifest.get("contents")
    }
    for contents in contents_tables(found) if found else ():
        console.print(contents)
    table = Table("split", "frames", "info file")
    for split, path in written.items():
        table.add_row(split, str(manifests[split]["count"]), str(path))
    console.print(table)
