# SPDX-License-Identifier: Apache-2.0
"""Calibration and poses of a vehicle of one's own, checked when they are read.

The form of the files is that of the tutorial, ``docs/tutorials/own_vehicle.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.frames import make_transform
from lidistill.geometry.plausible import (
    MAX_CLOCK,
    MAX_MAP_METRES,
    MAX_METRES,
    intrinsics_fault,
    quaternion_fault,
    shift_fault,
    transform_fault,
)
from lidistill.io import DataError, fields, image_size, read_json, read_points, read_text
from lidistill.io.records import SIZE, Rule, Schema, matrix

_COLUMNS = Rule("a whole number from 3", lambda value: SIZE.test(value) and value >= 3)
_PIXELS = Rule(
    "two whole numbers, width and height",
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(SIZE.test, value)),
)
_LIDAR: Schema = {"vehicle_from_lidar": matrix((4, 4)), "columns": _COLUMNS}
_CAMERA: Schema = {
    "vehicle_from_camera": matrix((4, 4)),
    "intrinsics": matrix((3, 3)),
    "size": _PIXELS,
}
_POSE = "time, x, y, z, qx, qy, qz, qw"


def read_rig(path: Path) -> dict[str, Any]:
    """Reads ``calibration.json``.

    Raises:
        DataError: A key is missing, or its value cannot be what it stands for; names file, sensor,
            key and value.
    """
    fix = "see docs/tutorials/own_vehicle.md, The folder."
    rig = fields(read_json(path, fix), {"lidar": dict, "cameras": dict}, path, fix=fix)
    fields(rig["lidar"], _LIDAR, path, "lidar", fix)
    _check(rig["lidar"], {"vehicle_from_lidar": transform_fault}, path, "lidar")
    for name, camera in rig["cameras"].items():
        fields(camera, _CAMERA, path, name, fix)
        faults = {"vehicle_from_camera": transform_fault, "intrinsics": intrinsics_fault}
        _check(camera, faults, path, name)
    return rig


def read_poses(path: Path) -> NDArray[np.float64]:
    """Reads ``poses.csv``.

    Returns:
        (P, 8) time, x, y, z in metres, qx, qy, qz, qw; at least two rows in the order of time.

    Raises:
        DataError: A row is no pose; names file and row.
    """
    text = read_text(path)
    try:
        poses = np.loadtxt(StringIO(text), delimiter=",", ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise _poses_error(path, f"Expected rows of numbers, {_POSE}: {error}.") from error
    if poses.ndim != 2 or poses.shape[1] != 8 or len(poses) < 2:
        raise _poses_error(
            path, f"Expected two or more rows of {_POSE}; got an array of shape {poses.shape}."
        )
    for row, pose in enumerate(poses.tolist(), start=1):
        fault = quaternion_fault(pose[4:]) or shift_fault(pose[1:4], MAX_MAP_METRES)
        if fault is None and not 0 <= pose[0] < MAX_CLOCK:
            fault = f"expected a time from 0, got {pose[0]:g}"
        if fault:
            raise _poses_error(path, f"Row {row}: {fault}.")
    late = np.flatnonzero(~(np.diff(poses[:, 0]) > 0))
    if len(late):
        one, two = poses[late[0], 0], poses[late[0] + 1, 0]
        raise _poses_error(
            path, f"Expected rows in the order of time, but row {late[0] + 2} has {two:.0f} "
            f"after {one:.0f}.",
        )  # fmt: skip
    jump = np.abs(np.diff(poses[:, 1:4], axis=0)).max(axis=1)
    if jump.max() > MAX_METRES:
        row = int(jump.argmax()) + 2
        raise _poses_error(path, f"Row {row} is {jump.max():g} m away from the row before it.")
    return poses


def pose_at(time: float, poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """world_from_vehicle (4, 4) at a time between two rows: places linear, turns spherical.

    Args:
        time: Of a sweep or an image.
        poses: (P, 8) as :func:`read_poses` gives them.

    Raises:
        DataError: The time is before the first row or after the last.
    """
    from scipy.spatial.transform import Rotation, Slerp

    if not poses[0, 0] <= time <= poses[-1, 0]:
        raise DataError(
            f"Expected poses around {time:.0f}, but poses.csv has the range {poses[0, 0]:.0f} to "
            f"{poses[-1, 0]:.0f}.",
            token=f"{time:.0f}",
            fix="add poses, or take away what was recorded before the first and after the last.",
        )
    after = int(np.clip(np.searchsorted(poses[:, 0], time), 1, len(poses) - 1))
    two = poses[after - 1 : after + 1]
    turn = Slerp(two[:, 0], Rotation.from_quat(two[:, 4:]))(time)
    place = [np.interp(time, two[:, 0], column) for column in two[:, 1:4].T]
    return make_transform(turn.as_matrix(), place)


def check_files(rig: Mapping[str, Any], sweep: Path, images: Mapping[str, Path]) -> None:
    """Looks into the first sweep and the first image of each camera of a drive.

    Args:
        rig: What :func:`read_rig` gave.
        sweep: A file of points.
        images: A file of each camera.

    Raises:
        DataError: The sweep does not hold so many columns as the rig says, or an image is not of
            the rig's size.
    """
    fix = "give 'columns' in calibration.json the number of float32 values a point."
    read_points(sweep, rig["lidar"]["columns"], fix=fix)
    for name, path in images.items():
        found, told = image_size(path), tuple(rig["cameras"][name]["size"])
        if found != told:
            raise DataError(
                f"Expected images of {name} of {told[0]} x {told[1]} pixels, as calibration.json "
                f"says, got {found[0]} x {found[1]}.",
                path=path,
                fix="give 'size' the images' size, and 'intrinsics' for that size.",
            )


def _check(record: Mapping[str, Any], faults: Mapping[str, Any], path: Path, sensor: str) -> None:
    for key, fault_of in faults.items():
        fault = fault_of(record[key])
        if fault:
            raise DataError(
                f"{key!r}: {fault}.",
                path=path,
                token=sensor,
                fix="mend it; matrices are target_from_source, in metres.",
            )


def _poses_error(path: Path, what: str) -> DataError:
    return DataError(
        what, path=path, fix="write world_from_vehicle, metres, one row a time, without a headline."
    )
