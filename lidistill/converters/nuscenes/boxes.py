# SPDX-License-Identifier: Apache-2.0
"""nuScenes annotations to instances: boxes, velocities and labels as mmdet3d names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.boxes2d import image_boxes
from lidistill.converters.infos import NUSCENES_ATTRIBUTES, NUSCENES_CLASS_OF, NUSCENES_CLASSES
from lidistill.converters.nuscenes.schema import Record, remedy
from lidistill.converters.nuscenes.tables import SceneRecords
from lidistill.geometry.frames import quaternion_to_matrix
from lidistill.io import DataError

Instance = dict[str, Any]
MAX_VELOCITY_SECONDS = 1.5  # longer gaps between annotations say nothing about velocity


def annotation_velocity(
    annotation: Record, by_token: dict[str, Record], seconds: dict[str, float], tables: Path
) -> NDArray[np.float64]:
    """Velocity of an object from its neighbouring annotations.

    Args:
        annotation: The record.
        by_token: All annotations of the scene.
        seconds: Time of each sample.
        tables: Their folder, for the error message.

    Returns:
        (3,) m/s in the global frame; NaN for a lone annotation or one whose neighbours are too far
        away in time.

    Raises:
        DataError: The neighbours do not follow one another in time.

    Source: nuscenes-devkit, NuScenes.box_velocity.
    """
    first = by_token.get(annotation["prev"], annotation)
    last = by_token.get(annotation["next"], annotation)
    span = seconds[last["sample_token"]] - seconds[first["sample_token"]]
    if first is not last and span <= 0:
        raise DataError(
            f"Expected 'prev' and 'next' to name an earlier and a later annotation, but those of "
            f"samples {first['sample_token']} and {last['sample_token']} are {span:g} s apart.",
            path=tables / "sample_annotation.json",
            token=annotation["token"],
            fix=remedy(tables),
        )
    both = first is not annotation and last is not annotation
    if first is last or span > MAX_VELOCITY_SECONDS * (2 if both else 1):
        return np.full(3, np.nan)
    return (np.array(last["translation"]) - np.array(first["translation"])) / span


def heading(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn about the third axis as pyquaternion's ``yaw_pitch_roll`` defines it, (..., 3, 3) in."""
    return np.arctan2(-rotation[..., 0, 1], rotation[..., 0, 0])


def scene_velocities(records: SceneRecords, tables: Path) -> dict[str, NDArray[np.float64]]:
    """Returns the global velocity (3,) of every annotation of a scene by its token."""
    by_token = {a["token"]: a for group in records.annotations.values() for a in group}
    seconds = {sample["token"]: sample["timestamp"] / 1e6 for sample in records.samples}
    return {
        token: annotation_velocity(a, by_token, seconds, tables) for token, a in by_token.items()
    }


class GlobalBoxes:
    """The annotations of a keyframe as arrays in the global frame.

    Args:
        annotations: Their records.
        velocities: Global velocity (3,) by annotation token.
    """

    def __init__(
        self, annotations: list[Record], velocities: Mapping[str, NDArray[np.float64]]
    ) -> None:
        self.annotations = annotations
        self._centers = np.array([a["translation"] for a in annotations]).reshape(-1, 3)
        self._wlh = np.array([a["size"] for a in annotations]).reshape(-1, 3)
        self._rotations = np.array(
            [quaternion_to_matrix(a["rotation"]) for a in annotations]
        ).reshape(-1, 3, 3)
        self._velocities = np.array([velocities[a["token"]] for a in annotations]).reshape(-1, 3)
        self._velocities[:, 2] = 0.0  # nuScenes' velocity lies in the global x, y plane

    def seen_from(
        self, sensor_from_global: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Returns centres (M, 3), rotations (M, 3, 3) and velocities (M, 3) in a sensor's frame."""
        rotation = sensor_from_global[:3, :3]
        centers = self._centers @ rotation.T + sensor_from_global[:3, 3]
        return centers, rotation @ self._rotations, self._velocities @ rotation.T

    def corners(
        self, centers: NDArray[np.float64], rotations: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Returns the eight corners (M, 8, 3) of the boxes."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        local = signs[None] * self._wlh[:, None, [1, 0, 2]] / 2
        return local @ rotations.transpose(0, 2, 1) + centers[:, None]


def lidar_instances(boxes: GlobalBoxes, lidar_from_global: NDArray[np.float64]) -> list[Instance]:
    """Returns every annotation of a keyframe as an instance in the LiDAR frame.

    ``bbox_3d`` is x, y, z of the box centre, length, width, height, yaw. ``num_lidar_pts`` is None
    where the table does not give it.
    """
    centers, rotations, velocities = boxes.seen_from(lidar_from_global)
    yaws = heading(rotations)
    result = []
    for index, annotation in enumerate(boxes.annotations):
        width, length, height = annotation["size"]
        label = _label(annotation)
        points = (annotation["num_lidar_pts"] or 0) + annotation["num_radar_pts"]
        result.append(
            {
                "bbox_label": label,
                "bbox_3d": [*centers[index].tolist(), length, width, height, float(yaws[index])],
                "bbox_3d_isvalid": points > 0,
                "bbox_label_3d": label,
                "velocity": velocities[index, :2].tolist(),
                "num_lidar_pts": annotation["num_lidar_pts"],
                "num_radar_pts": annotation["num_radar_pts"],
                "attr_label": _attribute(annotation),
                "instance_token": annotation["instance_token"],
                "annotation_token": annotation["token"],
                "visibility": annotation["visibility"],
                "category": annotation["category_name"],
            }
        )
    return result


def camera_instances(
    boxes: GlobalBoxes, camera_from_global: NDArray[np.float64], image: Mapping[str, Any]
) -> list[Instance]:
    """Returns the annotations of the ten classes that show in a camera, in that camera's frame.

    ``bbox_3d`` is x, y, z of the box centre, length, height, width, turn about the camera's y axis;
    ``bbox`` is the rectangle in the image of its real size.
    """
    centers, rotations, velocities = boxes.seen_from(camera_from_global)
    matrix = np.array(image["cam2img"])
    corners = boxes.corners(centers, rotations)
    rectangles, inside = image_boxes(corners, matrix, image["width"], image["height"])
    result = []
    for index in np.flatnonzero(inside & (centers[:, 2] > 0)):
        annotation = boxes.annotations[index]
        label = _label(annotation)
        if label < 0:
            continue
        width, length, height = annotation["size"]
        yaw = -float(heading(rotations[index]))
        pixel = matrix @ centers[index]
        result.append(
            {
                "bbox_label": label,
                "bbox_label_3d": label,
                "bbox": rectangles[index].tolist(),
                "bbox_3d_isvalid": True,
                "bbox_3d": [*centers[index].tolist(), length, height, width, yaw],
                "velocity": velocities[index, [0, 2]].tolist(),
                "center_2d": (pixel[:2] / pixel[2]).tolist(),
                "depth": float(pixel[2]),
                "attr_label": _attribute(annotation),
                "num_lidar_pts": annotation["num_lidar_pts"],
                "instance_token": annotation["instance_token"],
                "annotation_token": annotation["token"],
            }
        )
    return result


def _label(annotation: Record) -> int:
    name = NUSCENES_CLASS_OF.get(annotation["category_name"])
    return -1 if name is None else NUSCENES_CLASSES.index(name)


def _attribute(annotation: Record) -> int:
    names = [name for name in annotation["attribute_names"] if name in NUSCENES_ATTRIBUTES]
    return NUSCENES_ATTRIBUTES.index(names[0] if names else "None")
