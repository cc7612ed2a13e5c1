# SPDX-License-Identifier: Apache-2.0
"""Pairing with six cameras: our one pass a camera beside SLidR's eight steps a camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.bench.case import Case
from lidistill.geometry.frames import compose, make_transform, rotation_about_z
from lidistill.geometry.projection import camera_from_lidar, pair_points


@dataclass(frozen=True)
class Rig:
    """Poses of a sweep and its cameras, as nuScenes stores them.

    Attributes:
        lidar_to_ego: (4, 4).
        ego_to_global_lidar: (4, 4) of the vehicle at the time of the sweep.
        cam_to_ego: (K, 4, 4).
        ego_to_global_cam: (K, 4, 4) of the vehicle at the time of each image.
        intrinsics: (K, 3, 3).
        image_hw: Rows and columns of all images.
    """

    lidar_to_ego: NDArray[np.float64]
    ego_to_global_lidar: NDArray[np.float64]
    cam_to_ego: NDArray[np.float64]
    ego_to_global_cam: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    image_hw: tuple[int, int]

    def transforms(self) -> NDArray[np.float64]:
        """(K, 4, 4) camera from LiDAR."""
        return camera_from_lidar(
            self.cam_to_ego, self.ego_to_global_cam, self.ego_to_global_lidar, self.lidar_to_ego
        )


def nuscenes_rig(image_hw: tuple[int, int] = (900, 1600)) -> Rig:
    """Six cameras around a car that drives at 10 m/s through a town a kilometre wide."""
    optical = make_transform([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [1.0, 0.0, 1.5])
    scale = image_hw[1] / 1600
    matrix = [[1266 * scale, 0, 800 * scale], [0, 1266 * scale, 450 * scale], [0, 0, 1]]
    start = compose(make_transform(np.eye(3), [600.4, 1600.5, 0.0]), rotation_about_z(2.3))
    moved = [compose(start, make_transform(np.eye(3), [0.1 * k, 0, 0])) for k in range(6)]
    around = [compose(rotation_about_z(np.deg2rad(-55.0 * k)), optical) for k in range(6)]
    return Rig(
        lidar_to_ego=make_transform([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], [0.94, 0.0, 1.84]),
        ego_to_global_lidar=start,
        cam_to_ego=np.stack(around),
        ego_to_global_cam=np.stack(moved),
        intrinsics=np.repeat(np.array(matrix)[None], 6, axis=0),
        image_hw=image_hw,
    )


def sweep(num_rings: int = 32, num_steps: int = 1085) -> NDArray[np.float32]:
    """(N, 5) points in the order in which a LiDAR fires: a road, and walls of changing distance."""
    ring = np.deg2rad(np.linspace(-30.0, 10.0, num_rings))
    azimuth = np.linspace(-np.pi, np.pi, num_steps, endpoint=False)
    wall = 18 + 8 * np.sin(5 * azimuth) + 4 * np.sin(17 * azimuth)
    road = 1.84 / np.maximum(np.tan(-ring), 1e-3)
    rho = np.minimum(wall[:, None], road[None, :])
    x, y = rho * np.cos(azimuth)[:, None], rho * np.sin(azimuth)[:, None]
    height = rho * np.tan(ring)
    intensity, index = np.full_like(rho, 20.0), np.broadcast_to(np.arange(num_rings), rho.shape)
    return np.stack([x, y, height, intensity, index], axis=-1).reshape(-1, 5).astype(np.float32)


def authors_pairs(points: NDArray[np.float32], rig: Rig, min_depth: float = 1.0) -> NDArray:
    """SLidR's pairing: for each camera a copy of the cloud, eight steps, each stored in float32.

    Returns:
        (P, 4) point, camera, row, column.
    """
    rows = []
    for camera in range(len(rig.intrinsics)):
        cloud = points[:, :3].T.copy()  # float32, as the point cloud class holds it
        for pose, forward in (
            (rig.lidar_to_ego, True),
            (rig.ego_to_global_lidar, True),
            (rig.ego_to_global_cam[camera], False),
            (rig.cam_to_ego[camera], False),
        ):
            if forward:
                cloud[:] = pose[:3, :3] @ cloud
                cloud += pose[:3, 3:].astype(np.float32)
            else:
                cloud -= pose[:3, 3:].astype(np.float32)
                cloud[:] = pose[:3, :3].T @ cloud
        depth = cloud[2]
        padded = np.eye(4)
        padded[:3, :3] = rig.intrinsics[camera]
        pixels = (padded @ np.concatenate([cloud, np.ones((1, cloud.shape[1]))]))[:3]
        pixels = (pixels / pixels[2:3].repeat(3, 0).reshape(3, -1))[:2].T
        mask = np.ones(len(depth), dtype=bool)
        mask = np.logical_and(mask, depth > min_depth)
        mask = np.logical_and(mask, pixels[:, 0] > 0)
        mask = np.logical_and(mask, pixels[:, 0] < rig.image_hw[1] - 1)
        mask = np.logical_and(mask, pixels[:, 1] > 0)
        mask = np.logical_and(mask, pixels[:, 1] < rig.image_hw[0] - 1)
        index = np.where(mask)[0]
        rounded = np.round(np.flip(pixels[index], axis=1)).astype(np.int64)
        rows.append(np.concatenate([index[:, None], np.full((len(index), 1), camera), rounded], 1))
    return np.concatenate(rows)


def our_pairs(points: NDArray[np.float32], rig: Rig) -> tuple[NDArray, NDArray, NDArray]:
    """Point, camera and (row, column) of the same pairs, from `pair_points`."""
    pairs = pair_points(points, rig.transforms(), rig.intrinsics, rig.image_hw)
    return pairs.point, pairs.camera, pairs.rowcol()


def cases(size: str) -> list[Case]:
    """Eight samples, so that a millisecond of the machine's mood weighs little."""
    samples = range(8)
    points = sweep(32, 1085 if size == "full" else 200)
    rig = nuscenes_rig()
    return [
        Case(
            name="pairing of six cameras",
            size=f"{len(samples)} x {len(points):,} points, 6 images of 900 x 1600",
            reference=lambda: [authors_pairs(points, rig) for _ in samples],
            ours=lambda: [our_pairs(points, rig) for _ in samples],
        )
    ]
