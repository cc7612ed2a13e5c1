# SPDX-License-Identifier: Apache-2.0
"""KITTI's raw data (or drives of one's own in its layout) to info files: images and full scans."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill.converters.contents import Contents
from lidistill.converters.infos import INFO_VERSION, write_infos
from lidistill.converters.kitti.camera import image_files, raw_camera
from lidistill.converters.kitti.info import COLUMNS, NUM_FEATURES
from lidistill.converters.kitti.splits import read_frame_list
from lidistill.converters.kitti.tracks import find_origins, recording
from lidistill.converters.parts import PartStore, finished_before, remember, stamp
from lidistill.io import (
    FILE_AGAIN,
    DataError,
    dump_pickle,
    finite_points,
    ordered_files,
    parallel,
    plain_name,
    point_count,
    read_json,
    read_points,
)

LOGGER = logging.getLogger("lidistill.create_data")
WORK_FOLDER = ".create_data_kittiraw"
SCANS, IMAGES = "velodyne_points/data", "image_02/data"
READ_EVERY = 50  # frames: the points of one in so many are read and counted


@dataclass(frozen=True)
class Drive:
    """One drive on disk.

    Attributes:
        name: Its folder, e.g. ``2011_09_26_drive_0005_sync``.
        folder: ``<root>/<date>/<name>``.
        prefix: The folder counted from the data root.
    """

    name: str
    folder: Path
    prefix: str


def convert_kitti_raw(
    root: str | Path,
    out_dir: str | Path | None = None,
    jobs: int | None = 1,
    engine: str = "loky",
    restart: bool = False,
    columns: int = NUM_FEATURES,
    clear_of: str | Path | None = None,
) -> dict[str, Path]:
    """Writes ``kittiraw_infos_<split>.pkl``: for pretraining, so without boxes.

    Every drive is in train, unless ``<root>/splits.json`` names drives:
    ``{"train": ["2011_09_26_drive_0005_sync"], "val": [...]}``. A frame is there where both its
    scan and its image are: the recordings lack some of either (drive 0009 four scans), which is
    logged.

    Args:
        root: Holds the days, each with its calibration and its drives.
        out_dir: Where the info files go; the data root by default.
        jobs: Processes; None takes every core.
        engine: loky, ray or dask.
        restart: Convert again what was finished from the same files with the same parameters.
        columns: float32 values a point in the scans: x, y, z, reflectance, more.
        clear_of: List of frames of the object benchmark (``ImageSets/val.txt``); drives that any of
            them is from are left out, so that what is learned here may be judged there. Needs the
            devkit's mapping below the root (``devkit/mapping``).

    Returns:
        Split name -> info file.

    Raises:
        DataError: A file is missing or damaged; says what to do.
    """
    root = Path(root)
    if columns < NUM_FEATURES:
        raise ValueError(f"columns: expected {NUM_FEATURES} or more, got {columns}")
    splits = find_drives(root)
    shared: list[str] = [] if clear_of is None else shared_drives(root, Path(clear_of))
    roads = set(map(recording, shared))
    splits = {
        split: [drive for drive in members if recording(drive.name) not in roads]
        for split, members in splits.items()
    }
    if not any(splits.values()):
        raise DataError(
            f"All drives here hold frames of {clear_of}: nothing is left.",
            path=root,
            fix="add drives that share no frame with it, or leave --clear-of out.",
        )
    target = Path(out_dir) if out_dir is not None else root
    drives = [drive for members in splits.values() for drive in members]
    asked = {
        "root": str(root.resolve()),
        "splits": {split: [drive.prefix for drive in members] for split, members in splits.items()},
        "columns": columns,
        "left_out": shared,
        "info_version": INFO_VERSION,
        "files": {
            path.relative_to(root).as_posix(): stamp(path)
            for drive in drives
            for path in (
                drive.folder / SCANS,
                drive.folder / IMAGES,
                *sorted(drive.folder.parent.glob("calib_*.txt")),
            )
        },
    }
    known = finished_before(target / WORK_FOLDER, asked, restart)
    if known is not None:
        return known
    with PartStore(target / WORK_FOLDER, asked) as store:
        todo = set(store.missing(drive.name for drive in drives))
        work = functools.partial(_convert_drive, folder=store.folder, columns=columns)
        items = [drive for drive in drives if drive.name in todo]
        for _ in parallel(work, items, jobs, engine, "Convert KITTI raw drives"):
            pass
        written = {}
        for split, members in splits.items():
            if not members:
                continue
            frames: list[dict[str, Any]] = []
            contents = Contents(())
            for drive in members:
                part = store.load(drive.name)
                contents.merge(Contents.from_dict(part["contents"]))
                frames += [
                    {"sample_idx": len(frames) + place, **frame}
                    for place, frame in enumerate(part["frames"])
                ]
            path = target / f"kittiraw_infos_{split}.pkl"
            names = [drive.name for drive in members]
            meta = {
                "categories": {},
                "dataset": "kittiraw",
                "info_version": INFO_VERSION,
                "split": split,
                "writer": "lidistill",
            }
            parameters = {"columns": columns, "split": split, "drives": names}
            if clear_of is not None:
                parameters |= {"clear_of": str(clear_of), "left_out": shared}
            write_infos(path, meta, frames, parameters, str(root), contents.to_dict())
            written[split] = path
        store.finish()
    remember(target / WORK_FOLDER, asked, written)
    return written


def shared_drives(root: Path, frames: Path) -> list[str]:
    """Returns the drives that frames of the object benchmark are from, by name.

    Args:
        root: Holds ``devkit/mapping`` of the object benchmark's devkit.
        frames: List of training frames, one a line.

    Raises:
        DataError: There is no mapping, or it does not know a frame.
    """
    origins = find_origins(root)
    if not origins:
        raise DataError(
            "Expected the object benchmark's mapping of frames to drives, found none.",
            path=root / "devkit" / "mapping" / "train_mapping.txt",
            fix="put devkit_object.zip's mapping/train_mapping.txt and train_rand.txt there; of "
            "drives of your own, leave --clear-of out and name the drives in splits.json.",
        )
    names = read_frame_list(frames)
    unknown = [name for name in names if not name.isdecimal() or int(name) not in origins]
    if unknown:
        raise DataError(
            f"{len(unknown)} frames are not in the mapping: {', '.join(unknown[:5])}.",
            path=frames,
            fix="list frames of the object benchmark's training part.",
        )
    return sorted({origins[int(name)].drive for name in names})


def find_drives(root: Path) -> dict[str, list[Drive]]:
    """Returns the drives of each split.

    Raises:
        DataError: There is no drive, two have one name, or ``splits.json`` names one that is not
            there.
    """
    there: dict[str, Drive] = {}
    for folder in sorted(root.glob("*/*_drive_*")):
        if not ((folder / SCANS).is_dir() and (folder / IMAGES).is_dir()):
            continue
        drive = Drive(folder.name, folder, folder.relative_to(root).as_posix())
        other = there.setdefault(drive.name, drive)
        if other is not drive:
            raise DataError(
                f"Two drives are called {drive.name}: {other.prefix} and {drive.prefix}.",
                path=root,
                fix="rename one of the two folders, or move it out: frames are known by drive.",
            )
    if not there:
        raise DataError(
            f"Expected KITTI's raw data: folders DATE/DATE_drive_NUMBER_sync with {SCANS} and "
            f"{IMAGES}; there is none.",
            path=root,
            fix="pass the folder that holds the days (2011_09_26, ...) with --root.",
        )
    path = root / "splits.json"
    if not path.exists():
        return {"train": list(there.values())}
    content = read_json(path)
    fix = 'mend this file: {"train": ["2011_09_26_drive_0005_sync"], "val": [...]}.'
    if not isinstance(content, dict) or not all(
        isinstance(names, list) and names and all(isinstance(name, str) for name in names)
        for names in content.values()
    ):
        raise DataError("Expected splits with names of drives.", path=path, fix=fix)
    named = [name for names in content.values() for name in names]
    lacking = sorted(set(named) - set(there))
    if lacking or len(set(named)) < len(named):
        what = f"not there: {', '.join(lacking)}" if lacking else "a drive is named twice"
        raise DataError(
            f"Expected each drive once, from the folders here; {what}.", path=path, fix=fix
        )
    return {
        plain_name(split, "split"): [there[name] for name in names]
        for split, names in content.items()
    }


def _convert_drive(drive: Drive, folder: Path, columns: int) -> None:
    """Runs in a worker process: one drive to one part."""
    scans = {path.stem: path for path in ordered_files(drive.folder / SCANS, ".bin")}
    images = image_files(drive.folder / IMAGES)
    both = [name for name in scans if name in images]
    if not both:
        raise DataError(
            f"Expected frames with a scan and an image, got {len(scans)} scans and {len(images)} "
            "images without one name in common.",
            path=drive.folder,
            fix="give a scan and its image one name (0000000000.bin, 0000000000.png); of KITTI: "
            "extract the drive's synced+rectified archive again.",
        )
    lone = len(scans) + len(images) - 2 * len(both)
    if lone:
        LOGGER.warning("%s: left out %d scans or images without the other", drive.name, lone)
    camera = raw_camera(drive.folder.parent, drive.name)
    frames, contents = [], Contents(())
    for number, name in enumerate(both):
        token = f"{drive.name}_{name}"
        image = camera.image(images[name], f"{drive.prefix}/{IMAGES}/{images[name].name}", token)
        frames.append(
            {
                "token": token,
                "scene_name": drive.name,
                "raw_drive": drive.name,
                "raw_frame": int(name) if name.isdecimal() else number,
                "lidar_points": {
                    "num_pts_feats": columns,
                    "lidar_path": f"{drive.prefix}/{SCANS}/{scans[name].name}",
                },
                "images": {"CAM2": image},
            }
        )
        if number % READ_EVERY:
            contents.add_frame(point_count(scans[name], columns, token, FILE_AGAIN))
            continue
        points = finite_points(
            read_points(scans[name], columns, token, FILE_AGAIN), scans[name], token
        )
        contents.add_frame(len(points), points, COLUMNS)
        camera.count(points, image, contents)
    dump_pickle(folder / f"{drive.name}.pkl", {"frames": frames, "contents": contents.to_dict()})
