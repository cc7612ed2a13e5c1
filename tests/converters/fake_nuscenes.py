# SPDX-License-Identifier: Apache-2.0
"""A few random scenes in nuScenes' layout: tables that nuscenes-devkit loads, tiny sensor files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CAMERAS = ("CAM_FRONT", "CAM_BACK")
SIZE = (80, 45)  # width, height: not nuScenes' own
CATEGORIES = ("vehicle.car", "human.pedestrian.adult", "animal", "vehicle.bicycle")
ATTRIBUTES = ("vehicle.moving", "pedestrian.standing")
PERIOD = 500_000  # microseconds between keyframes
SWEEPS = 3  # LiDAR sweeps per keyframe, the keyframe counted


class _Tables:
    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.rng = np.random.default_rng(seed)
        self.tables: dict[str, list[dict[str, Any]]] = {}

    def add(self, table: str, **fields: Any) -> str:
        rows = self.tables.setdefault(table, [])
        token = f"{table}-{len(rows)}"
        rows.append({"token": token, **fields})
        return token

    def pose(self, x: float = 0.0, tilt: float = 0.02) -> dict[str, list[float]]:
        quaternion = np.array([1.0, 0.0, 0.0, self.rng.normal()])
        quaternion += tilt * self.rng.normal(size=4)
        quaternion /= np.linalg.norm(quaternion)
        translation = self.rng.normal(size=3) + np.array([x, 0, 1])
        return {"rotation": quaternion.tolist(), "translation": translation.tolist()}

    def points(self, filename: str, count: int) -> None:
        path = self.root / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rng.normal(size=(count, 5)).astype("<f4").tofile(path)


def write_fake_nuscenes(
    root: Path, scenes: list[str], version: str = "v1.0-fake", keyframes: int = 3, seed: int = 0
) -> Path:
    """Writes tables and files; returns the root."""
    tables = _Tables(root, seed)
    categories = [
        tables.add("category", name=name, description="", index=index)
        for index, name in enumerate(CATEGORIES)
    ]
    attributes = [tables.add("attribute", name=name, description="") for name in ATTRIBUTES]
    for level in "1234":
        tables.tables.setdefault("visibility", []).append(
            {"token": level, "level": level, "description": ""}
        )
    sensors = {"LIDAR_TOP": tables.add("sensor", channel="LIDAR_TOP", modality="lidar")}
    sensors |= {name: tables.add("sensor", channel=name, modality="camera") for name in CAMERAS}
    sensors["RADAR_FRONT"] = tables.add("sensor", channel="RADAR_FRONT", modality="radar")
    logs = []
    for name in scenes:
        log = tables.add("log", logfile=name, vehicle="", date_captured="", location="nowhere")
        logs.append(log)
        _write_scene(tables, name, log, sensors, (categories, attributes), keyframes)
    tables.add("map", log_tokens=logs, category="", filename="maps/map.png")
    (root / "maps").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "maps" / "map.png")
    _write_labels(tables, version)
    folder = root / version
    folder.mkdir(parents=True)
    for table, rows in tables.tables.items():
        (folder / f"{table}.json").write_text(json.dumps(rows))
    return root


def _write_labels(tables: _Tables, version: str) -> None:
    for record in list(tables.tables["sample_data"]):
        if record["is_key_frame"] and record["fileformat"] == "bin":
            filename = f"lidarseg/{version}/{record['token']}_lidarseg.bin"
            path = tables.root / filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes((tables.root / record["filename"]).stat().st_size // 20))
            tables.add("lidarseg", sample_data_token=record["token"], filename=filename)


def _write_scene(
    tables: _Tables,
    name: str,
    log: str,
    sensors: dict[str, str],
    kinds: tuple[list[str], list[str]],
    keyframes: int,
) -> None:
    start = 1_500_000_000_000_000 + 1_000_000_000 * len(tables.tables.get("scene", []))
    scene = tables.add("scene", name=name, log_token=log, description="", nbr_samples=keyframes)
    samples = [
        tables.add("sample", timestamp=start + i * PERIOD, scene_token=scene)
        for i in range(keyframes)
    ]
    _link(tables.tables["sample"][-keyframes:])
    row = tables.tables["scene"][-1]
    row["first_sample_token"], row["last_sample_token"] = samples[0], samples[-1]
    for channel, sensor in sensors.items():
        _write_channel(tables, name, channel, sensor, samples, start)
    categories, attributes = kinds
    for number in range(6):
        category = number % len(categories)
        first = number % 2  # some objects appear late
        seen = samples[first : first + 1] if number == 5 else samples[first:]
        _write_object(tables, categories[category], attributes[: 1 - category % 2], seen)


def _write_channel(
    tables: _Tables, scene: str, channel: str, sensor: str, samples: list[str], start: int
) -> None:
    lidar, camera = channel == "LIDAR_TOP", channel.startswith("CAM")
    intrinsic = [[50.0, 0.0, 40.5], [0.0, 51.0, 22.0], [0.0, 0.0, 1.0]] if camera else []
    pose = tables.pose()
    if camera:  # looks along the vehicle's x axis, or back
        pose["rotation"] = (
            [0.5, -0.5, 0.5, -0.5] if channel == "CAM_FRONT" else [0.5, -0.5, -0.5, 0.5]
        )
    calibrated = tables.add(
        "calibrated_sensor", sensor_token=sensor, camera_intrinsic=intrinsic, **pose
    )
    rows = []
    for index, sample in enumerate(samples):
        for sweep in range(SWEEPS if lidar else 1):
            key = sweep == SWEEPS - 1 or not lidar
            time = (
                start + index * PERIOD - (SWEEPS - 1 - sweep) * 50_000 + (20_000 if camera else 0)
            )
            folder = "samples" if key else "sweeps"
            suffix = ".pcd.bin" if lidar else ".png" if camera else ".pcd"
            filename = f"{folder}/{channel}/{scene}__{channel}__{time}{suffix}"
            ego = tables.add("ego_pose", timestamp=time, **tables.pose(600 + index))
            tables.add(
                "sample_data",
                sample_token=sample,
                ego_pose_token=ego,
                calibrated_sensor_token=calibrated,
                timestamp=time,
                fileformat="bin" if lidar else "png",
                is_key_frame=key,
                width=SIZE[0] if camera else 0,
                height=SIZE[1] if camera else 0,
                filename=filename,
            )
            rows.append(tables.tables["sample_data"][-1])
            if lidar:
                tables.points(filename, 7 + index)
            elif camera:
                path = tables.root / filename
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.zeros((*SIZE[::-1], 3), np.uint8)).save(path)
    _link(rows)


def _write_object(
    tables: _Tables, category: str, attributes: list[str], samples: list[str]
) -> None:
    instance = tables.add("instance", category_token=category, nbr_annotations=len(samples))
    rows = []
    around = tables.rng.normal(size=3) * [20, 20, 1] + np.array([600, 0, 0])
    for index, sample in enumerate(samples):
        pose = tables.pose()
        tables.add(
            "sample_annotation",
            sample_token=sample,
            instance_token=instance,
            visibility_token=str(1 + index % 4),
            attribute_tokens=attributes,
            translation=(around + index * np.array([0.7, -0.2, 0.1])).tolist(),
            size=tables.rng.uniform(0.5, 5, size=3).tolist(),
            rotation=pose["rotation"],
            num_lidar_pts=index % 3,
            num_radar_pts=0,
        )
        rows.append(tables.tables["sample_annotation"][-1])
    _link(rows)
    row = tables.tables["instance"][-1]
    row["first_annotation_token"] = rows[0]["token"]
    row["last_annotation_token"] = rows[-1]["token"]


def _link(rows: list[dict[str, Any]]) -> None:
    for before, row, after in zip([None, *rows[:-1]], rows, [*rows[1:], None], strict=True):
        row["prev"] = before["token"] if before else ""
        row["next"] = after["token"] if after else ""
