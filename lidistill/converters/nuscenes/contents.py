# SPDX-License-Identifier: Apache-2.0
"""What is in a scene: counts of its infos, and a look at whether its geometry can be right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.contents import Contents
from lidistill.converters.info_paths import InfoPaths
from lidistill.converters.infos import NUSCENES_CLASSES
from lidistill.geometry.boxes import points_in_boxes
from lidistill.geometry.projection import project
from lidistill.io import point_count, read_points

Info = Mapping[str, Any]
COLUMN_NAMES = ("x", "y", "z", "intensity", "ring")
MIN_DEPTH = 1.0  # metres; nearer points are the vehicle's own
MIN_POINTS = 5  # a box said to hold as many cannot be empty by rounding


def scene_contents(frames: Sequence[Info], root: Path, version: str) -> Contents:
    """Counts over the frames of one scene.

    The points of the first frame are read: the values' ranges, the share that falls into each
    image, and whether boxes are where the points are.

    Args:
        frames: Infos of the scene.
        root: The data root.
        version: The tables' folder in it.

    Raises:
        DataError: The first point cloud does not hold what is expected.
    """
    contents = Contents(NUSCENES_CLASSES)
    locate = InfoPaths(root, {"dataset": "nuscenes", "version": version})
    for number, info in enumerate(frames):
        lidar = info["lidar_points"]
        path, columns = locate(lidar["lidar_path"], "pts"), lidar["num_pts_feats"]
        points = read_points(path, columns, info["token"]) if number == 0 else None
        contents.add_frame(point_count(path, columns, info["token"]), points, COLUMN_NAMES)
        _add_boxes(contents, info["instances"])
        if points is not None:
            _add_cameras(contents, points, info["images"])
            misplaced = _are_misplaced(points, info["instances"])
    if frames and misplaced:  # the others' counts come from the table: they say nothing about it
        contents.frames_of_empty_boxes = contents.frames_with_boxes
    return contents


def _add_boxes(contents: Contents, instances: Sequence[Info]) -> None:
    labels = [instance["bbox_label_3d"] for instance in instances]
    contents.add_boxes(
        [instance["category"] for instance in instances],
        [NUSCENES_CLASSES[label] if label >= 0 else None for label in labels],
        [instance["num_lidar_pts"] for instance in instances],
        [instance["bbox_3d"][3:6] for instance in instances],
        [math.hypot(*instance["bbox_3d"][:2]) for instance in instances],
    )


def _add_cameras(contents: Contents, points: NDArray[np.float32], images: Info) -> None:
    for name, image in images.items():
        pixel_uv, depth = project(points[:, :3], image["lidar2cam"], image["cam2img"])
        front = depth > MIN_DEPTH
        size = np.array([image["width"], image["height"]])
        inside = front & (pixel_uv > 0).all(axis=1) & (pixel_uv < size - 1).all(axis=1)
        contents.add_camera(name, int(front.sum()), int(inside.sum()))


def _are_misplaced(points: NDArray[np.float32], instances: Sequence[Info]) -> bool:
    """Whether most boxes that hold points by the table hold none where they stand."""
    boxes = [i["bbox_3d"] for i in instances if i["num_lidar_pts"] >= MIN_POINTS]
    if not boxes:
        return False
    counts = points_in_boxes(points, np.array(boxes)).sum(axis=0)
    return bool((counts == 0).sum() * 2 > len(boxes))
