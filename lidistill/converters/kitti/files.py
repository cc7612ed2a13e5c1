# SPDX-License-Identifier: Apache-2.0
"""KITTI's text files: calibration, labels and lists of frames, read with checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill.io import DataError

AGAIN = "extract this file again from KITTI's archive."
DONT_CARE = "DontCare"


class MissingFileError(DataError):
    """A file that a frame needs is not there."""


def missing(what: str, path: Path, token: str | None, first: str | None = None) -> MissingFileError:
    """Returns the error for a file that is not there; `first` is what to do before all else."""
    fix = first or "extract the archive that holds it into the data root"
    fix += "; or leave frames without all their files out with --skip-incomplete."
    return MissingFileError(f"{what} not found.", path=path, token=token, fix=fix)


@dataclass(frozen=True)
class Calibration:
    """One frame's calibration as 4x4 float64 matrices.

    Attributes:
        projections: P0..P3 (4, 4, 4): homogeneous pixels of each camera from the rectified frame
            of camera 0.
        rectification: (4, 4) R0_rect.
        camera_from_lidar: (4, 4) Tr_velo_to_cam, to camera 0 before rectification.
        lidar_from_imu: (4, 4) Tr_imu_to_velo, None when the file lacks it.
    """

    projections: NDArray[np.float64]
    rectification: NDArray[np.float64]
    camera_from_lidar: NDArray[np.float64]
    lidar_from_imu: NDArray[np.float64] | None

    @property
    def rectified_from_lidar(self) -> NDArray[np.float64]:
        """(4, 4): LiDAR points to the rectified frame in which labels are written."""
        return self.rectification @ self.camera_from_lidar


@dataclass(frozen=True)
class Labels:
    """One frame's labels, one row per line of the file.

    Attributes:
        names: Class names.
        truncated: (M,) share outside the image, -1 unknown.
        occluded: (M,) int 0..3, -1 unknown.
        alpha: (M,) observation angle, radians.
        bbox: (M, 4) x1 y1 x2 y2 pixels.
        size: (M, 3) length, height, width in metres.
        location: (M, 3) centre of the bottom face, rectified camera frame, metres.
        rotation_y: (M,) radians.
        score: (M,) detection score, 0 for ground truth.
    """

    names: tuple[str, ...]
    truncated: NDArray[np.float64]
    occluded: NDArray[np.int64]
    alpha: NDArray[np.float64]
    bbox: NDArray[np.float64]
    size: NDArray[np.float64]
    location: NDArray[np.float64]
    rotation_y: NDArray[np.float64]
    score: NDArray[np.float64]


def read_calibration(path: Path, token: str) -> Calibration:
    """Reads ``calib/<frame>.txt``; entries are found by name, in any order.

    Raises:
        DataError: The file is missing, or an entry is missing or has a wrong number of values.
    """
    found: dict[str, NDArray[np.float64]] = {}
    for number, line in enumerate(_lines(path, token), start=1):
        name, _, rest = line.partition(":")
        found[name.strip()] = np.array(_floats(rest.split(), path, token, number))
    lacking = {"P2", "R0_rect", "Tr_velo_to_cam"} - found.keys()
    if lacking:
        raise DataError(
            f"Expected a calibration with P2, R0_rect and Tr_velo_to_cam; {sorted(lacking)} "
            "is missing.",
            path=path,
            token=token,
            fix=AGAIN,
        )
    imu = found.get("Tr_imu_to_velo")
    return Calibration(
        np.stack([_square(found.get(f"P{i}", found["P2"]), path, token) for i in range(4)]),
        _square(found["R0_rect"], path, token),
        _square(found["Tr_velo_to_cam"], path, token),
        None if imu is None else _square(imu, path, token),
    )


def read_labels(path: Path, token: str) -> Labels:
    """Reads ``label_2/<frame>.txt``: 15 fields a line, 16 with a score.

    Raises:
        DataError: The file is missing or a line is not of that form; names the line.
    """
    names: list[str] = []
    rows: list[list[float]] = []
    for number, line in enumerate(_lines(path, token), start=1):
        fields = line.split()
        if len(fields) not in (15, 16):
            raise DataError(
                f"Line {number}: expected 15 fields (16 with a score), got {len(fields)}.",
                path=path,
                token=token,
                fix=AGAIN,
            )
        values = _floats(fields[1:], path, token, number)
        names.append(fields[0])
        rows.append(values if len(values) == 15 else [*values, 0.0])
    table = np.array(rows).reshape(-1, 15)
    return Labels(
        names=tuple(names),
        truncated=table[:, 0],
        occluded=table[:, 1].astype(np.int64),
        alpha=table[:, 2],
        bbox=table[:, 3:7],
        size=table[:, [9, 7, 8]],  # the file has height, width, length
        location=table[:, 10:13],
        rotation_y=table[:, 13],
        score=table[:, 14],
    )


def read_plane(path: Path, token: str) -> list[float]:
    """Reads ``planes/<frame>.txt``: the ground plane (4 numbers) in its fourth line."""
    lines = _lines(path, token)
    values = _floats(lines[3].split(), path, token, 4) if len(lines) > 3 else []
    if len(values) != 4:
        raise DataError(
            "Expected a plane: four numbers in the fourth line.", path=path, token=token, fix=AGAIN
        )
    return values


def read_frame_list(path: Path) -> list[int]:
    """Reads ``ImageSets/<split>.txt``: one frame number a line."""
    try:
        return [int(line) for line in _lines(path, None)]
    except ValueError as error:
        raise DataError(
            f"Expected one frame number a line: {error}.", path=path, fix="mend this list."
        ) from error


def _lines(path: Path, token: str | None) -> list[str]:
    if not path.is_file():
        raise missing("File", path, token)
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _floats(fields: list[str], path: Path, token: str | None, number: int) -> list[float]:
    try:
        return [float(field) for field in fields]
    except ValueError as error:
        raise DataError(
            f"Line {number}: expected numbers: {error}.", path=path, token=token, fix=AGAIN
        ) from error


def _square(values: NDArray[np.float64], path: Path, token: str) -> NDArray[np.float64]:
    if values.size not in (9, 12):
        raise DataError(
            f"Expected 9 or 12 values of a matrix, got {values.size}.",
            path=path,
            token=token,
            fix=AGAIN,
        )
    matrix = np.eye(4)
    matrix[:3, : values.size // 3] = values.reshape(3, -1)
    return matrix
