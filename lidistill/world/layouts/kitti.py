# SPDX-License-Identifier: Apache-2.0
"""Write sequences of the embedded world as KITTI: object, tracking, raw and odometry files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.world.catalog import KINDS
from lidistill.world.files import encode_png, write_frame
from lidistill.world.layouts.kitti_labels import (
    Label,
    Track,
    boxes_in_velodyne,
    label_frame,
    tracklets_xml,
)
from lidistill.world.presets import KittiSize
from lidistill.world.scene.compose import compose
from lidistill.world.scene.site import Profile
from lidistill.world.sensing.render import render
from lidistill.world.sensing.scan import scan
from lidistill.world.sensing.sensors import (
    VELODYNE_HEIGHT,
    kitti_calibration,
    kitti_camera,
    kitti_lidar,
    rotation,
    transform,
)

PERIOD = 0.1
DATE = "2011_09_26"
TRACKED_RANGE = 70.0
EARTH_RADIUS, LATITUDE, LONGITUDE = 6378137.0, 49.0, 8.43
PROFILE = Profile(
    pedestrians=8.0,
    cyclists=4.0,
    parked=0.75,
    traffic_gap=(11.0, 34.0),
    all_classes=False,
    tram=True,
)


def drive_name(number: int) -> str:
    """Name of a raw sequence."""
    return f"{DATE}_drive_{number + 1:04d}_sync"


def calibration_text() -> str:
    """A calibration file of the object benchmark."""
    calibration = kitti_calibration()
    lines = []
    for name, matrix in calibration.items():
        part = matrix[:3, :3] if name == "R0_rect" else matrix[:3, :4]
        lines.append(f"{name}: " + " ".join(f"{value:.12e}" for value in part.reshape(-1)))
    return "\n".join(lines) + "\n\n"


def plane_text() -> str:
    """The ground plane (normal, offset) in the rectified camera frame."""
    calibration = kitti_calibration()
    rect_from_velodyne = calibration["R0_rect"] @ calibration["Tr_velo_to_cam"]
    normal = rect_from_velodyne[:3, :3] @ np.array([0.0, 0.0, 1.0])
    point = rect_from_velodyne @ np.array([0.0, 0.0, -VELODYNE_HEIGHT, 1.0])
    plane = [*normal, -float(normal @ point[:3])]
    values = " ".join(f"{value:.6e}" for value in plane)
    return f"# Plane\nWidth 4\nHeight 1\n{values}\n"


class SequenceWriter:
    """Writes one sequence: its frames into the object layout, its tracks and poses beside them."""

    def __init__(self, root: Path, size: KittiSize, seed: int, number: int) -> None:
        self.root, self.size, self.seed, self.number = root, size, seed, number
        labelled = size.train + size.val
        self.test = number >= labelled
        self.split = "testing" if self.test else "training"
        self.first = (number - labelled if self.test else number) * size.frames
        duration = (size.frames - 1) * size.stride * PERIOD
        self.scene = compose(f"sequence-{number:04d}", (seed, 1000 + number), duration, PROFILE)
        self.lidar, self.camera = kitti_lidar(size.columns), kitti_camera()
        self.raw = root / "raw" / DATE / drive_name(number)
        self.labels: list[list[Label]] = []
        self.hits: list[NDArray[np.int64]] = []

    def time(self, frame: int) -> float:
        """Seconds of a frame."""
        return frame * self.size.stride * PERIOD

    def write(self, report: Callable[[], None]) -> dict[str, Any]:
        """Write all files of the sequence; returns its record."""
        for frame in range(self.size.frames):
            self._frame(frame)
            report()
        self._poses()
        if not self.test:
            self._tracks()
        return {"name": drive_name(self.number), "first": self.first, "frames": self.size.frames}

    def _frame(self, frame: int) -> None:
        time = self.time(frame)
        snapshot, ego = self.scene.snapshot(time), self.scene.ego.pose(time)
        rng = np.random.default_rng([self.seed, 1000 + self.number, 3, frame])
        found = scan(self.scene, snapshot, self.lidar, ego, rng)
        shape = (len(self.lidar.azimuth), len(self.lidar.elevation))
        order = np.arange(len(found.ring)).reshape(shape).T.reshape(-1)  # beam by beam
        order = order[found.returned[order]]
        points = np.concatenate([found.xyz, found.intensity[:, None]], axis=1)[order]
        image, surface = render(self.scene, snapshot, self.camera, ego, int(rng.integers(1 << 30)))
        name = f"{self.first + frame:06d}"
        base = self.root / self.split
        scan_file, picture = base / "velodyne" / f"{name}.bin", base / "image_2" / f"{name}.png"
        write_frame(scan_file, points.astype("<f4").tobytes())
        write_frame(picture, encode_png(image))
        write_frame(base / "calib" / f"{name}.txt", calibration_text().encode())
        write_frame(base / "planes" / f"{name}.txt", plane_text().encode())
        link(scan_file, self.raw / "velodyne_points" / "data" / f"{frame:010d}.bin")
        link(picture, self.raw / "image_02" / "data" / f"{frame:010d}.png")
        if not self.test:
            labels = label_frame(self.scene, snapshot, time, self.camera, surface)
            text = "".join(label.line() + "\n" for label in labels)
            write_frame(base / "label_2" / f"{name}.txt", text.encode())
            self.labels.append(labels)
            owner = found.owner[found.owner >= 0]
            self.hits.append(np.bincount(owner, minlength=len(self.scene.things) + 1))

    # ---- poses -----------------------------------------------------------------------------------

    def _poses(self) -> None:
        """``oxts`` of the raw data, and camera poses as in the odometry benchmark."""
        calibration = kitti_calibration()
        rect_from_velodyne = calibration["R0_rect"] @ calibration["Tr_velo_to_cam"]
        cameras = []
        for frame in range(self.size.frames):
            x, y, yaw = self.scene.ego.pose(self.time(frame))
            world_from_velodyne = transform(rotation(yaw), (x, y, VELODYNE_HEIGHT))
            cameras.append(world_from_velodyne @ np.linalg.inv(rect_from_velodyne))
            imu = world_from_velodyne @ calibration["Tr_imu_to_velo"]
            text = oxts_line(imu, self.scene.ego.speed)
            write_frame(self.raw / "oxts" / "data" / f"{frame:010d}.txt", text.encode())
        first = np.linalg.inv(cameras[0])
        rows = [" ".join(f"{v:.12e}" for v in (first @ c)[:3].reshape(-1)) for c in cameras]
        text = "\n".join(rows) + "\n"
        write_frame(self.root / "odometry" / "poses" / f"{self.number:02d}.txt", text.encode())
        stamps = [
            f"{DATE.replace('_', '-')} 13:02:{self.time(k):012.9f}" for k in range(self.size.frames)
        ]
        write_frame(self.raw / "oxts" / "timestamps.txt", ("\n".join(stamps) + "\n").encode())

    # ---- tracks ----------------------------------------------------------------------------------

    def _tracks(self) -> None:
        """Tracking labels of what the camera sees, tracklets of all that the scanner meets."""
        lines = [
            f"{frame} {label.thing} " + label.line(digits=6)
            for frame, labels in enumerate(self.labels)
            for label in labels
        ]
        name = f"{self.number:04d}.txt"
        text = "".join(line + "\n" for line in lines)
        write_frame(self.root / "tracking" / "training" / "label_02" / name, text.encode())
        calib = calibration_text().encode()
        write_frame(self.root / "tracking" / "training" / "calib" / name, calib)
        xml = tracklets_xml(self._collect())
        write_frame(self.raw / "tracklet_labels.xml", xml.encode())

    def _collect(self) -> list[Track]:
        boxes = [boxes_in_velodyne(self.scene, self.time(k)) for k in range(self.size.frames)]
        seen = [{label.thing: label for label in labels} for labels in self.labels]
        tracks = []
        for i, thing in enumerate(self.scene.things):
            kind = KINDS[thing.kind].kitti
            if kind is None or not thing.boxed:
                continue
            known = [
                k
                for k in range(self.size.frames)
                if (i in seen[k] or self.hits[k][i])
                and math.hypot(*boxes[k][i, :2]) <= TRACKED_RANGE
            ]
            if not known:
                continue
            frames = range(known[0], known[-1] + 1)
            occlusion = [seen[k][i].occluded if i in seen[k] else 3 for k in frames]
            cut = [truncation_code(seen[k].get(i), boxes[k][i]) for k in frames]
            rows = [boxes[k][i] for k in frames]
            tracks.append(Track(kind, frames[0], rows, [min(o, 2) for o in occlusion], cut))
        return tracks


def truncation_code(label: Label | None, box: NDArray[np.float64]) -> int:
    """KITTI raw: 0 in the image, 1 cut by its border, 2 outside of it, 99 behind it."""
    if label is not None:
        return int(label.truncated > 0.0)
    return 99 if box[0] < 0.0 else 2


def oxts_line(world_from_imu: NDArray[np.float64], speed: float) -> str:
    """The 30 numbers of an OXTS packet; position by KITTI's Mercator convention."""
    scale = math.cos(math.radians(LATITUDE))
    x, y, z = world_from_imu[:3, 3]
    origin = EARTH_RADIUS * math.log(math.tan(math.radians(90.0 + LATITUDE) / 2.0))
    latitude = 2 * math.degrees(math.atan(math.exp((y / scale + origin) / EARTH_RADIUS))) - 90.0
    longitude = LONGITUDE + math.degrees(x / (scale * EARTH_RADIUS))
    r = world_from_imu[:3, :3]
    roll, pitch = math.atan2(r[2, 1], r[2, 2]), -math.asin(r[2, 0])
    yaw = math.atan2(r[1, 0], r[0, 0])
    moving = [speed * math.sin(yaw), speed * math.cos(yaw), speed, 0.0, 0.0]
    inertial = [0.0, 0.0, 9.81, 0.0, 0.0, 9.81, *[0.0] * 6]
    numbers = [latitude, longitude, z, roll, pitch, yaw, *moving, *inertial, 0.05, 0.01]
    return " ".join(f"{value:.13g}" for value in numbers) + " 4 10 4 4 0\n"


def link(source: Path, target: Path) -> None:
    """A second name of a file without a second copy; a copy where links are not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        write_frame(target, source.read_bytes())
