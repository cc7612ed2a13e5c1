# SPDX-License-Identifier: Apache-2.0
"""Poses of SemanticKITTI's scans, from its two text files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.frames import compose, invert
from lidistill.geometry.plausible import MAX_METRES, transform_fault
from lidistill.io import DataError, read_text

AGAIN = "mend this file; of a data set's archive: extract it again. Without poses.txt: no poses."
MAX_MAP_METRES = 100_000.0  # a drive's length


def lidar_poses(folder: Path, scans: int) -> NDArray[np.float64] | None:
    """Returns the pose of each scan in the LiDAR frame of the sequence's first one.

    ``poses.txt`` gives camera 0 in the frame of its first image, ``calib.txt`` (``Tr``) camera 0
    from LiDAR.

    Args:
        folder: Of the sequence.
        scans: How many there are.

    Returns:
        (scans, 4, 4) float64, or None where one of the two files is not there.

    Raises:
        DataError: A file is damaged, has another number of poses, or one that is no pose.
    """
    poses, calibration = folder / "poses.txt", folder / "calib.txt"
    for path in (poses, calibration):
        if path.exists() and not path.is_file():
            raise DataError("Expected a text file, got a folder.", path=path, fix=AGAIN)
    if not (poses.is_file() and calibration.is_file()):
        return None
    lines = _lines(calibration)
    found = [(n, text.partition(":")[2]) for n, text in lines if text.split(":")[0].strip() == "Tr"]
    if len(found) != 1:
        raise DataError(
            f"Expected one line 'Tr: ...', got {len(found)}.", path=calibration, fix=AGAIN
        )
    camera_from_lidar = _matrices(found, calibration, MAX_METRES)[0]
    rows = _lines(poses)
    if len(rows) != scans:
        raise DataError(
            f"Expected one pose for each of {scans} scans, got {len(rows)}.", path=poses, fix=AGAIN
        )
    lidar_from_camera = invert(camera_from_lidar)
    cameras = _matrices(rows, poses, MAX_MAP_METRES)
    return np.stack([compose(lidar_from_camera, pose, camera_from_lidar) for pose in cameras])


def _lines(path: Path) -> list[tuple[int, str]]:
    lines = enumerate(read_text(path).splitlines(), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def _matrices(
    rows: Sequence[tuple[int, str]], path: Path, max_metres: float
) -> NDArray[np.float64]:
    """(R, 4, 4) of numbered lines of twelve numbers."""
    result = np.tile(np.eye(4), (len(rows), 1, 1))
    for index, (number, row) in enumerate(rows):
        try:
            result[index, :3] = np.array([float(value) for value in row.split()]).reshape(3, 4)
        except ValueError as error:
            raise DataError(
                f"Line {number}: expected twelve numbers: {error}.", path=path, fix=AGAIN
            ) from error
        fault = transform_fault(result[index], max_metres)
        if fault is None and index and math.isfinite(max_metres):
            step = float(np.abs(result[index, :3, 3] - result[index - 1, :3, 3]).max())
            if step > MAX_METRES:
                fault = f"expected scans within {MAX_METRES:g} m of the one before, got {step:g} m"
        if fault:
            raise DataError(f"Line {number}: {fault}.", path=path, fix=AGAIN)
    return result
