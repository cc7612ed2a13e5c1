# SPDX-License-Identifier: Apache-2.0
"""Tracks of SemanticKITTI: boxes laid around the points of each labelled instance.

Its labels give points and instance numbers, but no boxes. An object that stands gets one upright
box around all its points in the world; of one that moves, each frame has a box along its motion, of
the size that all its views need.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.object_bank.tracks import Frame, SceneTracks, scene_tracks
from lidistill.converters.semantic_kitti.labels import STORED_LABELS
from lidistill.converters.semantic_kitti.poses import lidar_poses
from lidistill.geometry.frames import apply_transform, rotation_about_z
from lidistill.io import FILE_AGAIN, DataError, ordered_files, read_bytes, read_points

PERIOD = 0.1
FIRST_MOVING = 252
LEAST_POINTS = 20  # of an instance over all frames
MARGIN = 0.05  # metres around the points
ANGLES = np.deg2rad(np.arange(0, 90, 1.0))


class SemanticKittiSource:
    """Sequences with instance labels and poses.

    Args:
        root: holds ``sequences``.
        sequences: such as ``08``; None takes all that have labels.
        columns: float32 values a point.
    """

    def __init__(self, root: Path, sequences: list[str] | None = None, columns: int = 4) -> None:
        base = root / "dataset" if (root / "dataset" / "sequences").is_dir() else root
        self.base, self.columns = base / "sequences", columns
        found = sorted(path.parent.name for path in self.base.glob("*/labels"))
        self._scenes = found if sequences is None else sequences
        lacking = [name for name in self._scenes if name not in found]
        if lacking or not self._scenes:
            raise DataError(
                f"Expected sequences with labels; missing: {', '.join(lacking) or 'all'}.",
                path=self.base,
                fix="pass the folder that holds sequences/ with --root.",
            )

    def scenes(self) -> list[str]:
        """Names of the sequences."""
        return self._scenes

    def recorded(self) -> dict[str, object]:
        """What changes the content."""
        return {"layout": "semantickitti", "columns": self.columns}

    def read(self, scene: str) -> SceneTracks:
        """One sequence; its points are read once for their boxes."""
        folder = self.base / scene
        scans = ordered_files(folder / "velodyne", ".bin")
        if not scans:
            raise DataError("No scans there (*.bin).", path=folder / "velodyne", fix=FILE_AGAIN)
        poses = lidar_poses(folder, len(scans))
        if poses is None:
            raise DataError(
                "Expected poses.txt and calib.txt: instances are put together in the world.",
                path=folder,
                fix="put them there, or leave this sequence out.",
            )
        clouds: dict[tuple[int, int], dict[int, NDArray[np.float64]]] = defaultdict(dict)
        for frame, (scan, pose) in enumerate(zip(scans, poses, strict=True)):
            for key, xyz in self.instances(scene, scan).items():
                clouds[key][frame] = apply_transform(pose, xyz)
        rows: list[tuple[Any, ...]] = []
        moving = {}
        for (label, number), views in sorted(clouds.items()):
            if sum(map(len, views.values())) < LEAST_POINTS:
                continue
            token = f"{scene}_{label}_{number}"
            moving[token] = label >= FIRST_MOVING
            for frame, pose, size in boxes_around(views, moving[token]):
                name = STORED_LABELS[label][1]
                rows.append((frame, token, name, pose, size, len(views[frame])))
        frames = [
            Frame(
                f"{scene}_{scan.stem}",
                PERIOD * k,
                poses[k],
                scan,
                self.columns,
                intensity_max=1.0,
            )
            for k, scan in enumerate(scans)
        ]
        return scene_tracks(scene, frames, rows, moving)

    def instances(self, scene: str, scan: Path) -> dict[tuple[int, int], NDArray[np.float64]]:
        """(Stored label, instance number) -> (n, 3) its points in a scan."""
        path = self.base / scene / "labels" / f"{scan.stem}.label"
        points = read_points(scan, self.columns, nonfinite="keep")
        data = read_bytes(
            path,
            f"{scene}_{scan.stem}",
            "put it there (of SemanticKITTI: data_odometry_labels.zip).",
        )
        if len(data) != 4 * len(points):
            raise DataError(
                f"Expected a 4-byte label for each of {len(points)} points, got {len(data)} bytes.",
                path=path,
                fix=FILE_AGAIN,
            )
        stored = np.frombuffer(data, dtype="<u4")
        unknown = set(np.unique(stored & 0xFFFF).tolist()) - STORED_LABELS.keys()
        if unknown:
            raise DataError(
                "Expected SemanticKITTI's labels, got values that it does not define: "
                f"{', '.join(map(str, sorted(unknown)[:5]))}.",
                path=path,
                fix="map your labels to its values (semantic-kitti.yaml), 0 for what is none.",
            )
        numbered = np.flatnonzero(stored >> 16)
        values, places = np.unique(stored[numbered], return_inverse=True)
        found = {}
        for place, value in enumerate(values.tolist()):
            label = value & 0xFFFF
            if STORED_LABELS.get(label, ("", "ignore"))[1] != "ignore":
                rows = numbered[places == place]
                found[label, value >> 16] = points[rows, :3].astype(np.float64)
        return found


def boxes_around(
    views: dict[int, NDArray[np.float64]], moving: bool
) -> list[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
    """A box for each view of an instance.

    Args:
        views: frame -> (n, 3) its points in the world.
        moving: one box a view along the motion; else one box for all.

    Returns:
        (frame, world_from_box (4, 4), size (3,)) of each view.
    """
    if not moving:
        pose, size = _box(np.concatenate(list(views.values())))
        return [(frame, pose, size) for frame in views]
    frames = sorted(views)
    means = np.array([np.median(views[frame], axis=0) for frame in frames])
    travel = means[-1, :2] - means[0, :2]
    far = float(np.hypot(*travel)) > 0.5
    angle = float(np.arctan2(travel[1], travel[0])) if far else None
    found = [(frame, *_box(views[frame], angle)) for frame in frames]
    size = np.max([size for _, _, size in found], axis=0)
    return [(frame, pose, size) for frame, pose, _ in found]


def _box(
    xyz: NDArray[np.float64], angle: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The upright box of smallest area around points (n, 3), or that of a given heading."""
    if angle is None:
        cos, sin = np.cos(ANGLES)[:, None], np.sin(ANGLES)[:, None]
        along, across = cos * xyz[:, 0] + sin * xyz[:, 1], cos * xyz[:, 1] - sin * xyz[:, 0]
        area = np.ptp(along, axis=1) * np.ptp(across, axis=1)
        angle = float(ANGLES[int(np.argmin(area))])
        if np.ptp(across, axis=1)[np.argmin(area)] > np.ptp(along, axis=1)[np.argmin(area)]:
            angle += np.pi / 2  # length is the longer side
    pose = rotation_about_z(angle)
    local = xyz @ pose[:3, :3]
    low, high = local.min(axis=0) - MARGIN, local.max(axis=0) + MARGIN
    pose[:3, 3] = pose[:3, :3] @ ((low + high) / 2)
    return pose, high - low
