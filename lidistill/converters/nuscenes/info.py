# SPDX-License-Identifier: Apache-2.0
"""One scene's records to one info per keyframe, in mmdet3d's v1.1 schema and ours on top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.nuscenes.boxes import (
    GlobalBoxes,
    camera_instances,
    lidar_instances,
    scene_velocities,
)
from lidistill.converters.nuscenes.images import image_sizes
from lidistill.converters.nuscenes.schema import remedy
from lidistill.converters.nuscenes.tables import Record, SceneRecords
from lidistill.geometry.boxes import points_in_boxes
from lidistill.geometry.frames import compose, invert, make_transform
from lidistill.geometry.plausible import shift_fault
from lidistill.io import FILE_AGAIN, DataError, point_count, read_points

Info = dict[str, Any]
COLUMNS = 5  # x, y, z, intensity, ring: float32 in every .pcd.bin of nuScenes
CAMERA_ORDER = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)


class MissingFileError(DataError):
    """A sensor file that the tables list is not there."""


@dataclass(frozen=True)
class SceneOptions:
    """How scenes are converted.

    Attributes:
        root: The data root.
        version: The tables' folder in it.
        max_sweeps: LiDAR sweeps before each keyframe to list.
        columns: Values a point.
    """

    root: Path
    version: str
    max_sweeps: int = 10
    columns: int = COLUMNS

    @property
    def tables(self) -> Path:
        """The tables' folder."""
        return self.root / self.version


def scene_infos(records: SceneRecords, options: SceneOptions) -> tuple[list[Info], list[str]]:
    """The infos of a scene's keyframes in the order of time, ``sample_idx`` left open; and notes.

    Raises:
        DataError: A LiDAR, image or label file is missing or cut, or the tables contradict
            themselves.
    """
    velocities = scene_velocities(records, options.tables)
    sizes, notes = image_sizes(records, options.root)
    frames = [
        _Keyframe(sample, records, options, velocities, sizes).info() for sample in records.samples
    ]
    return frames, notes


class _Keyframe:
    """One keyframe on its way to an info."""

    def __init__(
        self,
        sample: Record,
        records: SceneRecords,
        options: SceneOptions,
        velocities: Mapping[str, NDArray[np.float64]],
        sizes: Mapping[str, tuple[int, int]],
    ) -> None:
        self.sample, self.records, self.options = sample, records, options
        self.velocities, self.sizes = velocities, sizes
        self.token: str = sample["token"]
        views = records.keyframes[self.token]
        if records.channel not in views:
            there = ", ".join(sorted(views)) or "none"
            raise DataError(
                f"Expected a key frame of {records.channel} for each sample; this one has: "
                f"{there}.",
                path=options.tables / "sample_data.json",
                token=self.token,
                fix="leave this sample out of the tables, or give it one; another LiDAR is chosen "
                "with --lidar CHANNEL.",
            )
        self.lidar = views[records.channel]
        names = [name for name in CAMERA_ORDER if name in views]
        names += sorted(name for name in views if name not in (*CAMERA_ORDER, records.channel))
        self.cameras = {name: views[name] for name in names}
        self.global_from_lidar = self._global_from_sensor(self.lidar)

    def info(self) -> Info:
        annotations = self.records.annotations[self.token]
        info: Info = {
            "token": self.token,
            "scene_token": self.records.scene["token"],
            "scene_name": self.records.scene["name"],
            "timestamp": self.lidar["timestamp"] / 1e6,  # sweeps and boxes count from the scan
            "ego2global": self._pose(self.lidar).tolist(),
            "images": {name: self._image(record) for name, record in self.cameras.items()},
            "lidar_points": self._lidar_points(),
        }
        sweeps = self._sweeps()
        if sweeps:  # mmdet3d takes an empty list for sweeps that are there and pads nothing
            info["lidar_sweeps"] = sweeps
        boxes = GlobalBoxes(annotations, self.velocities)
        info["instances"] = lidar_instances(boxes, invert(self.global_from_lidar))
        self._check_places(info["instances"])
        self._count_points(annotations, info["instances"])
        info["cam_instances"] = {
            name: camera_instances(
                boxes, invert(self._global_from_sensor(record)), info["images"][name]
            )
            for name, record in self.cameras.items()
        }
        labels = self.records.lidarseg.get(self.lidar["token"])
        if labels is not None:
            self._check_labels(labels)
            info["pts_semantic_mask_path"] = self._named(labels, "pts_semantic_mask")
        return info

    def _pose(self, record: Record) -> NDArray[np.float64]:
        pose = self.records.poses[record["ego_pose_token"]]
        return make_transform(pose["rotation"], pose["translation"])

    def _sensor(self, record: Record) -> NDArray[np.float64]:
        sensor = self.records.sensors[record["calibrated_sensor_token"]]
        return make_transform(sensor["rotation"], sensor["translation"])

    def _global_from_sensor(self, record: Record) -> NDArray[np.float64]:
        return compose(self._pose(record), self._sensor(record))

    def _sensor_from_lidar(self, record: Record) -> NDArray[np.float64]:
        """Through both ego poses: the vehicle moves between the LiDAR's and the sensor's time."""
        matrix = compose(invert(self._global_from_sensor(record)), self.global_from_lidar)
        fault = shift_fault(matrix[:3, 3])
        if fault:
            raise DataError(
                f"This pose and that of the key frame of {self.records.channel} "
                f"({self.lidar['ego_pose_token']}) are far apart: {fault}.",
                path=self.options.tables / "ego_pose.json",
                token=record["ego_pose_token"],
                fix=remedy(self.options.tables),
            )
        return matrix

    def _check_places(self, instances: list[Info]) -> None:
        for instance in instances:
            fault = shift_fault(instance["bbox_3d"][:3])
            if fault:
                raise DataError(
                    f"This box is too far from {self.records.channel} (sample {self.token}): "
                    f"{fault}.",
                    path=self.options.tables / "sample_annotation.json",
                    token=instance["annotation_token"],
                    fix=remedy(self.options.tables),
                )

    def _count_points(self, annotations: list[Record], instances: list[Info]) -> None:
        """Fill in the points of boxes for which the table gives none."""
        open_ones = [k for k, a in enumerate(annotations) if a["num_lidar_pts"] is None]
        if not open_ones:
            return
        points = read_points(
            self._existing(self.lidar["filename"]), self.options.columns, self.token
        )
        boxes = np.array([instances[k]["bbox_3d"] for k in open_ones])
        counts = points_in_boxes(points, boxes).sum(axis=0)
        for k, count in zip(open_ones, counts.tolist(), strict=True):
            annotations[k]["num_lidar_pts"] = instances[k]["num_lidar_pts"] = count
            instances[k]["bbox_3d_isvalid"] = count + instances[k]["num_radar_pts"] > 0

    def _named(self, filename: str, kind: str) -> str:
        """A file in the standard folder of its kind by its name, another by its path."""
        path = PurePosixPath(filename)
        return path.name if str(path.parent) == self.records.folders.get(kind) else filename

    def _image(self, record: Record) -> Info:
        self._existing(record["filename"])
        sensor = self.records.sensors[record["calibrated_sensor_token"]]
        width, height = self.sizes[record["token"]]
        return {
            "img_path": self._named(record["filename"], sensor["channel"]),
            "cam2img": np.array(sensor["camera_intrinsic"], dtype=np.float64).tolist(),
            "cam2ego": self._sensor(record).tolist(),
            "lidar2cam": self._sensor_from_lidar(record).tolist(),
            "ego2global": self._pose(record).tolist(),
            "sample_data_token": record["token"],
            "timestamp": record["timestamp"] / 1e6,
            "height": height,
            "width": width,
            "superpixels_path": f"{record['token']}.png",
        }

    def _lidar_points(self) -> Info:
        self._check_points(self.lidar)
        return {
            "num_pts_feats": self.options.columns,
            "lidar_path": self._named(self.lidar["filename"], "pts"),
            "lidar2ego": self._sensor(self.lidar).tolist(),
            "sample_data_token": self.lidar["token"],
        }

    def _sweeps(self) -> list[Info]:
        """The sweeps before the keyframe, newest first."""
        sweeps: list[Info] = []
        record = self.lidar
        while len(sweeps) < self.options.max_sweeps and record["prev"] in self.records.lidar:
            record = self._before(record)
            self._check_points(record)
            points = {
                "lidar2ego": self._sensor(record).tolist(),
                "lidar2sensor": self._sensor_from_lidar(record).tolist(),
                "lidar_path": record["filename"],
            }
            sweeps.append(
                {
                    "timestamp": record["timestamp"] / 1e6,
                    "ego2global": self._pose(record).tolist(),
                    "lidar_points": points,
                    "sample_data_token": record["token"],
                }
            )
        return sweeps

    def _before(self, record: Record) -> Record:
        before = self.records.lidar[record["prev"]]
        if before["timestamp"] >= record["timestamp"]:
            raise DataError(
                f"Expected 'prev' to name an earlier sweep, but {before['token']} "
                f"({before['timestamp']}) is not before this one ({record['timestamp']}).",
                path=self.options.tables / "sample_data.json",
                token=record["token"],
                fix=remedy(self.options.tables),
            )
        return before

    def _existing(self, filename: str) -> Path:
        path = self.options.root / filename
        if not path.is_file():
            raise MissingFileError(
                "File not found, although the tables list it.",
                path=path,
                token=self.token,
                fix="put it there (of an archive: extract that), or correct 'filename' in the "
                "tables; or convert the scenes whose files are all there with --skip-incomplete; "
                "or leave the sweeps out with --max-sweeps 0.",
            )
        return path

    def _check_points(self, record: Record) -> int:
        return point_count(self._existing(record["filename"]), self.options.columns, self.token)

    def _check_labels(self, filename: str) -> None:
        path = self._existing(filename)
        points = self._check_points(self.lidar)
        if path.suffix == ".bin" and path.stat().st_size != points:
            raise DataError(
                f"Expected one label byte per point ({points}), got {path.stat().st_size} bytes.",
                path=path,
                token=self.token,
                fix=FILE_AGAIN,
            )
