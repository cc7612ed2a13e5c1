# SPDX-License-Identifier: Apache-2.0
"""Tracks of KITTI's drives: the tracking benchmark, raw drives, or scans named by a pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.kitti.files import read_calibration
from lidistill.converters.object_bank.sources.oxts import oxts_poses, read_numbers, read_poses
from lidistill.converters.object_bank.sources.tracklets import (
    Track,
    read_tracking_labels,
    read_tracklets,
)
from lidistill.converters.object_bank.tracks import (
    UNKNOWN,
    Frame,
    SceneTracks,
    scene_tracks,
    upright_boxes,
)
from lidistill.geometry.frames import invert, make_transform
from lidistill.io import DataError, read_text

PERIOD = 0.1  # seconds between scans


@dataclass(frozen=True)
class Drive:
    """One drive's files.

    Attributes:
        name: of the scene.
        scans: frame number -> file.
        tracks: of its objects, in the frame of each scan.
        poses: frame number -> (4, 4) ``world_from_lidar``; None where they are not known.
    """

    name: str
    scans: Mapping[int, Path]
    tracks: Sequence[Track]
    poses: Mapping[int, NDArray[np.float64]] | None


class KittiSource:
    """Drives as scenes. Without poses nothing stands: all objects are fused in their boxes.

    Args:
        drives: see :func:`tracking_drives`, :func:`raw_drive`, :func:`pattern_drive`.
        columns: float32 values a point.
    """

    def __init__(self, drives: Sequence[Drive], columns: int = 4) -> None:
        self.drives = {drive.name: drive for drive in drives}
        self.columns = columns

    def scenes(self) -> list[str]:
        """Names of the drives."""
        return list(self.drives)

    def recorded(self) -> dict[str, object]:
        """What changes the content."""
        return {"layout": "kitti", "columns": self.columns}

    def read(self, scene: str) -> SceneTracks:
        """One drive."""
        drive = self.drives[scene]
        numbers = [n for n in sorted(drive.scans) if drive.poses is None or n in drive.poses]
        notes = []
        if drive.poses is None:
            notes.append("no poses: every object is fused in the frame of its boxes")
        elif len(numbers) < len(drive.scans):
            notes.append(f"{len(drive.scans) - len(numbers)} scans without a pose are left out")
        poses = drive.poses or dict.fromkeys(numbers, np.eye(4))
        frames = [
            Frame(
                drive.scans[number].stem,
                number * PERIOD,
                poses[number],
                drive.scans[number],
                self.columns,
                intensity_max=1.0,
            )
            for number in numbers
        ]
        index = {number: place for place, number in enumerate(numbers)}
        rows: list[tuple[Any, ...]] = []
        for track in drive.tracks:
            placed = upright_boxes(track.boxes)
            for row, number in enumerate(track.frames.tolist()):
                if number in index:
                    world = poses[number] @ placed[row]
                    token, size = f"{scene}_{track.token}", track.boxes[row, 3:6]
                    rows.append((index[number], token, track.name, world, size, UNKNOWN))
        moving = None if drive.poses is not None else {row[1]: True for row in rows}
        return scene_tracks(scene, frames, rows, moving, notes)


def tracking_drives(root: Path, sequences: Sequence[str] | None = None) -> list[Drive]:
    """Sequences of the tracking benchmark: ``training/{velodyne,label_02,calib,oxts}``.

    Args:
        root: folder that holds ``training``.
        sequences: such as ``0000``; None takes all that have labels and scans.

    Raises:
        DataError: there is none.
    """
    base = root / "training"
    known = sorted(path.stem for path in (base / "label_02").glob("*.txt"))
    found = [name for name in known if (base / "velodyne" / name).is_dir()]
    wanted = found if sequences is None else list(sequences)
    lacking = [name for name in wanted if name not in found]
    if lacking or not wanted:
        raise DataError(
            "Expected sequences with labels (label_02/NNNN.txt) and scans (velodyne/NNNN/); "
            f"missing: {', '.join(lacking) or 'all'}.",
            path=base,
            fix="pass the folder that holds training/ with --root, and put the archives "
            "data_tracking_{velodyne,label_2,calib,oxts} there.",
        )
    drives = []
    for name in wanted:
        calibration = read_calibration(base / "calib" / f"{name}.txt", name, with_camera=False)
        tracks = read_tracking_labels(
            base / "label_02" / f"{name}.txt", calibration.rectified_from_lidar
        )
        scans = _numbered((base / "velodyne" / name).glob("*.bin"))
        poses = None
        oxts = base / "oxts" / f"{name}.txt"
        if oxts.is_file() and calibration.lidar_from_imu is not None:
            imu = oxts_poses(read_numbers(oxts, 6)) @ invert(calibration.lidar_from_imu)
            poses = dict(enumerate(calibration.lidar_from_imu @ imu))
        drives.append(Drive(name, scans, tracks, poses))
    return drives


def raw_drive(folder: Path) -> Drive:
    """A raw drive: ``velodyne_points/data``, ``tracklet_labels.xml``, ``oxts/data``.

    Args:
        folder: such as ``2011_09_26/2011_09_26_drive_0005_sync``; calibrations lie beside it.
    """
    scans = _numbered((folder / "velodyne_points" / "data").glob("*.bin"))
    if not scans:
        raise DataError(
            "No scans of this drive (velodyne_points/data/*.bin).",
            path=folder,
            fix="name the drive's folder with --root, or its scans with --scans.",
        )
    packets = sorted((folder / "oxts" / "data").glob("*.txt"))
    poses = None
    if packets:
        lidar_from_imu = _raw_calibration(folder.parent / "calib_imu_to_velo.txt")
        rows = np.concatenate([read_numbers(path, 6) for path in packets])
        moved = lidar_from_imu @ oxts_poses(rows) @ invert(lidar_from_imu)
        poses = {int(path.stem): pose for path, pose in zip(packets, moved, strict=True)}
    return Drive(folder.name, scans, read_tracklets(folder / "tracklet_labels.xml"), poses)


def pattern_drive(
    name: str, pattern: str, tracks: Sequence[Track], poses: Path | None = None
) -> Drive:
    """Scans that a pattern names.

    Args:
        name: of the scene.
        pattern: path with one ``{frame}`` in its file name, such as ``velodyne/05{frame}.bin``.
        tracks: of its objects.
        poses: text file with twelve numbers a line, line n of frame n.

    Raises:
        DataError: the pattern has no ``{frame}``, or no file fits.
    """
    folder, _, file = pattern.rpartition("/")
    if file.count("{frame}") != 1:
        raise DataError(
            f"Expected one {{frame}} in the file name of {pattern!r}.",
            fix="write for example --scans 'velodyne/05{frame}.bin'.",
        )
    before, after = map(re.escape, file.split("{frame}"))
    fits = re.compile(f"{before}(\\d+){after}")
    paths = sorted(Path(folder or ".").iterdir()) if Path(folder or ".").is_dir() else []
    scans = {int(m[1]): path for path in paths if (m := fits.fullmatch(path.name))}
    if not scans:
        raise DataError(f"No file fits {pattern!r}.", path=folder or ".", fix="correct --scans.")
    known = None if poses is None else dict(enumerate(read_poses(poses)))
    return Drive(name, scans, tracks, known)


def _numbered(paths: Any) -> dict[int, Path]:
    return {int(path.stem): path for path in sorted(paths) if path.stem.isdecimal()}


def _raw_calibration(path: Path) -> NDArray[np.float64]:
    """(4, 4) of a raw calibration file with lines ``R:`` and ``T:``."""
    try:
        lines = dict(line.split(":", 1) for line in read_text(path).splitlines() if ":" in line)
        rotation = np.array([float(word) for word in lines["R"].split()]).reshape(3, 3)
        return make_transform(rotation, [float(word) for word in lines["T"].split()])
    except (KeyError, ValueError) as error:
        raise DataError(
            f"Expected lines 'R:' of nine numbers and 'T:' of three: {error}.",
            path=path,
            fix="extract the calibration of this day again.",
        ) from error
