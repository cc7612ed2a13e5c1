# SPDX-License-Identifier: Apache-2.0
"""One KITTI frame to an info in mmdet3d's v1.1 schema."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.boxes2d import image_boxes
from lidistill.converters.infos import KITTI_CLASSES
from lidistill.converters.kitti.files import (
    DONT_CARE,
    Calibration,
    Labels,
    missing,
    read_calibration,
    read_labels,
    read_plane,
)
from lidistill.converters.kitti.tracks import Origin
from lidistill.geometry.boxes import kitti_to_lidar_boxes, points_in_boxes
from lidistill.geometry.frames import apply_transform
from lidistill.io import image_size, point_count, read_points

Info = dict[str, Any]
NUM_FEATURES = 4  # x, y, z, reflectance: float32
FRUSTUM_DEPTH = (0.001, 100.0)  # metres: mmdet3d counts the points of boxes within these only
MIN_HEIGHT, MAX_OCCLUSION, MAX_TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.3, 0.5)


@dataclass(frozen=True)
class FrameOptions:
    """How frames are converted.

    Attributes:
        root: The data root.
        part: ``training`` or ``testing``.
        points: Folder of the point clouds: velodyne or velodyne_reduced.
        with_plane: Add the ground planes of ``planes/``.
    """

    root: Path
    part: str
    points: str = "velodyne"
    with_plane: bool = False

    def file(self, folder: str, frame: int, suffix: str) -> Path:
        """Returns the path of one of a frame's files."""
        return self.root / self.part / folder / f"{frame:06d}{suffix}"


def frame_info(frame: int, options: FrameOptions, origin: Origin | None = None) -> Info:
    """Returns the info of one frame.

    Args:
        frame: Its number.
        options: Where its files are.
        origin: Raw drive and tracks of a training frame, where known.

    Raises:
        DataError: A file is missing or damaged.
    """
    token = f"{options.part}_{frame:06d}"
    image = options.file("image_2", frame, ".png")
    if not image.is_file():
        raise missing("Image", image, token)
    width, height = image_size(image, token)
    calibration = read_calibration(options.file("calib", frame, ".txt"), token)
    cloud = _point_file(frame, options, token)
    info: Info = {
        "sample_idx": frame,
        "token": token,
        "images": _images(calibration, f"{frame:06d}.png", height, width, token),
        "lidar_points": {
            "num_pts_feats": NUM_FEATURES,
            "lidar_path": cloud.name,
            "Tr_velo_to_cam": calibration.camera_from_lidar.tolist(),
        },
        "instances": [],
        "cam_instances": {"CAM2": []},
    }
    if calibration.lidar_from_imu is not None:
        info["lidar_points"]["Tr_imu_to_velo"] = calibration.lidar_from_imu.tolist()
    if options.part == "testing":
        point_count(cloud, NUM_FEATURES, token)
        return info
    if options.with_plane:
        info["plane"] = read_plane(options.file("planes", frame, ".txt"), token)
    points = read_points(cloud, NUM_FEATURES, token)
    label_file = options.file("label_2", frame, ".txt")
    labels = read_labels(label_file, token)
    counts = _count_points(points, labels, calibration, (height, width))
    info["instances"] = _instances(labels, calibration.projections[2], counts)
    info["cam_instances"]["CAM2"] = _camera_instances(
        labels, calibration.projections[2], (height, width), counts
    )
    if origin is not None:
        info |= {"raw_drive": origin.drive, "raw_frame": origin.frame}
        tracks = origin.track_ids(labels, label_file, token)
        for instance, track in zip(info["instances"], tracks or (), strict=False):
            instance["track_id"] = track
    return info


def in_image(
    xyz: NDArray[np.floating], calibration: Calibration, image_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which LiDAR points (N, 3) camera 2 can see, within 100 m; (N,) bool.

    Source: mmdet3d, ``remove_outside_points``.
    """
    pixel_from_lidar = calibration.projections[2] @ calibration.rectified_from_lidar
    u, v, depth = apply_transform(pixel_from_lidar, xyz).T
    near, far = FRUSTUM_DEPTH
    inside = (depth > near) & (depth < far)
    inside &= (u > 0) & (u < image_hw[1] * depth) & (v > 0) & (v < image_hw[0] * depth)
    return np.asarray(inside)


def difficulty(
    bbox_height: NDArray[np.float64], occluded: NDArray[np.int64], truncated: NDArray[np.float64]
) -> NDArray[np.int64]:
    """KITTI's difficulty (M,): 0 easy, 1 moderate, 2 hard, -1 none of them."""
    result = np.full(len(bbox_height), -1)
    for level in (2, 1, 0):
        fits = (bbox_height > MIN_HEIGHT[level]) & (occluded <= MAX_OCCLUSION[level])
        result[fits & (truncated <= MAX_TRUNCATION[level])] = level
    return result


def _images(
    calibration: Calibration, name: str, height: int, width: int, token: str
) -> dict[str, Any]:
    rectified = calibration.rectified_from_lidar
    images: dict[str, Any] = {
        f"CAM{index}": {
            "cam2img": projection.tolist(),
            "lidar2img": (projection @ rectified).tolist(),
        }
        for index, projection in enumerate(calibration.projections)
    }
    images["CAM2"] |= {
        "img_path": name,
        "height": height,
        "width": width,
        "lidar2cam": rectified.tolist(),
        "sample_data_token": token,
        "superpixels_path": f"{token}.png",
    }
    images["R0_rect"] = calibration.rectification.tolist()
    return images


def _count_points(
    points: NDArray[np.float32],
    labels: Labels,
    calibration: Calibration,
    image_hw: tuple[int, int],
) -> NDArray[np.int64]:
    """Points in each box that camera 2 can see; -1 for DontCare, which has no box."""
    rows = np.concatenate(
        [labels.size[:, [1, 2, 0]], labels.location, labels.rotation_y[:, None]], axis=1
    )  # (M, 7) h w l x y z rotation_y
    boxes = kitti_to_lidar_boxes(rows, np.linalg.inv(calibration.rectified_from_lidar))
    seen = points[in_image(points[:, :3], calibration, image_hw), :3]
    counts = points_in_boxes(seen, boxes).sum(axis=0).astype(np.int64)
    counts[[name == DONT_CARE for name in labels.names]] = -1
    return counts


def _instances(
    labels: Labels, projection: NDArray[np.float64], counts: NDArray[np.int64]
) -> list[Info]:
    """Every label; ``bbox_3d``: bottom centre, length, height, width, rotation_y, camera frame."""
    pixels = _project_centers(labels, projection)
    levels = difficulty(labels.bbox[:, 3] - labels.bbox[:, 1], labels.occluded, labels.truncated)
    real = np.array([name != DONT_CARE for name in labels.names], dtype=bool)
    index = np.where(real, np.cumsum(real) - 1, -1)
    result = []
    for i, name in enumerate(labels.names):
        label = KITTI_CLASSES.index(name) if name in KITTI_CLASSES else -1
        result.append(
            {
                "bbox": labels.bbox[i].tolist(),
                "bbox_label": label,
                "bbox_3d": _box(labels, i),
                "bbox_label_3d": label,
                "depth": float(pixels[i, 2]),
                "center_2d": (pixels[i, :2] / pixels[i, 2]).tolist(),
                "num_lidar_pts": int(counts[i]),
                "difficulty": int(levels[i]),
                "truncated": float(labels.truncated[i]),
                "occluded": int(labels.occluded[i]),
                "alpha": float(labels.alpha[i]),
                "score": float(labels.score[i]),
                "index": int(index[i]),
                "group_id": i,
            }
        )
    return result


def _camera_instances(
    labels: Labels,
    projection: NDArray[np.float64],
    image_hw: tuple[int, int],
    counts: NDArray[np.int64],
) -> list[Info]:
    """Labels of the eight classes whose 3-D box shows in the image; ``bbox`` is its projection."""
    rectangles, inside = image_boxes(_corners(labels), projection, image_hw[1], image_hw[0])
    pixels = _project_centers(labels, projection)
    result = []
    for i, name in enumerate(labels.names):
        known = name in KITTI_CLASSES and 0 <= labels.occluded[i] <= 3
        if not (known and inside[i] and pixels[i, 2] > 0):
            continue
        label = KITTI_CLASSES.index(name)
        result.append(
            {
                "bbox_label": label,
                "bbox_label_3d": label,
                "bbox": rectangles[i].tolist(),
                "bbox_3d_isvalid": True,
                "bbox_3d": _box(labels, i),
                "velocity": -1,  # KITTI has none; mmdet3d marks it so
                "center_2d": (pixels[i, :2] / pixels[i, 2]).tolist(),
                "depth": float(pixels[i, 2]),
                "num_lidar_pts": int(counts[i]),
            }
        )
    return result


def _box(labels: Labels, index: int) -> list[float]:
    return [
        *labels.location[index].tolist(),
        *labels.size[index].tolist(),
        float(labels.rotation_y[index]),
    ]


def _project_centers(labels: Labels, projection: NDArray[np.float64]) -> NDArray[np.float64]:
    """Homogeneous pixels (M, 3) of the box centres; the third value is the depth."""
    centers = labels.location - [0.0, 0.5, 0.0] * labels.size
    return apply_transform(projection, centers)


def _corners(labels: Labels) -> NDArray[np.float64]:
    """(M, 8, 3) in the rectified camera frame; rotation_y turns from x towards -z."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-2, 0) for z in (-1, 1)])
    local = signs[None] * labels.size[:, None] / 2  # y runs down: the box stands above its location
    cos, sin = np.cos(labels.rotation_y)[:, None], np.sin(labels.rotation_y)[:, None]
    x, y, z = np.moveaxis(local, -1, 0)
    turned = np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=-1)
    return np.asarray(turned + labels.location[:, None])


def _point_file(frame: int, options: FrameOptions, token: str) -> Path:
    path = options.file(options.points, frame, ".bin")
    if path.is_file():
        return path
    error = missing("Point cloud", path, token)
    reduced = options.file("velodyne_reduced", frame, ".bin")
    if options.points == "velodyne" and reduced.is_file():
        error = missing(
            "Point cloud", path, token, "velodyne_reduced/ has it: --points velodyne_reduced"
        )
    raise error
