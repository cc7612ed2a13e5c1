# SPDX-License-Identifier: Apache-2.0
"""The left colour camera (number 2) of KITTI's sequences, as an info file's ``CAM2``.

The object benchmark writes a calibration a frame; the odometry benchmark (SemanticKITTI) one a
sequence, and the raw data one a day. All say the same: P2 and the rectified camera 0 from LiDAR.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.contents import Contents
from lidistill.converters.kitti.files import AGAIN, missing
from lidistill.converters.kitti.splits import IMAGE_SUFFIXES
from lidistill.geometry.frames import compose, make_transform
from lidistill.geometry.plausible import intrinsics_fault, rotation_fault, transform_fault
from lidistill.geometry.projection import project
from lidistill.io import DataError, image_size, read_text


@dataclass(frozen=True)
class SequenceCamera:
    """Camera 2 of a sequence.

    Attributes:
        projection: (3, 4) P2: pixels from the rectified frame of camera 0.
        rectified_from_lidar: (4, 4).
    """

    projection: NDArray[np.float64]
    rectified_from_lidar: NDArray[np.float64]

    def image(self, path: Path, name: str, token: str) -> dict[str, Any]:
        """An image's entry in an info file.

        Args:
            path: The file; its size is read.
            name: As the info file writes it, counted from the data root.
            token: Of the frame.
        """
        width, height = image_size(path, token)
        square = np.eye(4)
        square[:3] = self.projection
        return {
            "img_path": name,
            "height": height,
            "width": width,
            "cam2img": square.tolist(),
            "lidar2cam": self.rectified_from_lidar.tolist(),
            "lidar2img": (square @ self.rectified_from_lidar).tolist(),
            "sample_data_token": token,
            "superpixels_path": f"{token}.png",
        }

    def count(
        self, points: NDArray[np.floating], image: dict[str, Any], contents: Contents
    ) -> None:
        """Counts the points (N, 3+) before the camera and in an image of it (its entry)."""
        uv, depth = project(
            points[:, :3],
            compose(self._shift(), self.rectified_from_lidar),
            self.projection[:, :3],
        )
        ahead = depth > 0
        size = np.array([image["width"], image["height"]])
        inside = ahead & ((uv > 0) & (uv < size)).all(axis=1)
        contents.add_camera("CAM2", int(ahead.sum()), int(inside.sum()))

    def _shift(self) -> NDArray[np.float64]:
        return make_transform(
            np.eye(3), np.linalg.solve(self.projection[:, :3], self.projection[:, 3])
        )


def odometry_camera(calibration: Path, token: str) -> SequenceCamera:
    """Of a sequence's ``calib.txt`` (P0 to P3 and Tr).

    Raises:
        DataError: P2 or Tr is missing or cannot be meant.
    """
    found = _entries(calibration, token)
    projection = _matrix(found, "P2", (3, 4), calibration, token)
    transform = _matrix(found, "Tr", (3, 4), calibration, token)
    fault = intrinsics_fault(projection) or transform_fault(transform)
    if fault:
        raise DataError(f"P2 or Tr: {fault}.", path=calibration, token=token, fix=AGAIN)
    return SequenceCamera(projection, np.vstack([transform, [0, 0, 0, 1]]))


def raw_camera(day: Path, token: str) -> SequenceCamera:
    """Of a day's ``calib_cam_to_cam.txt`` and ``calib_velo_to_cam.txt``.

    Raises:
        DataError: A file or an entry is missing or cannot be meant.
    """
    cameras, lidar = day / "calib_cam_to_cam.txt", day / "calib_velo_to_cam.txt"
    found = _entries(cameras, token)
    projection = _matrix(found, "P_rect_02", (3, 4), cameras, token)
    rectification = _matrix(found, "R_rect_00", (3, 3), cameras, token)
    fault = intrinsics_fault(projection) or rotation_fault(rectification)
    if fault:
        raise DataError(f"P_rect_02 or R_rect_00: {fault}.", path=cameras, token=token, fix=AGAIN)
    rectified = make_transform(rectification, np.zeros(3))
    return SequenceCamera(projection, compose(rectified, raw_transform(lidar, token)))


def raw_transform(path: Path, token: str) -> NDArray[np.float64]:
    """(4, 4) of a raw calibration with lines ``R:`` and ``T:``: ``calib_velo_to_cam.txt`` and such.

    Raises:
        DataError: The file or a line is missing, or is no rigid motion.
    """
    found = _entries(path, token)
    shift = _matrix(found, "T", (3,), path, token)
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = _matrix(found, "R", (3, 3), path, token), shift
    fault = transform_fault(transform)
    if fault:
        raise DataError(f"R or T: {fault}.", path=path, token=token, fix=AGAIN)
    return transform


def image_files(folder: Path) -> dict[str, Path]:
    """Images of a folder by their names without suffix; empty where there is no such folder.

    Raises:
        DataError: A frame has two images.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        other = found.setdefault(path.stem, path)
        if other != path:
            raise DataError(
                f"Expected one image of this frame, got {other.name} and {path.name}.",
                path=folder,
                fix="keep the one that belongs to the scan.",
            )
    return found


def _entries(path: Path, token: str) -> dict[str, str]:
    if not path.is_file():
        raise missing("Calibration", path, token)
    found: dict[str, str] = {}
    for line in read_text(path, token).splitlines():
        name, colon, rest = line.partition(":")
        if colon and found.setdefault(name.strip(), rest) != rest:
            raise DataError(
                f"{name.strip()}: it is there twice.", path=path, token=token, fix=AGAIN
            )
    return found


def _matrix(
    found: dict[str, str], name: str, shape: tuple[int, ...], path: Path, token: str
) -> NDArray[np.float64]:
    if name not in found:
        raise DataError(
            f"Expected a line '{name}: ...', got {', '.join(found) or 'none'}.",
            path=path,
            token=token,
            fix=AGAIN,
        )
    try:
        values = np.array([float(word) for word in found[name].split()])
        return values.reshape(shape)
    except ValueError as error:
        count = int(np.prod(shape))
        raise DataError(
            f"{name}: expected {count} numbers: {error}.", path=path, token=token, fix=AGAIN
        ) from error
