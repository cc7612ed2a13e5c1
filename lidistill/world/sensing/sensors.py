# SPDX-License-Identifier: Apache-2.0
"""The two rigs: a nuScenes vehicle (one 32-beam LiDAR, six cameras) and a KITTI vehicle.

A rig is made once per size and shared by all scenes, with the ray tables it has computed.

Numbers were read off the real samples of both datasets (ring medians, calibration tables).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RayTable:
    """Rays of a sensor in the ego's frame, by columns.

    Attributes:
        rays: (C, R, 5) float64 unit direction x, y, z, its horizontal length, its slope.
        fan: (C, 2) float64 middle and half width of each column's azimuth interval, radians.
    """

    rays: Array
    fan: Array

    @classmethod
    def build(cls, rays: Array) -> RayTable:
        """Measure the azimuth interval of every column of unit ``rays`` (C, R, 3)."""
        azimuth = np.arctan2(rays[..., 1], rays[..., 0])
        middle = azimuth[:, rays.shape[1] // 2]
        turn = azimuth - middle[:, None]
        turn = np.remainder(turn + np.pi, 2 * np.pi) - np.pi
        low, high = turn.min(axis=1), turn.max(axis=1)
        fan = np.stack([middle + 0.5 * (low + high), 0.5 * (high - low) + 1e-9], axis=1)
        level = np.hypot(rays[..., 0], rays[..., 1])[..., None]
        return cls(np.concatenate([rays, level, rays[..., 2:] / level], axis=-1), fan)


@dataclass(frozen=True)
class Lidar:
    """A spinning LiDAR.

    Attributes:
        ego_from_lidar: 4x4.
        elevation: (R,) radians, ring 0 first.
        azimuth: (C,) radians in the LiDAR's frame, in firing order.
        full_scale: largest intensity written.
        gain: written intensity per unit of reflectivity (0-255).
        with_ego: whether the ego's own body is seen.
    """

    ego_from_lidar: Array
    elevation: Array
    azimuth: Array
    full_scale: float
    gain: float
    with_ego: bool
    max_range: float = 105.0

    @cached_property
    def directions(self) -> Array:
        """(C, R, 3) unit directions in the LiDAR's frame."""
        cos = np.cos(self.elevation)[None, :]
        x = np.cos(self.azimuth)[:, None] * cos
        y = np.sin(self.azimuth)[:, None] * cos
        z = np.broadcast_to(np.sin(self.elevation)[None, :], x.shape)
        return np.stack([x, y, z], axis=-1)

    @cached_property
    def table(self) -> RayTable:
        """Rays in the ego's frame."""
        return RayTable.build(self.directions @ self.ego_from_lidar[:3, :3].T)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; its frame is x right, y down, z forward. Pixel (0, 0) is a pixel's centre.

    Attributes:
        name: channel, for instance ``CAM_FRONT``.
        ego_from_camera: 4x4.
        intrinsics: 3x3 at the written image size.
        width, height: of the written image.
        delay: seconds from the LiDAR's stamp to the exposure.
    """

    name: str
    ego_from_camera: Array
    intrinsics: Array
    width: int
    height: int
    delay: float = 0.0

    @cached_property
    def table(self) -> RayTable:
        """Rays through the pixel centres, (W, H, 3), in the ego's frame."""
        u, v = np.meshgrid(np.arange(self.width), np.arange(self.height), indexing="ij")
        k = self.intrinsics
        rays = np.stack(
            [(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u, dtype=float)],
            axis=-1,
        )
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        return RayTable.build(rays @ self.ego_from_camera[:3, :3].T)


def rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Array:
    """3x3 rotation about z by yaw, then about y by pitch, then about x by roll (radians)."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1.0]])
    about_y = np.array([[cp, 0, sp], [0, 1.0, 0], [-sp, 0, cp]])
    about_x = np.array([[1.0, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return about_z @ about_y @ about_x


def transform(rotation_matrix: Array, translation: tuple[float, ...] | Array) -> Array:
    """4x4 from a 3x3 rotation and a translation."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation_matrix, translation
    return matrix


def sensor_origin(ego_from_sensor: Array, ego: tuple[float, float, float]) -> NDArray[np.float64]:
    """(3,) world position of a sensor on an ego at x, y, yaw."""
    offset, cos, sin = ego_from_sensor[:3, 3], np.cos(ego[2]), np.sin(ego[2])
    x = ego[0] + cos * offset[0] - sin * offset[1]
    return np.array([x, ego[1] + sin * offset[0] + cos * offset[1], offset[2]])


# Camera axes (x right, y down, z forward) in a frame with x forward, y left, z up.
CAMERA_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

# channel: yaw, pitch, roll (degrees), position, f, cx, cy (at 1600 x 900), delay (ms)
_NUSCENES_CAMERAS = {
    "CAM_FRONT": (0.3, 0.4, 0.2, (1.70, 0.02, 1.51), 1266.0, 816.0, 491.5, -35.0),
    "CAM_FRONT_RIGHT": (-56.4, -0.5, 0.7, (1.55, -0.49, 1.50), 1261.0, 808.0, 495.3, -28.0),
    "CAM_BACK_RIGHT": (-110.8, 0.6, -0.4, (1.01, -0.48, 1.56), 1260.0, 807.3, 501.2, -20.0),
    "CAM_BACK": (179.9, 0.3, -0.2, (0.03, 0.00, 1.58), 809.0, 829.2, 481.8, -10.0),
    "CAM_BACK_LEFT": (108.6, -0.3, 0.5, (1.04, 0.48, 1.59), 1257.0, 792.1, 492.8, -1.0),
    "CAM_FRONT_LEFT": (55.2, 0.7, -0.6, (1.52, 0.49, 1.51), 1273.0, 826.6, 479.8, -43.0),
}


@lru_cache(maxsize=4)
def nuscenes_lidar(columns: int = 1084) -> Lidar:
    """The 32-beam LiDAR: rings from -30.67 degrees in steps of 1.333, clockwise from above."""
    step = -2 * np.pi / columns
    return Lidar(
        transform(rotation(-np.pi / 2), (0.94, 0.0, 1.84)),
        np.radians(-30.67 + 1.3333 * np.arange(32)),
        np.pi / 2 + step * np.arange(columns),
        255.0,
        1.0,
        True,
    )


@lru_cache(maxsize=4)
def nuscenes_cameras(width: int) -> tuple[Camera, ...]:
    """The six cameras with images of ``width`` x 9/16 ``width`` pixels."""
    scale = width / 1600.0
    cameras = []
    for name, (yaw, pitch, roll, position, f, cx, cy, delay) in _NUSCENES_CAMERAS.items():
        turn = rotation(*np.radians([yaw, pitch, roll])) @ CAMERA_AXES
        k = np.array([[f * scale, 0, cx * scale], [0, f * scale, cy * scale], [0, 0, 1.0]])
        height = round(900 * scale)
        cameras.append(Camera(name, transform(turn, position), k, width, height, delay / 1000.0))
    return tuple(cameras)


# ---- KITTI -------------------------------------------------------------------------------------

KITTI_SIZE = (1242, 375)
VELODYNE_HEIGHT, KITTI_STEREO = 1.73, 0.54


def _kitti_projection(fourth: tuple[float, float, float]) -> Array:
    f, cx, cy = 721.5377, 609.5593, 172.854
    return np.array([[f, 0, cx, fourth[0]], [0, f, cy, fourth[1]], [0, 0, 1.0, fourth[2]]])


KITTI_P = {
    "P0": _kitti_projection((0.0, 0.0, 0.0)),
    "P1": _kitti_projection((-387.5744, 0.0, 0.0)),
    "P2": _kitti_projection((44.85728, 0.2163791, 0.002745884)),
    "P3": _kitti_projection((-339.5242, 2.199936, 0.002729905)),
}


def kitti_calibration() -> dict[str, Array]:
    """Calibration of the KITTI rig: P0 to P3 (3x4), R0_rect and the two Tr (4x4)."""
    velodyne = rotation(0.0074, 0.0005, 0.0007) @ CAMERA_AXES
    return {
        **KITTI_P,
        "R0_rect": transform(rotation(-0.0099, -0.0007, 0.0006), (0.0, 0.0, 0.0)),
        "Tr_velo_to_cam": transform(velodyne.T, (-0.004, -0.076, -0.272)),
        "Tr_imu_to_velo": transform(rotation(0.0008, 0.0005, -0.0006), (-0.8087, 0.3196, -0.7997)),
    }


@lru_cache(maxsize=4)
def kitti_lidar(columns: int = 2048) -> Lidar:
    """The HDL-64E: an upper block of 32 beams at 1/3 degree from +2 down, a lower one at 1/2."""
    upper = 2.0 - np.arange(32) / 3.0
    lower = np.linspace(-8.83, -24.8, 32)
    return Lidar(
        transform(np.eye(3), (0.0, 0.0, VELODYNE_HEIGHT)),
        np.radians(np.concatenate([upper, lower])),
        2 * np.pi * np.arange(columns) / columns,
        1.0,
        5.5 / 255.0,
        False,
    )


@lru_cache(maxsize=1)
def kitti_camera() -> Camera:
    """The left colour camera; its centre is where P2 says, 6 cm beside the rectified frame's."""
    calibration = kitti_calibration()
    k = calibration["P2"][:, :3]
    offset = np.linalg.solve(k, calibration["P2"][:, 3])
    rect_from_ego = (
        calibration["R0_rect"]
        @ calibration["Tr_velo_to_cam"]
        @ transform(np.eye(3), (0.0, 0.0, -VELODYNE_HEIGHT))
    )
    ego_from_camera = np.linalg.inv(rect_from_ego) @ transform(np.eye(3), -offset)
    return Camera("image_2", ego_from_camera, k, *KITTI_SIZE)
