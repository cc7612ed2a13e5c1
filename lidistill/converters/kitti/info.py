# SPDX-License-Identifier: Apache-2.0
"""One KITTI frame to an info in mmdet3d's v1.1 schema."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.contents import Contents
from lidistill.converters.kitti.classes import ClassTable
from lidistill.converters.kitti.files import (
    DONT_CARE,
    Calibration,
    Labels,
    missing,
    read_calibration,
    read_labels,
    read_plane,
)
from lidistill.converters.kitti.instances import camera_instances, instances
from lidistill.converters.kitti.splits import IMAGE_SUFFIXES
from lidistill.converters.kitti.tracks import Origin
from lidistill.geometry.boxes import kitti_to_lidar_boxes, points_in_boxes
from lidistill.geometry.frames import apply_transform
from lidistill.io import DataError, finite_points, image_size, point_count, read_points

Info = dict[str, Any]
NUM_FEATURES = 4  # x, y, z, reflectance: float32
COLUMNS = ("x", "y", "z", "reflectance")
FRUSTUM_DEPTH = (0.001, 100.0)  # metres: mmdet3d counts the points of boxes within these only


@dataclass(frozen=True)
class FrameOptions:
    """How frames are converted.

    Attributes:
        root: The data root.
        part: ``training`` or ``testing``.
        points: Folder of the point clouds: velodyne or velodyne_reduced.
        with_plane: Add the ground planes of ``planes/``.
        columns: float32 values a point.
        with_images: False for a data set of LiDAR alone.
        classes: What is taught, and at which index.
        unlabelled: Training frames that need no labels.
    """

    root: Path
    part: str
    points: str = "velodyne"
    with_plane: bool = False
    columns: int = NUM_FEATURES
    with_images: bool = True
    classes: ClassTable = field(default_factory=ClassTable)
    unlabelled: frozenset[str] = frozenset()

    def file(self, folder: str, frame: str, suffix: str) -> Path:
        """Returns the path of one of a frame's files."""
        return self.root / self.part / folder / f"{frame}{suffix}"

    def image(self, frame: str, token: str) -> Path:
        """Returns a frame's image: a PNG or a JPEG, whichever is there.

        Raises:
            DataError: None is there, or more than one.
        """
        paths = [self.file("image_2", frame, suffix) for suffix in IMAGE_SUFFIXES]
        there = [path for path in paths if path.is_file()]
        if len(there) == 1:
            return there[0]
        if not there:
            raise missing(f"Image ({', '.join(IMAGE_SUFFIXES)})", paths[0], token)
        raise DataError(
            f"Expected one image of this frame, got {' and '.join(p.name for p in there)}.",
            path=there[0].parent,
            token=token,
            fix="keep the one that belongs to the scan.",
        )


def frame_info(
    frame: str,
    options: FrameOptions,
    origin: Origin | None = None,
    number: int = 0,
    read: bool = True,
) -> tuple[Info, Contents]:
    """Returns the info of one frame, and what is in it.

    Args:
        frame: Its files' name.
        options: Where its files are.
        origin: Raw drive and tracks of a training frame, where known.
        number: Its ``sample_idx``.
        read: Whether to read the points of a frame without labels, too.

    Raises:
        DataError: A file is missing or damaged.
    """
    token = f"{options.part}_{frame}"
    image = options.image(frame, token) if options.with_images else None
    image_hw = None if image is None else image_size(image, token)[::-1]
    calibration = read_calibration(
        options.file("calib", frame, ".txt"), token, with_camera=image is not None
    )
    cloud = _point_file(frame, options, token)
    info: Info = {
        "sample_idx": number,
        "token": token,
        "images": _images(calibration, image, image_hw, token),
        "lidar_points": {
            "num_pts_feats": options.columns,
            "lidar_path": cloud.name,
            "Tr_velo_to_cam": calibration.camera_from_lidar.tolist(),
        },
        "instances": [],
        "cam_instances": {"CAM2": []},
    }
    if calibration.lidar_from_imu is not None:
        info["lidar_points"]["Tr_imu_to_velo"] = calibration.lidar_from_imu.tolist()
    contents = Contents(options.classes.taught)
    if options.part == "testing" and not read:
        contents.add_frame(point_count(cloud, options.columns, token))
        return info, contents
    points = finite_points(read_points(cloud, options.columns, token), cloud, token)
    contents.add_frame(len(points), points, COLUMNS)
    seen = _seen(points[:, :3], calibration, image_hw, contents)
    if options.part == "testing":
        return info, contents
    if origin is not None:
        info |= {"raw_drive": origin.drive, "raw_frame": origin.frame}
    if frame in options.unlabelled:
        return info, contents
    if options.with_plane:
        info["plane"] = read_plane(options.file("planes", frame, ".txt"), token)
    label_file = options.file("label_2", frame, ".txt")
    written = read_labels(label_file, token)
    labels = _named(written, options.classes)
    counts = _count_points(seen, labels, calibration)
    projection = calibration.projections.get(2)
    info["instances"] = instances(labels, projection, counts, options.classes, image_hw)
    info["cam_instances"]["CAM2"] = camera_instances(
        labels, projection, counts, options.classes, image_hw
    )
    _add_boxes(contents, labels, counts, options.classes)
    if origin is not None:
        tracks = origin.track_ids(written, label_file, token)
        for instance, track in zip(info["instances"], tracks or (), strict=False):
            instance["track_id"] = track
    return info, contents


def _named(labels: Labels, classes: ClassTable) -> Labels:
    """The labels with names as KITTI, or the list of classes, spells them."""
    return replace(labels, names=tuple(map(classes.spelled, labels.names)))


def _seen(
    xyz: NDArray[np.float32],
    calibration: Calibration,
    image_hw: tuple[int, int] | None,
    contents: Contents,
) -> NDArray[np.float32]:
    """The points that camera 2 can see; all of them where there is no image."""
    if image_hw is None:
        return xyz
    inside = in_image(xyz, calibration, image_hw)
    depth = apply_transform(calibration.rectified_from_lidar, xyz)[:, 2]
    contents.add_camera("CAM2", int((depth > FRUSTUM_DEPTH[0]).sum()), int(inside.sum()))
    return xyz[inside]


def _add_boxes(
    contents: Contents, labels: Labels, counts: NDArray[np.int64], classes: ClassTable
) -> None:
    rows = [i for i, name in enumerate(labels.names) if name != DONT_CARE]
    names = [labels.names[i] for i in rows]
    taught = [name if classes.label(name) >= 0 else None for name in names]
    distances = np.hypot(labels.location[rows, 0], labels.location[rows, 2])
    contents.add_boxes(names, taught, counts[rows], labels.size[rows], distances)


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


def _images(
    calibration: Calibration, image: Path | None, image_hw: tuple[int, int] | None, token: str
) -> dict[str, Any]:
    """Cameras that the calibration has; camera 2 stands for the labels' frame in any case."""
    rectified = calibration.rectified_from_lidar
    images: dict[str, Any] = {
        f"CAM{index}": {
            "cam2img": projection.tolist(),
            "lidar2img": (projection @ rectified).tolist(),
        }
        for index, projection in calibration.projections.items()
    }
    camera = images.setdefault("CAM2", {})
    if image is not None and image_hw is not None:
        camera |= {"img_path": image.name, "height": image_hw[0], "width": image_hw[1]}
    camera["lidar2cam"] = rectified.tolist()
    if image is not None:
        camera |= {"sample_data_token": token, "superpixels_path": f"{token}.png"}
    images["R0_rect"] = calibration.rectification.tolist()
    return images


def _count_points(
    seen: NDArray[np.float32], labels: Labels, calibration: Calibration
) -> NDArray[np.int64]:
    """Points in each box that camera 2 can see; -1 for DontCare, which has no box."""
    rows = np.concatenate(
        [labels.size[:, [1, 2, 0]], labels.location, labels.rotation_y[:, None]], axis=1
    )  # (M, 7) h w l x y z rotation_y
    boxes = kitti_to_lidar_boxes(rows, np.linalg.inv(calibration.rectified_from_lidar))
    counts = points_in_boxes(seen, boxes).sum(axis=0).astype(np.int64)
    counts[[name == DONT_CARE for name in labels.names]] = -1
    return counts


def _point_file(frame: str, options: FrameOptions, token: str) -> Path:
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
