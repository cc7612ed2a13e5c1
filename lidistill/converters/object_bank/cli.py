# SPDX-License-Identifier: Apache-2.0
"""``lidistill object_bank``: the points of each object from all frames of its scene."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lidistill.io import DataError, available_cpus
from lidistill.parallel import ENGINES

if TYPE_CHECKING:
    from lidistill.converters.object_bank.build import Plan
    from lidistill.converters.object_bank.compose import ComposeOptions
    from lidistill.converters.object_bank.options import BankOptions
    from lidistill.converters.object_bank.tracks import TrackSource

HELP = "gather the points of each object over its track, for object-complete frames"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds one sub-command a source, and one to export frames."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="SOURCE")
    nuscenes = _source(commands, "nuscenes", "nuScenes, or any data set in its layout", 5)
    nuscenes.add_argument("--version", metavar="NAME", help="folder of the tables")
    nuscenes.add_argument("--lidar", metavar="CHANNEL", help="LIDAR_TOP, or the only one")
    _add_scenes(nuscenes, "NAME")
    nuscenes.add_argument(
        "--tracks",
        type=Path,
        metavar="JSON",
        help="tracks in nuScenes' tracking format in place of the annotations",
    )
    tracking = _source(commands, "kitti_tracking", "KITTI's tracking benchmark", 4)
    _add_scenes(tracking, "NNNN")
    _source(commands, "kitti_raw", "a raw drive of KITTI: --root names its folder", 4)
    scans = _source(commands, "kitti_scans", "scans of one drive that a pattern names", 4)
    scans.add_argument("--name", required=True, help="of the scene")
    scans.add_argument(
        "--scans", required=True, metavar="PATTERN", help="below --root: 'velodyne/05{frame}.bin'"
    )
    text = "the LiDAR's, not a camera's: twelve numbers a line, line n of frame n"
    scans.add_argument("--poses", metavar="FILE", help=text)
    scans.add_argument("--tracklets", metavar="XML", help="tracks of the raw drive")
    scans.add_argument("--tracking-labels", metavar="TXT", help="or tracks of the benchmark")
    scans.add_argument("--calib", metavar="TXT", help="calibration for --tracking-labels")
    semantic = _source(commands, "semantickitti", "SemanticKITTI's instance labels", 4)
    _add_scenes(semantic, "NN")
    _source(commands, "arrays", "plain arrays, boxes in the sensor's frame", 4)
    _export(commands)
    _follow(commands)
    text = "how well the views of each object lie on one another, by class"
    quality = commands.add_parser("quality", help=text, description=text)
    quality.add_argument("--bank", type=Path, required=True, metavar="DIR")


def _add_scenes(parser: argparse.ArgumentParser, form: str) -> None:
    parser.add_argument(
        "--scenes", action="extend", nargs="+", metavar=form, help="all where left out"
    )


def _follow(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "link a detector's boxes into tracks, for frames without labels"
    parser = commands.add_parser(
        "tracks",
        help=text,
        description=text,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("results", type=Path, help="detections in nuScenes' results format")
    parser.add_argument("--infos", type=Path, required=True, help="info file of their samples")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the tracks")
    parser.add_argument(
        "--score",
        action="extend",
        nargs="+",
        help="smallest, 0.3 where left out; one number, or car=0.4 pedestrian=0.2",
    )
    parser.add_argument("--max-gap", type=int, default=3, help="frames that are filled in")
    parser.add_argument("--min-length", type=int, default=3, help="boxes of a track")


def _source(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    columns: int,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the data root")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the bank")
    parser.add_argument(
        "--columns", type=int, default=columns, help="float32 values a point in the files"
    )
    parser.add_argument(
        "--intensity-max",
        type=float,
        metavar="LEVEL",
        help="the sensor's full scale; 255 in nuScenes' layout, 1 in others, where left out",
    )
    how = parser.add_argument_group("how objects are put together")
    how.add_argument(
        "--box-frame", action="store_true", help="fuse standing objects in their boxes too"
    )
    how.add_argument("--no-sweeps", action="store_true", help="annotated frames alone")
    how.add_argument(
        "--ground-margin", type=float, default=0.0, help="metres above a box's bottom left out"
    )
    how.add_argument(
        "--refine", action="store_true", help="register views by ICP where that helps (open3d)"
    )
    how.add_argument("--mirror", action="store_true", help="add the mirror image of vehicles")
    how.add_argument("--voxel", type=float, default=0.05, help="metres; 0 keeps every point")
    how.add_argument("--no-caps", action="store_true", help="any number of points an object")
    how.add_argument("--seed", type=int, default=0, help="of the draw where there are too many")
    parser.add_argument("--jobs", type=int, default=available_cpus(), help="worker processes")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="loky",
        help="loky: processes on this machine; ray, dask: an existing cluster",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="count the work, estimate time and disk, and stop"
    )
    return parser


def _export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "write object-complete frames as .bin files, with an info file"
    parser = commands.add_parser(
        "export",
        help=text,
        description=text,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("infos", type=Path, help="info file of lidistill create_data")
    parser.add_argument("--bank", type=Path, required=True, metavar="DIR")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the data root")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_window(parser)


def add_window(parser: argparse.ArgumentParser) -> None:
    """Arguments of :class:`ComposeOptions`."""
    parser.add_argument(
        "--window", default="all", help="all, past, or a number of keyframes on both sides"
    )
    parser.add_argument("--no-mirrored", action="store_true", help="leave mirrored points out")


def compose_options(args: argparse.Namespace) -> ComposeOptions:
    """Of these arguments."""
    from lidistill.converters.object_bank.compose import ComposeOptions

    window = args.window
    return ComposeOptions(
        window=int(window) if window.isdecimal() else window, mirrored=not args.no_mirrored
    )


def run(args: argparse.Namespace) -> int:
    """Makes a bank, says how much work it is, or exports frames."""
    from rich.console import Console

    from lidistill.converters.object_bank.build import BankReader, build_bank, plan_bank

    console = Console(soft_wrap=True)
    if args.command == "export":
        from lidistill.converters.object_bank.export import export_frames

        written = export_frames(
            BankReader(args.bank), args.infos, args.root, args.out, compose_options(args)
        )
        console.print(f"written: {written} and the frames that it names")
        return 0
    if args.command == "tracks":
        return _run_tracks(args)
    if args.command == "quality":
        return _run_quality(args)
    source, options = source_of(args), options_of(args)
    if args.dry_run:
        _show_plan(plan_bank(source, args.out, options), args.jobs)
        return 0
    report = build_bank(source, args.out, options, args.jobs, args.engine)
    console.print(
        f"{report.get('instances', 0):,} objects ({report.get('standing', 0):,} standing) of "
        f"{report.get('boxes', 0):,} boxes, {report.get('stored_points', 0):,} points: {args.out}"
    )
    if report.get("differ"):
        console.print(
            f"{report['differ']:,} of {report['counted']:,} boxes hold another number of points "
            f"than annotated (up to {report['largest_difference']} points)"
        )
    if report.get("missing_sweeps"):
        console.print(f"{report['missing_sweeps']:,} sweeps are not there and were left out")
    for scene, notes in report.get("notes", {}).items():
        for note in notes[:5]:
            console.print(f"{scene}: {note}")
    return 0


def _run_tracks(args: argparse.Namespace) -> int:
    from rich.console import Console

    from lidistill.converters.object_bank.follow import FollowOptions
    from lidistill.converters.object_bank.follow_files import follow_results

    options = FollowOptions(
        score=scores_of(args.score or ["0.3"]), max_gap=args.max_gap, min_length=args.min_length
    )
    report = follow_results(args.results, args.infos, args.out, options)
    console = Console(soft_wrap=True)
    console.print(
        f"{report['tracks']:,} tracks of {report['boxes']:,} boxes, {report['filled']:,} filled "
        f"in: {args.out}"
    )
    for name, found in sorted(report["classes"].items()):
        console.print(
            f"{name}: {found['tracks']:,} tracks of {found['boxes']:,} boxes, median length "
            f"{found['median_length']:g}"
        )
    return 0


def scores_of(words: list[str]) -> float | dict[str, float]:
    """``["0.3"]`` as 0.3, ``["car=0.4", "0.2"]`` as one for each class and one for the others.

    Raises:
        ValueError: a word of another form, or two of one class.
    """
    try:
        pairs = [word.rpartition("=")[::2] for word in words]
        found = {name: float(value) for name, value in pairs}
        if len(found) < len(pairs):
            raise ValueError("two scores of one class")
    except ValueError as error:
        raise ValueError(f"--score: expected 0.3 or car=0.4 ..., got {words}: {error}") from error
    return found[""] if set(found) == {""} else found


def _run_quality(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from lidistill.converters.object_bank.build import BankReader
    from lidistill.converters.object_bank.quality import bank_quality

    reader = BankReader(args.bank)
    table = Table("class", "objects", "views", "points", "distance of a view to the others (m)")
    found = bank_quality([reader.scene(name) for name in reader.scenes])
    for name, one in found.items():
        row = (one.objects, one.views, one.points)
        table.add_row(name, *(f"{number:,}" for number in row), f"{one.distance:.3f}")
    Console().print(table)
    return 0


def options_of(args: argparse.Namespace) -> BankOptions:
    """Of the arguments."""
    from lidistill.converters.object_bank.options import BankOptions

    options = BankOptions(
        fuse_static=not args.box_frame,
        sweeps=not args.no_sweeps,
        ground_margin=args.ground_margin,
        refine=args.refine,
        mirror=args.mirror,
        voxel=args.voxel,
        seed=args.seed,
    )
    if args.no_caps:
        from dataclasses import replace

        options = replace(options, caps=None)
    return options


def source_of(args: argparse.Namespace) -> TrackSource:
    """The source that the arguments name."""
    from lidistill.converters.object_bank.tracks import Scaled

    source = _layout(args)
    return source if args.intensity_max is None else Scaled(source, args.intensity_max)


def _layout(args: argparse.Namespace) -> TrackSource:
    if args.command == "nuscenes":
        return _nuscenes(args)
    if args.command == "semantickitti":
        from lidistill.converters.object_bank.sources.semantic_kitti import SemanticKittiSource

        return SemanticKittiSource(args.root, args.scenes, args.columns)
    if args.command == "arrays":
        from lidistill.converters.object_bank.sources.arrays import ArraySource

        return ArraySource(args.root, args.columns)
    from lidistill.converters.object_bank.sources import kitti

    if args.command == "kitti_tracking":
        return kitti.KittiSource(kitti.tracking_drives(args.root, args.scenes), args.columns)
    if args.command == "kitti_raw":
        return kitti.KittiSource([kitti.raw_drive(args.root)], args.columns)
    drive = kitti.pattern_drive(
        args.name,
        str(args.root / args.scans),
        _tracks(args),
        None if args.poses is None else args.root / args.poses,
    )
    return kitti.KittiSource([drive], args.columns)


def _nuscenes(args: argparse.Namespace) -> TrackSource:
    from lidistill.converters.nuscenes.results import TRACKED, read_boxes
    from lidistill.converters.nuscenes.tables import find_versions
    from lidistill.converters.object_bank.sources.nuscenes import NuScenesSource

    versions = find_versions(args.root)
    version = args.version or (versions[0] if len(versions) == 1 else None)
    if version is None:
        raise DataError(
            f"Expected one version of nuScenes tables; found: {', '.join(versions) or 'none'}.",
            path=args.root,
            fix="name one with --version, or pass the folder that holds samples/ with --root.",
        )
    boxes = None if args.tracks is None else read_boxes(args.tracks, TRACKED)
    return NuScenesSource(args.root, version, args.lidar, args.columns, args.scenes, boxes)


def _tracks(args: argparse.Namespace) -> list:
    from lidistill.converters.kitti.files import read_calibration
    from lidistill.converters.object_bank.sources.tracklets import (
        read_tracking_labels,
        read_tracklets,
    )

    if args.tracklets is not None and args.tracking_labels is None:
        return read_tracklets(args.root / args.tracklets)
    if args.tracking_labels is None or args.calib is None or args.tracklets is not None:
        raise DataError(
            "Expected the objects' tracks.",
            path=args.root,
            fix="give --tracklets XML, or --tracking-labels TXT with --calib TXT.",
        )
    calibration = read_calibration(args.root / args.calib, args.name, with_camera=False)
    return read_tracking_labels(args.root / args.tracking_labels, calibration.rectified_from_lidar)


def _show_plan(plan: Plan, jobs: int) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True)
    console.print(f"{plan.scenes:,} scenes, {plan.done:,} of them done")
    if not plan.measured:
        return
    console.print(
        f"measured on {plan.measured}: {plan.frames:,} frames, {plan.instances:,} objects in "
        f"{plan.boxes:,} boxes, {plan.points:,} points; {plan.seconds_each:.2f} s and "
        f"{plan.bytes_each / 1e6:.2f} MB a scene"
    )
    left = plan.scenes - plan.done
    hours = left * plan.seconds_each / max(1, jobs) / 3600
    console.print(f"to do: about {hours:.2f} h with {jobs} processes")
    console.print(
        f"disk: {plan.bytes_more / 1e9:.3f} GB more; {plan.free_bytes / 1e9:.1f} GB are free"
    )
    if plan.bytes_more > plan.free_bytes:
        console.print("[bold red]That does not fit[/]: give an --out folder on another disk.")
