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
from lidistill.converters.nuscenes.tables import LIDAR, Record, SceneRecords
from lidistill.geometry.frames import compose, invert, make_transform
from lidistill.io import DataError, image_size, point_count

Info = dict[str, Any]
NUM_FEATURES = 5  # x, y, z, intensity, ring: float32 in every .pcd.bin
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
        annotated: False for a test split: no instances.
    """

    root: Path
    version: str
    max_sweeps: int = 10
    annotated: bool = True


def scene_infos(records: SceneRecords, options: SceneOptions) -> list[Info]:
    """Returns the infos of a scene's keyframes in the order of time, ``sample_idx`` left open.

    Raises:
        DataError: A LiDAR, image or label file is missing or cut.
    """
    velocities = scene_velocities(records)
    return [_Keyframe(sample, records, options, velocities).info() for sample in records.samples]


class _Keyframe:
    """One keyframe on its way to an info."""

    def __init__(
        self,
        sample: Record,
        records: SceneRecords,
        options: SceneOptions,
        velocities: Mapping[str, NDArray[np.float64]],
    ) -> None:
        self.sample, self.records, self.options = sample, records, options
        self.velocities = velocities
        self.token: str = sample["token"]
        views = records.keyframes[self.token]
        if LIDAR not in views:
            raise DataError(
                f"The tables are broken: this sample has no {LIDAR} keyframe.",
                path=options.root / options.version / "sample_data.json",
                token=self.token,
                fix="extract the tables again.",
            )
        self.lidar = views[LIDAR]
        names = [name for name in CAMERA_ORDER if name in views]
        names += sorted(name for name in views if name not in (*CAMERA_ORDER, LIDAR))
        self.cameras = {name: views[name] for name in names}
        self.global_from_lidar = self._global_from_sensor(self.lidar)

    def info(self) -> Info:
        annotations = self.records.annotations[self.token] if self.options.annotated else []
        info: Info = {
            "token": self.token,
            "scene_token": self.records.scene["token"],
            "scene_name": self.records.scene["name"],
            "timestamp": self.sample["timestamp"] / 1e6,
            "ego2global": self._pose(self.lidar).tolist(),
            "images": {name: self._image(record) for name, record in self.cameras.items()},
            "lidar_points": self._lidar_points(),
        }
        sweeps = self._sweeps()
        if sweeps:  # mmdet3d takes an empty list for sweeps that are there and pads nothing
            info["lidar_sweeps"] = sweeps
        boxes = GlobalBoxes(annotations, self.velocities)
        info["instances"] = lidar_instances(boxes, invert(self.global_from_lidar))
        info["cam_instances"] = {
            name: camera_instances(
                boxes, invert(self._global_from_sensor(record)), info["images"][name]
            )
            for name, record in self.cameras.items()
        }
        labels = self.records.lidarseg.get(self.lidar["token"])
        if labels is not None:
            self._check_labels(labels)
            info["pts_semantic_mask_path"] = PurePosixPath(labels).name
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
        return compose(invert(self._global_from_sensor(record)), self.global_from_lidar)

    def _image(self, record: Record) -> Info:
        path = self._existing(record["filename"])
        sensor = self.records.sensors[record["calibrated_sensor_token"]]
        width, height = record.get("width") or 0, record.get("height") or 0
        if not (width and height):
            width, height = image_size(path, self.token)
        return {
            "img_path": PurePosixPath(record["filename"]).name,
            "cam2img": np.array(sensor["camera_intrinsic"], dtype=np.float64).tolist(),
            "cam2ego": self._sensor(record).tolist(),
            "lidar2cam": self._sensor_from_lidar(record).tolist(),
            "ego2global": self._pose(record).tolist(),
            "sample_data_token": record["token"],
            "timestamp": record["timestamp"] / 1e6,
            "height": int(height),
            "width": int(width),
            "superpixels_path": f"{record['token']}.png",
        }

    def _lidar_points(self) -> Info:
        self._check_points(self.lidar)
        return {
            "num_pts_feats": NUM_FEATURES,
            "lidar_path": PurePosixPath(self.lidar["filename"]).name,
            "lidar2ego": self._sensor(self.lidar).tolist(),
            "sample_data_token": self.lidar["token"],
        }

    def _sweeps(self) -> list[Info]:
        """The sweeps before the keyframe, newest first."""
        sweeps: list[Info] = []
        record = self.lidar
        while len(sweeps) < self.options.max_sweeps and record["prev"] in self.records.lidar:
            record = self.records.lidar[record["prev"]]
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

    def _existing(self, filename: str) -> Path:
        path = self.options.root / filename
        if not path.is_file():
            raise MissingFileError(
                "File not found, although the tables list it.",
                path=path,
                token=self.token,
                fix="extract the archive that holds it into the data root; or convert the scenes "
                "whose files are all there with --skip-incomplete; or leave the sweeps out with "
                "--max-sweeps 0.",
            )
        return path

    def _check_points(self, record: Record) -> int:
        return point_count(self._existing(record["filename"]), NUM_FEATURES, self.token)

    def _check_labels(self, filename: str) -> None:
        path = self._existing(filename)
        points = self._check_points(self.lidar)
        if path.suffix == ".bin" and path.stat().st_size != points:
            raise DataError(
                f"Expected one label byte per point ({points}), got {path.stat().st_size} bytes.",
                path=path,
                token=self.token,
                fix="extract this file again from the lidarseg archive.",
            )
