# SPDX-License-Identifier: Apache-2.0
"""Write scenes of the embedded world as nuScenes: keyframes, sweeps, lidarseg, annotations."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.world.catalog import KINDS
from lidistill.world.files import encode_jpeg, token, write_frame
from lidistill.world.layouts.nuscenes_tables import (
    SCENE_TABLES,
    Record,
    attribute_token,
    category_token,
    sensor_token,
)
from lidistill.world.presets import NuScenesSize
from lidistill.world.scene.compose import compose
from lidistill.world.scene.scene import Scene, Thing
from lidistill.world.scene.site import Profile
from lidistill.world.sensing.render import render
from lidistill.world.sensing.scan import Scan, scan
from lidistill.world.sensing.sensors import (
    Camera,
    Lidar,
    nuscenes_cameras,
    nuscenes_lidar,
    rotation,
)
from lidistill.world.sensing.visibility import count_visible

PERIOD = 0.5  # seconds between keyframes
ANNOTATED_RANGE = 80.0
EPOCH = 1_500_000_000_000_000  # microseconds of the first scene


def quaternion(matrix: NDArray[np.float64]) -> list[float]:
    """Quaternion w, x, y, z of a 3x3 rotation (largest-component method, w >= 0)."""
    m = matrix
    diagonal = np.array(
        [
            1.0 + m[0, 0] + m[1, 1] + m[2, 2],
            1.0 + m[0, 0] - m[1, 1] - m[2, 2],
            1.0 - m[0, 0] + m[1, 1] - m[2, 2],
            1.0 - m[0, 0] - m[1, 1] + m[2, 2],
        ]
    )
    best = int(np.argmax(diagonal))
    s = 2.0 * math.sqrt(diagonal[best])
    wx, wy, wz = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    xy, xz, yz = m[1, 0] + m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2]
    rows = ((None, wx, wy, wz), (wx, None, xy, xz), (wy, xy, None, yz), (wz, xz, yz, None))
    q = np.array([s / 4 if value is None else value / s for value in rows[best]])
    return [float(value) for value in (q if q[0] >= 0 else -q)]


class SceneWriter:
    """Writes one scene's files and collects its records."""

    def __init__(self, root: Path, size: NuScenesSize, seed: int, number: int) -> None:
        self.root, self.size, self.number = root, size, number
        self.name = (*size.train, *size.val)[number]
        self.key = (seed, size.version, self.name)
        duration = (size.keyframes - 1) * PERIOD
        self.scene: Scene = compose(self.name, (seed, number), duration, Profile())
        rng = np.random.default_rng([seed, number, 2])
        self.turn = float(rng.uniform(-np.pi, np.pi))  # the world frame within the map's frame
        self.shift = np.array([*rng.uniform(400.0, 1600.0, 2), 0.0])
        self.start = EPOCH + number * 100_000_000
        self.prefix = f"n000-synth-{seed:04d}-{number:04d}"
        self.lidar: Lidar = nuscenes_lidar(size.columns)
        self.cameras: tuple[Camera, ...] = nuscenes_cameras(size.width)
        self.records: dict[str, list[Record]] = {name: [] for name in SCENE_TABLES}
        self.seed = seed

    def tok(self, *parts: object) -> str:
        """Token of a record of this scene."""
        return token(*self.key, *parts)

    # ---- sensor data ---------------------------------------------------------------------------

    def _sample_data(
        self, channel: str, time: float, sample: int, keyframe: bool, file: tuple[str, bytes]
    ) -> Record:
        """Write a sensor file with its ego pose; returns its record (links are set later)."""
        stamp = self.start + round(time * 1e6)
        suffix, data = file
        folder = "samples" if keyframe else "sweeps"
        name = f"{folder}/{channel}/{self.prefix}__{channel}__{stamp}.{suffix}"
        write_frame(self.root / name, data)
        x, y, yaw = self.scene.ego.pose(time)
        key = self.tok("sample_data", channel, stamp)
        self.records["ego_pose"].append(
            {
                "token": key,
                "timestamp": stamp,
                "rotation": quaternion(rotation(yaw + self.turn)),
                "translation": self._to_map(np.array([x, y, 0.0])),
            }
        )
        image = suffix == "jpg"
        record = {
            "token": key,
            "sample_token": self.tok("sample", sample),
            "ego_pose_token": key,
            "calibrated_sensor_token": self.tok("calibrated_sensor", channel),
            "timestamp": stamp,
            "fileformat": "jpg" if image else "pcd",
            "is_key_frame": keyframe,
            "height": self.cameras[0].height if image else 0,
            "width": self.cameras[0].width if image else 0,
            "filename": name,
            "prev": "",
            "next": "",
        }
        self.records["sample_data"].append(record)
        return record

    def _to_map(self, point: NDArray[np.float64]) -> list[float]:
        return [float(v) for v in rotation(self.turn) @ point + self.shift]

    def _scan(self, time: float, stream: int) -> Scan:
        rng = np.random.default_rng([self.seed, self.number, 3, stream])
        snapshot = self.scene.snapshot(time)
        return scan(self.scene, snapshot, self.lidar, self.scene.ego.pose(time), rng)

    @staticmethod
    def _points(found: Scan) -> bytes:
        columns = [found.xyz, found.intensity[:, None], found.ring[:, None]]
        return np.concatenate(columns, axis=1).astype("<f4").tobytes()

    def _lidar_chain(self, report: Callable[[], None]) -> list[NDArray[np.int64]]:
        """Write sweeps and keyframes; returns per keyframe the points on every thing."""
        counts = []
        step = PERIOD / (self.size.sweeps + 1)
        for k in range(self.size.keyframes):
            for back in range(self.size.sweeps, 0, -1):
                time = k * PERIOD - back * step
                nearest = max(0, k - 1 if back * step > PERIOD / 2 else k)
                found = self._scan(time, k * 1000 + back)
                file = ("pcd.bin", self._points(found))
                self._sample_data("LIDAR_TOP", time, nearest, False, file)
                report()
            found = self._scan(k * PERIOD, k * 1000)
            file = ("pcd.bin", self._points(found))
            record = self._sample_data("LIDAR_TOP", k * PERIOD, k, True, file)
            name = f"lidarseg/{self.size.version}/{record['token']}_lidarseg.bin"
            write_frame(self.root / name, found.label.tobytes())
            self.records["lidarseg"].append(
                {"token": record["token"], "filename": name, "sample_data_token": record["token"]}
            )
            owner = found.owner[found.owner >= 0]
            counts.append(np.bincount(owner, minlength=len(self.scene.things) + 1))
            report()
        return counts

    def _pictures(self, report: Callable[[], None]) -> list[NDArray[np.float64]]:
        """Write all camera keyframes; returns per keyframe the visible share of every thing."""
        boxed = np.array([k for k, thing in enumerate(self.scene.things) if thing.boxed])
        shares = []
        for k in range(self.size.keyframes):
            total = np.zeros(len(self.scene.things))
            seen = np.zeros(len(self.scene.things))
            for c, camera in enumerate(self.cameras):
                time = k * PERIOD + camera.delay
                snapshot, ego = self.scene.snapshot(time), self.scene.ego.pose(time)
                shot = int(
                    np.random.default_rng([self.seed, self.number, 4, k, c]).integers(1 << 30)
                )
                image, surface = render(self.scene, snapshot, camera, ego, shot)
                self._sample_data(camera.name, time, k, True, ("jpg", encode_jpeg(image)))
                boxes = self.scene.boxes(time)[boxed]
                some, won = count_visible(snapshot, boxed, boxes, camera, ego, surface)
                total[boxed] += some
                seen[boxed] += won
                report()
            shares.append(seen / np.maximum(total, 1.0))
        return shares

    # ---- records -------------------------------------------------------------------------------

    def _link(self) -> None:
        """Chain the sample_data of each channel by time."""
        by_channel: dict[str, list[Record]] = {}
        for record in self.records["sample_data"]:
            by_channel.setdefault(record["calibrated_sensor_token"], []).append(record)
        for chain in by_channel.values():
            chain.sort(key=lambda record: record["timestamp"])
            for before, after in pairwise(chain):
                before["next"], after["prev"] = after["token"], before["token"]

    def _samples(self) -> None:
        count = self.size.keyframes
        tokens = [self.tok("sample", k) for k in range(count)]
        for k, key in enumerate(tokens):
            self.records["sample"].append(
                {
                    "token": key,
                    "timestamp": self.start + round(k * PERIOD * 1e6),
                    "prev": tokens[k - 1] if k else "",
                    "next": tokens[k + 1] if k + 1 < count else "",
                    "scene_token": self.tok("scene"),
                }
            )
        self.records["scene"].append(
            {
                "token": self.tok("scene"),
                "log_token": self.tok("log"),
                "nbr_samples": count,
                "first_sample_token": tokens[0],
                "last_sample_token": tokens[-1],
                "name": self.name,
                "description": self.scene.description,
            }
        )
        self.records["log"].append(
            {
                "token": self.tok("log"),
                "logfile": self.prefix,
                "vehicle": "n000",
                "date_captured": "2017-07-14",
                "location": "synthetic",
            }
        )

    def _calibration(self) -> None:
        sensors: list[tuple[str, NDArray[np.float64], list[Any]]] = [
            ("LIDAR_TOP", self.lidar.ego_from_lidar, [])
        ]
        for camera in self.cameras:
            sensors.append((camera.name, camera.ego_from_camera, camera.intrinsics.tolist()))
        for channel, pose, intrinsics in sensors:
            self.records["calibrated_sensor"].append(
                {
                    "token": self.tok("calibrated_sensor", channel),
                    "sensor_token": sensor_token(channel),
                    "translation": pose[:3, 3].tolist(),
                    "rotation": quaternion(pose[:3, :3]),
                    "camera_intrinsic": intrinsics,
                }
            )

    def _annotations(
        self, counts: list[NDArray[np.int64]], shares: list[NDArray[np.float64]]
    ) -> None:
        """One instance per thing that is near or hit, annotated without gaps."""
        times = [k * PERIOD for k in range(self.size.keyframes)]
        boxes = [self.scene.boxes(time) for time in times]
        egos = np.array([self.scene.ego.pose(time)[:2] for time in times])
        for i, thing in enumerate(self.scene.things):
            if not thing.boxed:
                continue
            wanted = [
                k
                for k in range(len(times))
                if counts[k][i] or np.hypot(*(boxes[k][i, :2] - egos[k])) <= ANNOTATED_RANGE
            ]
            if not wanted:
                continue
            frames = range(wanted[0], wanted[-1] + 1)
            for k in frames:
                self._annotate(i, thing, k, frames, boxes[k][i], int(counts[k][i]))
                self.records["sample_annotation"][-1]["visibility_token"] = str(
                    1 + int(np.digitize(shares[k][i], [0.4, 0.6, 0.8]))
                )
            self.records["instance"].append(
                {
                    "token": self.tok("instance", i),
                    "category_token": category_token(KINDS[thing.kind].category),
                    "nbr_annotations": len(frames),
                    "first_annotation_token": self.tok("annotation", i, frames[0]),
                    "last_annotation_token": self.tok("annotation", i, frames[-1]),
                }
            )

    def _annotate(
        self, i: int, thing: Thing, k: int, frames: range, box: NDArray[np.float64], points: int
    ) -> None:
        attribute = attribute_of(thing)
        self.records["sample_annotation"].append(
            {
                "token": self.tok("annotation", i, k),
                "sample_token": self.tok("sample", k),
                "instance_token": self.tok("instance", i),
                "visibility_token": "",
                "attribute_tokens": [attribute_token(attribute)] if attribute else [],
                "translation": self._to_map(box[:3]),
                "size": [float(box[4]), float(box[3]), float(box[5])],
                "rotation": quaternion(rotation(float(box[6]) + self.turn)),
                "prev": self.tok("annotation", i, k - 1) if k > frames[0] else "",
                "next": self.tok("annotation", i, k + 1) if k < frames[-1] else "",
                "num_lidar_pts": points,
                "num_radar_pts": 0,
            }
        )

    def write(self, report: Callable[[], None]) -> dict[str, list[Record]]:
        """Write every file of the scene; returns its records by table."""
        self._samples()
        self._calibration()
        counts = self._lidar_chain(report)
        shares = self._pictures(report)
        self._link()
        self._annotations(counts, shares)
        return self.records


def attribute_of(thing: Thing) -> str:
    """The nuScenes attribute of a thing, or an empty string."""
    detection = KINDS[thing.kind].detection
    if detection in ("barrier", "traffic_cone"):
        return ""
    if detection in ("bicycle", "motorcycle"):
        rider = thing.kind in ("cyclist", "motorcyclist")
        return "cycle.with_rider" if rider else "cycle.without_rider"
    if detection == "pedestrian":
        if thing.kind == "sitting":
            return "pedestrian.sitting_lying_down"
        return "pedestrian.moving" if thing.speed else "pedestrian.standing"
    if thing.speed:
        return "vehicle.moving"
    return "vehicle.parked" if thing.parked else "vehicle.stopped"


def captures(size: NuScenesSize) -> int:
    """Number of scans and pictures of one scene (for the progress bar)."""
    return size.keyframes * (1 + size.sweeps + 6)
