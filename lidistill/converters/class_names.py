# SPDX-License-Identifier: Apache-2.0
"""Names of classes in the order of their labels, as mmdet3d has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lidistill.io import DataError

NUSCENES_CLASSES = (
    "car",
    "truck",
    "trailer",
    "bus",
    "construction_vehicle",
    "bicycle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "barrier",
)
"""The ten detection classes in mmdet3d's order: a label is an index into these."""

NUSCENES_CLASS_OF = {
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
}
"""Detection class of each category that counts for nuScenes' detection task; others have none."""

NUSCENES_ATTRIBUTES = (
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.moving",
    "pedestrian.standing",
    "pedestrian.sitting_lying_down",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
    "None",
)

KITTI_CLASSES = (
    "Pedestrian",
    "Cyclist",
    "Car",
    "Van",
    "Truck",
    "Person_sitting",
    "Tram",
    "Misc",
)


def check_order(metainfo: Mapping[str, Any], path: str | Path, fix: str) -> None:
    """Whether labels of a nuScenes info file mean what mmdet3d's ``NuScenesDataset`` takes them to.

    It does not look at the file's categories: a pedestrian of label 0 would be taught as a car.
    KITTI's labels are read by the file's own (``kitti_frames``).

    Args:
        metainfo: of the file.
        path: of it, for the error message.
        fix: for the error message.

    Raises:
        DataError: a class of mmdet3d's has another label there.
    """
    categories = metainfo.get("categories")
    if metainfo.get("dataset") != "nuscenes" or not isinstance(categories, Mapping):
        return
    for label, name in enumerate(NUSCENES_CLASSES):
        found = categories.get(name, label)
        if found not in (label, -1):
            what = f"metainfo.categories: expected {name} to have label {label}, got {found}."
            raise DataError(what, path=path, fix=f"number classes as mmdet3d does; {fix}")
