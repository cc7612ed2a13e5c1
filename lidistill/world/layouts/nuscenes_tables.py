# SPDX-License-Identifier: Apache-2.0
"""The tables of the nuScenes layout that do not depend on a scene, and how all are put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lidistill.io import write_json
from lidistill.world.catalog import CATEGORIES
from lidistill.world.files import encode_png, token, write_frame
from lidistill.world.presets import NuScenesSize
from lidistill.world.sensing.sensors import nuscenes_cameras

Record = dict[str, Any]

ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)
VISIBILITY = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}
SCENE_TABLES = (
    "log",
    "scene",
    "sample",
    "sample_data",
    "ego_pose",
    "calibrated_sensor",
    "instance",
    "sample_annotation",
    "lidarseg",
)
NOTICE = """The embedded driving world of lidistill: synthetic data in the layout of {layout}.
It is not {layout}: report results on it as "synthetic world", never as {layout} results.
"""


def category_token(name: str) -> str:
    """Token of a category."""
    return token("category", name)


def attribute_token(name: str) -> str:
    """Token of an attribute."""
    return token("attribute", name)


def sensor_token(channel: str) -> str:
    """Token of a sensor."""
    return token("sensor", channel)


def shared_tables() -> dict[str, list[Record]]:
    """Tables that are the same in every world."""
    cameras = [camera.name for camera in nuscenes_cameras(400)]
    sensors = [("LIDAR_TOP", "lidar")] + [(name, "camera") for name in cameras]
    return {
        "category": [
            {"token": category_token(name), "name": name, "description": "synthetic", "index": k}
            for k, name in enumerate(CATEGORIES)
        ],
        "attribute": [
            {"token": attribute_token(name), "name": name, "description": "synthetic"}
            for name in ATTRIBUTES
        ],
        "visibility": [
            {"token": key, "level": level, "description": f"visibility of {level} percent"}
            for key, level in VISIBILITY.items()
        ],
        "sensor": [
            {"token": sensor_token(name), "channel": name, "modality": modality}
            for name, modality in sensors
        ],
    }


def write_tables(root: Path, size: NuScenesSize, scenes: list[dict[str, list[Record]]]) -> None:
    """Write all tables of a world from the records of its scenes, in order of their names."""
    folder = root / size.version
    folder.mkdir(parents=True, exist_ok=True)
    tables = shared_tables()
    for name in SCENE_TABLES:
        tables[name] = [record for scene in scenes for record in scene[name]]
    picture = token("map", "picture")
    tables["map"] = [
        {
            "token": token("map"),
            "log_tokens": [record["token"] for record in tables["log"]],
            "category": "semantic_prior",
            "filename": f"maps/{picture}.png",
        }
    ]
    write_frame(root / "maps" / f"{picture}.png", encode_png(np.full((8, 8, 3), 255, np.uint8)))
    for name, records in tables.items():
        write_json(folder / f"{name}.json", records)
    if size.splits is not None:
        names = dict(zip(size.splits, (list(size.train), list(size.val)), strict=True))
        write_json(folder / "splits.json", names)
    write_frame(root / "SYNTHETIC", NOTICE.format(layout="nuScenes").encode())
