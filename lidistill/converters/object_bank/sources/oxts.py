# SPDX-License-Identifier: Apache-2.0
"""KITTI's GPS/IMU packets as poses, and poses from text files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.frames import invert, make_transform
from lidistill.geometry.plausible import transform_fault
from lidistill.io import DataError, read_text

EARTH_RADIUS = 6_378_137.0  # metres
AGAIN = "extract this file again from its archive, or leave it out: then no object is fused in "
AGAIN += "the world."
MAX_MAP_METRES = 1e5


def oxts_poses(packets: NDArray) -> NDArray[np.float64]:
    """Poses of the IMU in the frame of its first packet.

    Args:
        packets: (F, 6+) latitude, longitude (degrees), altitude (m), roll, pitch, yaw (radians).

    Returns:
        (F, 4, 4) ``first_from_imu``.

    Source: Geiger et al., "Vision meets robotics: the KITTI dataset", IJRR 2013, section III:
    Mercator projection, its scale that of the first latitude.
    """
    array = np.asarray(packets, dtype=np.float64)
    scale = np.cos(np.deg2rad(array[0, 0]))
    east = scale * EARTH_RADIUS * np.deg2rad(array[:, 1])
    north = scale * EARTH_RADIUS * np.log(np.tan(np.deg2rad(90.0 + array[:, 0]) / 2))
    poses = np.array(
        [
            make_transform(_rotation(*row[3:6]), [x, y, row[2]])
            for row, x, y in zip(array, east, north, strict=True)
        ]
    )
    return invert(poses[0]) @ poses


def _rotation(roll: float, pitch: float, yaw: float) -> NDArray[np.float64]:
    (cr, sr), (cp, sp), (cy, sy) = ((np.cos(a), np.sin(a)) for a in (roll, pitch, yaw))
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def read_numbers(path: Path, least: int) -> NDArray[np.float64]:
    """(F, W) numbers of a text file, one row a line.

    Raises:
        DataError: the file is missing, holds words, or rows of fewer than ``least`` numbers.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.split()]
            if len(values) < least or not np.isfinite(values).all():
                raise ValueError(f"{len(values)} numbers")
        except ValueError as error:
            raise DataError(
                f"Line {number}: expected {least} numbers or more: {error}.", path=path, fix=AGAIN
            ) from error
        rows.append(values[:least])
    return np.array(rows).reshape(-1, least)


def read_poses(path: Path) -> NDArray[np.float64]:
    """(F, 4, 4) of lines of twelve numbers, ``first_from_sensor``.

    Raises:
        DataError: as :func:`read_numbers`, or a line that is no pose.
    """
    rows = read_numbers(path, 12)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3] = rows.reshape(-1, 3, 4)
    for number, pose in enumerate(poses, start=1):
        fault = transform_fault(pose, MAX_MAP_METRES)
        if fault:
            raise DataError(f"Line {number}: {fault}.", path=path, fix=AGAIN)
    return poses
