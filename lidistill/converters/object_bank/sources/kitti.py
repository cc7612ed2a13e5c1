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

from lidistill.converters.kitti.camera import raw_transform
from lidistill.converters.kitti.files import read_calibration
from lidistill.converters.object_bank.sources.oxts import packet_poses, read_packets, read_poses
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
from lidistill.geometry.frames import invert
from lidistill.io import DataError, ordered_files, read_text

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
        _note_lone_boxes(drive, len(rows), index, notes)
        moving = None if drive.poses is not None else {row[1]: True for row in rows}
        return scene_tracks(scene, frames, rows, moving, notes)


def _note_lone_boxes(drive: Drive, kept: int, frames: Mapping[int, int], notes: list[str]) -> None:
    """Boxes of frames without a scan (or pose) are left out; all of them cannot be."""
    boxes = sum(len(track.frames) for track in drive.tracks)
    if kept == boxes:
        return
    if kept == 0:
        last = max(int(track.frames.max()) for track in drive.tracks)
        raise DataError(
            f"None of {boxes} boxes (frames up to {last}) is of a frame of {drive.name} with scan "
            f"and pose: {len(frames)} frames"
            + (f", {min(frames)} to {max(frames)}." if frames else "."),
            path=next(iter(drive.scans.values())).parent,
            fix="tracks and poses count frames from 0: name the scans by these numbers (--scans), "
            "or take the tracks and poses of this drive.",
        )
    notes.append(f"{boxes - kept} of {boxes} boxes are of frames without scan or pose: left out")


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
        scans = _numbered(base / "velodyne" / name, ".bin")
        poses = None
        oxts = base / "oxts" / f"{name}.txt"
        if oxts.exists() and calibration.lidar_from_imu is not None:
            imu = packet_poses(read_packets(oxts), oxts) @ invert(calibration.lidar_from_imu)
            poses = _by_frame(calibration.lidar_from_imu @ imu, scans, oxts)
        drives.append(Drive(name, scans, tracks, poses))
    return drives


def raw_drive(folder: Path) -> Drive:
    """A raw drive: ``velodyne_points/data``, ``tracklet_labels.xml``, ``oxts/data``.

    Args:
        folder: such as ``2011_09_26/2011_09_26_drive_0005_sync``; calibrations lie beside it.
    """
    scans = _numbered(folder / "velodyne_points" / "data", ".bin")
    if not scans:
        raise DataError(
            "No scans of this drive (velodyne_points/data/*.bin).",
            path=folder,
            fix="name the drive's folder with --root, or its scans with --scans.",
        )
    packets = _numbered(folder / "oxts" / "data", ".txt")
    poses = None
    if packets:
        lidar_from_imu = raw_transform(folder.parent / "calib_imu_to_velo.txt", folder.name)
        imu = packet_poses(_packets(list(packets.values())), folder / "oxts" / "data")
        poses = dict(zip(packets, lidar_from_imu @ imu @ invert(lidar_from_imu), strict=True))
    return Drive(folder.name, scans, read_tracklets(folder / "tracklet_labels.xml"), poses)


def _packets(paths: Sequence[Path]) -> NDArray[np.float64]:
    """(F, 6) one packet a file; lines of all files have as many numbers."""
    rows, width = [], 0
    for path in paths:
        found, words = read_packets(path), len(read_text(path).split())
        width = width or words
        if len(found) != 1 or words != width:
            raise DataError(
                f"Expected one line of {width} numbers, as {paths[0].name} has, got {len(found)} "
                f"and {words} in all.",
                path=path,
                fix="extract the drive's oxts/ again from its archive, or write this file again.",
            )
        rows.append(found[0])
    return np.array(rows)


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
    fitting = [(int(m[1]), path) for path in paths if (m := fits.fullmatch(path.name))]
    scans = dict(sorted(fitting))
    if len(scans) < len(fitting):
        raise DataError(
            f"Two files that fit {pattern!r} are of one frame.",
            path=folder or ".",
            fix="write more of the files' names into --scans.",
        )
    if not scans:
        raise DataError(f"No file fits {pattern!r}.", path=folder or ".", fix="correct --scans.")
    known = None if poses is None else _by_frame(read_poses(poses), scans, poses)
    return Drive(name, scans, tracks, known)


def _by_frame(
    poses: NDArray[np.float64], scans: Mapping[int, Path], path: Path
) -> dict[int, NDArray[np.float64]]:
    """Line n of frame n: a line that is lost would move all that follow to another frame."""
    if scans and max(scans) >= len(poses):
        raise DataError(
            f"Expected a line for each frame from 0 to {max(scans)}, got {len(poses)}.",
            path=path,
            fix="write a line for every frame of the drive, also for those without a scan; or take "
            "the scans of the last frames out.",
        )
    return dict(enumerate(poses))


def _numbered(folder: Path, suffix: str) -> dict[int, Path]:
    """Frame number -> file, in the order of the frames."""
    paths = ordered_files(folder, suffix)
    return {int(path.stem): path for path in paths if path.stem.isdecimal()}
