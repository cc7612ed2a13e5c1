# SPDX-License-Identifier: Apache-2.0
"""Point clouds: the one reader, which also looks whether what it read can be a cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lidistill.io.clouds import cloud_fault, header_fault
from lidistill.io.errors import FILE_AGAIN, DataError, PathLike, missing_file, read_bytes

NonFinite = Literal["error", "drop", "keep"]
DROP_LINE = (
    "python -c \"import sys, numpy; p = numpy.fromfile(sys.argv[1], '<f4').reshape(-1, {width}); "
    'p[numpy.isfinite(p).all(1)].tofile(sys.argv[2])" OLD NEW'
)
HEAD_BYTES = 1 << 16
MAX_FEATURES = 64


def read_points(
    path: PathLike,
    num_features: int,
    token: str | None = None,
    fix: str | None = None,
    nonfinite: NonFinite = "error",
) -> NDArray[np.float32]:
    """Reads a point cloud stored as raw little-endian float32.

    Args:
        path: The file (nuScenes ``.pcd.bin``, KITTI ``.bin``).
        num_features: Values per point: 5 for nuScenes, 4 for KITTI.
        token: Sample token for the error message.
        fix: What to do when the file is missing or cut, for the error message.
        nonfinite: What to do with points that hold NaN or infinity.

    Returns:
        Points (N, num_features) float32: x, y, z in metres in the LiDAR frame, then the rest.

    Raises:
        DataError: The file is missing, empty, begins with another format's header, its size is no
            whole number of points, its values are no cloud of that many columns (doubles, another
            width, kilometres away), or some are not finite.
    """
    data = read_bytes(path, token, fix)
    _no_header(path, data, token)
    _whole_points(path, len(data), num_features, token, fix)
    points = np.frombuffer(data, dtype="<f4").reshape(-1, num_features).astype(np.float32)
    _is_cloud(path, points, token)
    if nonfinite == "error":
        return finite_points(points, path, token)
    return points[finite_rows(points)] if nonfinite == "drop" else points


def point_count(
    path: PathLike, num_features: int, token: str | None = None, fix: str | None = None
) -> int:
    """Returns how many points a file holds by its size; only its beginning is read and checked.

    Raises:
        DataError: As :func:`read_points`, but values that are not finite pass.
    """
    source = Path(path)
    if not source.is_file():
        raise missing_file(source, token, fix)
    with source.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    _no_header(path, head, token)
    count = _whole_points(source, source.stat().st_size, num_features, token, fix)
    values = np.frombuffer(head[: len(head) // 4 * 4], dtype="<f4")
    whole = len(values) // num_features * num_features
    _is_cloud(path, values[:whole].reshape(-1, num_features), token)
    return count


def finite_rows(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which points (N, F) hold finite values only; (N,) bool."""
    # the sum is not finite if a value is not, and one pass over it costs least
    if np.isfinite(points.sum(dtype=np.float64)):
        return np.ones(len(points), dtype=bool)
    return np.asarray(np.isfinite(points).all(axis=1))


def finite_points(
    points: NDArray[np.float32], path: PathLike, token: str | None = None
) -> NDArray[np.float32]:
    """Returns the points (N, F) unchanged, after a check that all their values are finite.

    Raises:
        DataError: Some are NaN or infinite; says how many and the first one's index.
    """
    bad = ~finite_rows(points)
    if bad.any():
        raise DataError(
            f"Expected finite values, but {int(bad.sum())} of {len(points)} points hold NaN or "
            f"infinity, the first at index {int(bad.argmax())}.",
            path=path,
            token=token,
            fix="extract this file again from its archive, or remove those points: "
            + DROP_LINE.format(width=points.shape[1])
            + " (in training, nonfinite='drop' of the transform that loads points leaves them out "
            "and counts them).",
        )
    return points


def _no_header(path: PathLike, data: bytes, token: str | None) -> None:
    fault = header_fault(data[:256])
    if fault is not None:
        what, fix = fault
        raise DataError(
            f"Expected a point cloud of raw float32 values, got {what}.",
            path=path,
            token=token,
            fix=fix,
        )


def _whole_points(
    path: PathLike, size: int, num_features: int, token: str | None, fix: str | None
) -> int:
    if not 3 <= num_features <= MAX_FEATURES:
        raise DataError(
            f"Expected 3 to {MAX_FEATURES} values a point (x, y, z, ...), got {num_features}.",
            path=path,
            token=token,
            fix="correct the number of columns (num_pts_feats of the info file).",
        )
    one = 4 * num_features
    if size == 0 or size % one:
        raise DataError(
            f"Expected a point cloud of {num_features} float32 values per point ({one} bytes), "
            f"got {size} bytes: the file is cut, or has another number of values per point.",
            path=path,
            token=token,
            fix=fix
            or f"{FILE_AGAIN} Points of another width: give their number of columns "
            "(--columns, or num_pts_feats of the info file).",
        )
    return size // one


def _is_cloud(path: PathLike, points: NDArray[np.float32], token: str | None) -> None:
    fault = cloud_fault(points)
    if fault is not None:
        raise DataError(
            f"Expected a point cloud of {points.shape[1]} float32 values per point (x, y, z in "
            f"metres, ...), but {fault}.",
            path=path,
            token=token,
            fix="give the right number of columns to lidistill create_data (its --help), or write "
            "the points as little-endian float32, x y z in metres as the sensor sees them.",
        )
