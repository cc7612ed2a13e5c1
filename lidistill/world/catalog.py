# SPDX-License-Identifier: Apache-2.0
"""What kinds of things exist, and what each is called in nuScenes and in KITTI."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Names of one kind of thing.

    Attributes:
        category: nuScenes category (also the lidarseg name).
        lidarseg: index of that category, 0-31.
        detection: nuScenes detection class, or None for what has no box.
        kitti: KITTI type, or None for what KITTI does not label.
    """

    category: str
    lidarseg: int
    detection: str | None = None
    kitti: str | None = None


KINDS: dict[str, Kind] = {
    "car": Kind("vehicle.car", 17, "car", "Car"),
    "van": Kind("vehicle.car", 17, "car", "Van"),
    "truck": Kind("vehicle.truck", 23, "truck", "Truck"),
    "bus": Kind("vehicle.bus.rigid", 16, "bus", "Misc"),
    "tram": Kind("vehicle.bus.bendy", 15, "bus", "Tram"),
    "trailer": Kind("vehicle.trailer", 22, "trailer", "Misc"),
    "construction": Kind("vehicle.construction", 18, "construction_vehicle", "Misc"),
    "pedestrian": Kind("human.pedestrian.adult", 2, "pedestrian", "Pedestrian"),
    "child": Kind("human.pedestrian.child", 3, "pedestrian", "Pedestrian"),
    "sitting": Kind("human.pedestrian.adult", 2, "pedestrian", "Person_sitting"),
    "worker": Kind("human.pedestrian.construction_worker", 4, "pedestrian", "Pedestrian"),
    "cyclist": Kind("vehicle.bicycle", 14, "bicycle", "Cyclist"),
    "bicycle": Kind("vehicle.bicycle", 14, "bicycle", None),
    "motorcyclist": Kind("vehicle.motorcycle", 21, "motorcycle", "Misc"),
    "motorcycle": Kind("vehicle.motorcycle", 21, "motorcycle", None),
    "cone": Kind("movable_object.trafficcone", 12, "traffic_cone", None),
    "barrier": Kind("movable_object.barrier", 9, "barrier", None),
    "manmade": Kind("static.manmade", 28),
    "vegetation": Kind("static.vegetation", 30),
    "ego": Kind("vehicle.ego", 31),
}

# Label of each ground material.
GROUND_LIDARSEG = {"road": 24, "gravel": 25, "sidewalk": 26, "kerb": 26, "grass": 27}

CATEGORIES = (
    "noise",
    "animal",
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.barrier",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "movable_object.trafficcone",
    "static_object.bicycle_rack",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.car",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.motorcycle",
    "vehicle.trailer",
    "vehicle.truck",
    "flat.driveable_surface",
    "flat.other",
    "flat.sidewalk",
    "flat.terrain",
    "static.manmade",
    "static.other",
    "static.vegetation",
    "vehicle.ego",
)
"""The 32 classes of a lidarseg file; position = stored value, ``index`` in the category table."""
