# SPDX-License-Identifier: Apache-2.0
"""KITTI's text files: calibration, labels and planes, read with checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.plausible import (
    MAX_BOX_METRES,
    MAX_METRES,
    MAX_PIXELS,
    finite_fault,
    intrinsics_fault,
    rotation_fault,
    transform_fault,
)
from lidistill.io import DataError, read_text

AGAIN = "mend this file; if it is KITTI's own, extract it again from its archive."
DONT_CARE = "DontCare"
UNKNOWN_ALPHA = -10.0
UNKNOWN_BOX = (-1.0, -1.0, -1.0, -1000.0, -1000.0, -1000.0)  # height width length x y z
LABEL_FIELDS = (
    *("truncated", "occluded", "alpha", "x1", "y1", "x2", "y2", "height", "width", "length"),
    *("x", "y", "z", "rotation_y", "score"),
)
MEND_LABEL = (
    "write one object a line: class (one word) truncated occluded alpha x1 y1 x2 y2 height width "
    "length x y z rotation_y, split by blanks, numbers with a decimal point; " + AGAIN
)
_TRACKING_WORDS = {  # what the tracking benchmark calls them
    "R_rect": "R0_rect",
    "Tr_velo_cam": "Tr_velo_to_cam",
    "Tr_imu_velo": "Tr_imu_to_velo",
}
_PROJECTIONS = ("P0", "P1", "P2", "P3")
_TRANSFORMS = ("Tr_velo_to_cam", "Tr_imu_to_velo")
_TURN = 2 * np.pi + 0.01


class MissingFileError(DataError):
    """A file that a frame needs is not there."""

    def or_skip(self) -> MissingFileError:
        """Of a converter that can leave such frames out."""
        fix = f"{self.fix}; or leave frames without all their files out with --skip-incomplete."
        return MissingFileError(self.what, path=self.path, token=self.token, fix=fix)


def missing(what: str, path: Path, token: str | None, first: str | None = None) -> MissingFileError:
    """Returns the error for a file that is not there; `first` is what to do before all else."""
    fix = first or "put it there (of KITTI: extract the archive that holds it), or correct the root"
    return MissingFileError(f"{what} not found.", path=path, token=token, fix=fix)


@dataclass(frozen=True)
class Calibration:
    """One frame's calibration as 4x4 float64 matrices.

    Attributes:
        projections: number of a camera (0..3) -> (4, 4): its homogeneous pixels from the rectified
            frame of camera 0; only those that the file has.
        rectification: (4, 4) R0_rect.
        camera_from_lidar: (4, 4) Tr_velo_to_cam, to camera 0 before rectification.
        lidar_from_imu: (4, 4) Tr_imu_to_velo, None when the file lacks it.
    """

    projections: dict[int, NDArray[np.float64]]
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
        alpha: (M,) observation angle, radians; -10 unknown.
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

    @property
    def table(self) -> NDArray[np.float64]:
        """(M, 15) numbers in the file's order, score last."""
        size = self.size[:, [1, 2, 0]]
        columns = [self.truncated, self.occluded, self.alpha, self.bbox, size, self.location]
        return np.column_stack([*columns, self.rotation_y, self.score])


def read_calibration(path: Path, token: str, with_camera: bool = True) -> Calibration:
    """Reads ``calib/<frame>.txt``; entries are found by name, in any order.

    The tracking benchmark's names (``R_rect``, ``Tr_velo_cam``, ``Tr_imu_velo``) are taken too.

    Args:
        path: The file.
        token: Of the sample, for the error message.
        with_camera: Whether P2 must be there.

    Raises:
        DataError: The file is missing, or an entry is missing, has a wrong number of values, or is
            no rotation, transform or camera matrix.
    """
    found: dict[str, NDArray[np.float64]] = {}
    for number, line in text_lines(path, token):
        written, _, rest = line.replace(":", " ", 1).partition(" ")
        name = _TRACKING_WORDS.get(written, written)
        if name not in (*_PROJECTIONS, "R0_rect", *_TRANSFORMS):
            continue
        values = numbers(rest.split(), [written] * len(rest.split()), path, token, number, AGAIN)
        fault = "it is there twice" if name in found else _matrix_fault(name, np.array(values))
        if fault:
            raise DataError(
                f"Line {number}, {written}: {fault}.", path=path, token=token, fix=AGAIN
            )
        found[name] = _square(np.array(values))
    needed = ["R0_rect", "Tr_velo_to_cam", *(["P2"] if with_camera else [])]
    lacking = [name for name in needed if name not in found]
    if lacking:
        raise DataError(
            f"Expected a calibration with {', '.join(needed)}; {', '.join(lacking)} is missing.",
            path=path,
            token=token,
            fix=AGAIN,
        )
    return Calibration(
        {i: found[name] for i, name in enumerate(_PROJECTIONS) if name in found},
        found["R0_rect"],
        found["Tr_velo_to_cam"],
        found.get("Tr_imu_to_velo"),
    )


def _matrix_fault(name: str, values: NDArray[np.float64]) -> str | None:
    wanted = (9, 12) if name == "R0_rect" else (12,)
    if values.size not in wanted:
        return f"expected {' or '.join(map(str, wanted))} values, got {values.size}"
    matrix = values.reshape(3, -1)
    if name in _PROJECTIONS:
        return intrinsics_fault(matrix)
    if name in _TRANSFORMS:
        return transform_fault(matrix)
    if matrix.shape[1] == 4 and matrix[:, 3].any():
        return f"expected a rotation with a last column of 0, got {matrix[:, 3].tolist()}"
    return rotation_fault(matrix[:, :3])


def read_labels(path: Path, token: str, unknown_boxes: bool = False) -> Labels:
    """Reads ``label_2/<frame>.txt``: 15 fields a line, or 16 with a score.

    Args:
        path: The file.
        token: Of the sample, for the error message.
        unknown_boxes: Whether objects may be without a box in space: size -1, place -1000.

    Raises:
        DataError: The file is missing, or a line is not of that form or cannot be meant; names the
            line and the field.
    """
    names: list[str] = []
    rows: list[list[float]] = []
    width = 0
    for number, line in text_lines(path, token):
        fields = line.split()
        width = width or len(fields)
        if len(fields) != width and len(fields) in (15, 16):
            raise DataError(
                f"Line {number}: expected {width} fields as in the first line, got {len(fields)}.",
                path=path,
                token=token,
                fix="give every line a score (a 16th field), or none of them; " + MEND_LABEL,
            )
        if len(fields) not in (15, 16) or _is_two_words(fields):
            raise DataError(
                f"Line {number}: expected 15 fields (16 with a score), got {len(fields)}"
                + (f", of which {fields[1]!r} is a word" if _is_two_words(fields) else "")
                + ".",
                path=path,
                token=token,
                fix=MEND_LABEL,
            )
        values = numbers(fields[1:], LABEL_FIELDS, path, token, number, MEND_LABEL)
        values = values if len(values) == 15 else [*values, 0.0]
        placed = not (unknown_boxes and tuple(values[7:13]) == UNKNOWN_BOX)
        fault = label_fault(fields[0], values, placed)
        if fault:
            raise DataError(f"Line {number}, {fault}.", path=path, token=token, fix=MEND_LABEL)
        names.append(fields[0])
        rows.append(values)
    return labels_of(names, np.array(rows).reshape(-1, 15))


def labels_of(names: Sequence[str], table: NDArray[np.float64]) -> Labels:
    """Labels from their class names and the (M, 15) numbers in the file's order, score last."""
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


def _is_two_words(fields: Sequence[str]) -> bool:
    return len(fields) > 1 and fields[1][:1].isalpha() and fields[1].lower() not in ("nan", "inf")


def label_fault(name: str, values: Sequence[float], placed: bool = True) -> str | None:
    """What cannot be meant in one line, ``field: why``; a DontCare has a rectangle only.

    Args:
        name: class.
        values: of :data:`LABEL_FIELDS`, the score may be left out.
        placed: whether there is a box in space to look at.
    """
    for field, value in zip(LABEL_FIELDS, values, strict=False):
        fault = finite_fault(value)
        if fault:
            return f"{field}: {fault}"
    truncated, occluded, alpha, x1, y1, x2, y2, *sizes = values[:10]
    checks = [
        (("x2", x2), x2 >= x1, f"at least x1 = {x1:g}"),
        (("y2", y2), y2 >= y1, f"at least y1 = {y1:g}"),
    ]
    if not is_dont_care(name):
        checks += [
            (("truncated", truncated), 0 <= truncated <= 1 or truncated == -1, "0 to 1, or -1"),
            (("occluded", occluded), occluded in (-1, 0, 1, 2, 3), "0, 1, 2 or 3, or -1"),
            (
                ("alpha", alpha),
                abs(alpha) <= _TURN or alpha == UNKNOWN_ALPHA,
                "radians, or -10 where it is unknown",
            ),
        ]
    if placed and not is_dont_care(name):
        checks += [
            ((field, size), 0 <= size < MAX_BOX_METRES, f"0 to {MAX_BOX_METRES:g} m")
            for field, size in zip(LABEL_FIELDS[7:10], sizes, strict=True)
        ]
        checks += [
            ((field, place), abs(place) <= MAX_METRES, f"a place within {MAX_METRES:g} m")
            for field, place in zip(LABEL_FIELDS[10:13], values[10:13], strict=True)
        ]
        checks.append((("rotation_y", values[13]), abs(values[13]) <= _TURN, "radians"))
    checks += [
        ((field, value), abs(value) <= MAX_PIXELS, f"a number within {MAX_PIXELS:g}")
        for field, value in zip(LABEL_FIELDS, values, strict=False)
    ]
    for (field, value), fine, wanted in checks:
        if not fine:
            return f"{field}: expected {wanted}, got {value:g}"
    return None


def is_dont_care(name: str) -> bool:
    """Whether a class name is KITTI's DontCare, in any case."""
    return name.lower() == DONT_CARE.lower()


def read_plane(path: Path, token: str) -> list[float]:
    """Reads ``planes/<frame>.txt``: the ground plane (4 numbers) in its fourth line.

    Raises:
        DataError: The file is missing, or that line holds no plane: a normal of length 1 and a
            distance within a kilometre.
    """
    lines = text_lines(path, token)
    fields = lines[3][1].split() if len(lines) > 3 else []
    values = numbers(fields, ["plane"] * len(fields), path, token, 4, AGAIN)
    fault = None if len(values) == 4 else f"got {len(values)}"
    if fault is None:
        length = float(np.linalg.norm(values[:3]))
        fine = finite_fault(values) is None and abs(length - 1) < 0.1
        fine = fine and abs(values[3]) <= MAX_METRES
        fault = None if fine else f"got {values}, a normal of length {length:g}"
    if fault:
        raise DataError(
            f"Expected a plane: four numbers in the fourth line; {fault}.",
            path=path,
            token=token,
            fix=AGAIN,
        )
    return values


def text_lines(path: Path, token: str | None) -> list[tuple[int, str]]:
    """Number and text of each line that is not blank."""
    if not path.is_file():
        raise missing("File", path, token)
    lines = enumerate(read_text(path, token).splitlines(), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def numbers(
    fields: Sequence[str],
    names: Sequence[str],
    path: Path,
    token: str | None,
    number: int,
    fix: str,
) -> list[float]:
    """Fields of one line as numbers; one that is none raises an error with its name."""
    values = []
    for field, name in zip(fields, names, strict=False):
        try:
            values.append(float(field))
        except ValueError as error:
            raise DataError(
                f"Line {number}, {name}: expected a number, got {field[:40]!r}.",
                path=path,
                token=token,
                fix=fix,
            ) from error
    return values


def _square(values: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, : values.size // 3] = values.reshape(3, -1)
    return matrix
