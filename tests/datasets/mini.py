# SPDX-License-Identifier: Apache-2.0
"""A data set of three small frames with two cameras, written to a folder, for tests of datasets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from lidistill.converters.infos import write_infos
from lidistill.converters.superpixels.make import make_superpixels
from lidistill.geometry.frames import compose, invert, make_transform, rotation_about_z

HEIGHT, WIDTH = 60, 100
CAMERAS = ("CAM_FRONT", "CAM_BACK")
FORWARD = make_transform([[0, -1, 0], [0, 0, -1], [1, 0, 0]], [0.0, -0.1, 0.0])


def lidar_to_camera(index: int) -> np.ndarray:
    """Camera 0 looks along +x of the LiDAR, camera 1 along -x."""
    return compose(FORWARD, invert(rotation_about_z(np.pi * index)))


def points_of(rng: np.random.Generator, count: int = 3000) -> np.ndarray:
    """Points on a wall all around, 8 to 12 m away: x, y, z, intensity, ring."""
    azimuth, radius = rng.uniform(-np.pi, np.pi, count), rng.uniform(8, 12, count)
    height = rng.uniform(-3, 3, count)
    columns = (radius * np.cos(azimuth), radius * np.sin(azimuth), height)
    return np.stack([*columns, rng.uniform(0, 255, count), np.zeros(count)], 1).astype(np.float32)


def image_of(rng: np.random.Generator) -> np.ndarray:
    """Smooth coloured patches."""
    small = rng.integers(0, 256, (6, 10, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))


def make_mini(root: Path, superpixels: bool = True, suffix: str = ".jpg") -> Path:
    """Write the data set; returns the info file. The superpixel store is ``root / "slic"``."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(3):
        lidar = f"cloud{number}.pcd.bin"
        points = points_of(rng)
        _bytes(root / "samples/LIDAR_TOP" / lidar, points.tobytes())
        labels = (np.arange(len(points)) % 32).astype(np.uint8)
        _bytes(root / "lidarseg/v1.0-mini" / f"labels{number}.bin", labels.tobytes())
        frames.append(
            {
                "token": f"token{number}",
                "scene_name": "scene-0001",
                "lidar_points": {"lidar_path": lidar, "num_pts_feats": 5},
                "pts_semantic_mask_path": f"labels{number}.bin",
                "images": {
                    camera: _image(root, rng, camera, index, f"{camera}_{number}", suffix)
                    for index, camera in enumerate(CAMERAS)
                },
            }
        )
    path = root / "infos.pkl"
    metainfo = {"dataset": "nuscenes", "version": "v1.0-mini", "info_version": "1.1"}
    write_infos(path, metainfo, frames, {}, str(root))
    if superpixels:
        make_superpixels(path, root, root / "slic", segments=20)
    return path


def _image(root: Path, rng, camera: str, index: int, name: str, suffix: str) -> dict:
    image = image_of(rng)
    folder = root / "samples" / camera
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}{suffix}"), image[..., ::-1])
    return {
        "img_path": f"{name}{suffix}",
        "cam2img": [[50.0, 0.0, 49.3], [0.0, 50.0, 30.1], [0.0, 0.0, 1.0]],
        "lidar2cam": lidar_to_camera(index).tolist(),
        "sample_data_token": f"sd_{name}",
        "height": HEIGHT,
        "width": WIDTH,
        "superpixels_path": f"sd_{name}.png",
    }


def _bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
