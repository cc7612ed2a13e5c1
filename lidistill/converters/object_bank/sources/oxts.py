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
PACKET = ("latitude", "longitude", "altitude", "roll", "pitch", "yaw")
LARGEST = (
    85.0,
    180.0,
    9000.0,
    2 * np.pi,
    2 * np.pi,
    4 * np.pi,
)  # Mercator's map ends at 85 degrees
LONGEST_STEP = 1000.0  # metres from one packet or pose to the next
TRAVEL = 5.0  # metres that tell along which axis a sensor moves
AGAIN = "extract this file again from its archive (one of your own: write it again), or leave it "
AGAIN += "out: then no object is fused in the world."
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


def read_packets(path: Path) -> NDArray[np.float64]:
    """(F, 6) latitude, longitude, altitude, roll, pitch, yaw: the first numbers of each line.

    Raises:
        DataError: as :func:`read_numbers`, or a number that no packet holds.
    """
    rows = read_numbers(path, len(PACKET))
    wrong = np.argwhere(np.abs(rows) > LARGEST)
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"Line {row + 1}, {PACKET[column]}: expected a number within {LARGEST[column]:g}, got "
            f"{rows[row, column]:g}.",
            path=path,
            fix="write degrees, metres and radians as KITTI's oxts/dataformat.txt says; " + AGAIN,
        )
    return rows


def packet_poses(rows: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    """:func:`oxts_poses` of packets that go on from one another.

    Args:
        rows: (F, 6).
        path: the file or folder they are from, for the error message.

    Raises:
        DataError: there is none, or two that follow one another are a kilometre apart.
    """
    if not len(rows):
        raise DataError("Expected GPS/IMU packets, got none.", path=path, fix=AGAIN)
    poses = oxts_poses(rows)
    _no_jump(poses, path)
    return poses


def _no_jump(poses: NDArray[np.float64], path: Path) -> None:
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    far = np.flatnonzero(steps > LONGEST_STEP)
    if len(far):
        raise DataError(
            f"Expected poses that go on from one another, but number {far[0] + 2} is "
            f"{steps[far[0]]:.0f} m from the one before.",
            path=path,
            fix=AGAIN,
        )


def _no_camera(poses: NDArray[np.float64], path: Path) -> None:
    """KITTI's odometry has poses of camera 0, which looks along z; a LiDAR's z points up."""
    steps = np.einsum("fji,fj->fi", poses[:-1, :3, :3], np.diff(poses[:, :3, 3], axis=0))
    x, y, z = np.abs(steps).sum(axis=0)
    if z > max(x + y, TRAVEL):
        raise DataError(
            f"Expected poses of the LiDAR, but over {z:.0f} m the sensor moves along its own z: "
            "they are a camera's.",
            path=path,
            fix="write inv(Tr) @ pose @ Tr instead, Tr (4, 4) from the LiDAR to that camera (Tr of "
            "calib.txt).",
        )


def read_numbers(path: Path, least: int) -> NDArray[np.float64]:
    """(F, least) numbers of a text file: row n of line n, more on a line are left out.

    Raises:
        DataError: the file is missing, holds words, rows of fewer than ``least`` numbers or of
            another number than the first, or an empty line before its end.
    """
    rows: list[list[float]] = []
    width = 0
    for number, line in enumerate(read_text(path).rstrip().splitlines(), start=1):
        try:
            values = [float(word) for word in line.split()]
            width = width or len(values)
            if len(values) < least or len(values) != width or not np.isfinite(values).all():
                raise ValueError(f"{len(values)} numbers, {width} in the first line")
        except ValueError as error:
            raise DataError(
                f"Line {number}: expected {least} numbers or more: {error}.", path=path, fix=AGAIN
            ) from error
        rows.append(values[:least])
    return np.array(rows).reshape(-1, least)


def read_poses(path: Path) -> NDArray[np.float64]:
    """(F, 4, 4) of lines of twelve numbers, ``first_from_lidar``.

    Raises:
        DataError: as :func:`read_numbers`, a line that is no pose, one a kilometre from the one
            before, or poses of a camera.
    """
    rows = read_numbers(path, 12)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3] = rows.reshape(-1, 3, 4)
    for number, pose in enumerate(poses, start=1):
        fault = transform_fault(pose, MAX_MAP_METRES)
        if fault:
            raise DataError(f"Line {number}: {fault}.", path=path, fix=AGAIN)
    _no_jump(poses, path)
    _no_camera(poses, path)
    return poses
