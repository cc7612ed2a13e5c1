# SPDX-License-Identifier: Apache-2.0
"""Point clouds, images and label maps: readers that check what they read."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lidistill.io.atomic import atomic_write
from lidistill.io.errors import DataError, PathLike, missing_file, read_bytes

NO_REGION = 65535
"""Label of a pixel that belongs to no region, in files and arrays of 16 bits."""


def read_points(
    path: PathLike, num_features: int, token: str | None = None, fix: str | None = None
) -> NDArray[np.float32]:
    """Reads a point cloud stored as raw little-endian float32.

    Args:
        path: The file (nuScenes ``.pcd.bin``, KITTI ``.bin``).
        num_features: Values per point: 5 for nuScenes, 4 for KITTI.
        token: Sample token for the error message.
        fix: What to do when the file is missing or cut, for the error message.

    Returns:
        Points (N, num_features) float32: x, y, z in metres in the LiDAR frame, then the rest.

    Raises:
        DataError: The file is missing, empty, or its size is no whole number of points.
    """
    data = read_bytes(path, token, fix)
    _whole_points(path, len(data), num_features, token, fix)
    return np.frombuffer(data, dtype="<f4").reshape(-1, num_features).astype(np.float32)


def point_count(
    path: PathLike, num_features: int, token: str | None = None, fix: str | None = None
) -> int:
    """Returns how many points a file holds by its size, without reading it.

    Raises:
        DataError: As :func:`read_points`.
    """
    source = Path(path)
    if not source.is_file():
        raise missing_file(source, token, fix)
    return _whole_points(source, source.stat().st_size, num_features, token, fix)


def _whole_points(
    path: PathLike, size: int, num_features: int, token: str | None, fix: str | None
) -> int:
    one = 4 * num_features
    if size == 0 or size % one:
        raise DataError(
            f"Expected a point cloud of {num_features} float32 values per point ({one} bytes), "
            f"got {size} bytes: the file is cut, or has another number of values per point.",
            path=path,
            token=token,
            fix=fix or "extract this file again from the dataset's archive.",
        )
    return size // one


def finite_points(
    points: NDArray[np.float32], path: PathLike, token: str | None = None
) -> NDArray[np.float32]:
    """Returns the points (N, F) unchanged, after a check that all their values are finite.

    Raises:
        DataError: Some are NaN or infinite; says how many and the first one's index.
    """
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        raise DataError(
            f"Expected finite values, but {int(bad.sum())} of {len(points)} points hold NaN or "
            f"infinity, the first at index {int(bad.argmax())}.",
            path=path,
            token=token,
            fix="extract this file again from the dataset's archive, or remove those points.",
        )
    return points


def read_image(
    path: PathLike, token: str | None = None, fix: str | None = None
) -> NDArray[np.uint8]:
    """Reads an image as (H, W, 3) uint8 RGB.

    Raises:
        DataError: The file is missing, cut or no image.
    """
    return np.asarray(_decode(path, token, fix, mode="RGB"), dtype=np.uint8).copy()


def image_size(path: PathLike, token: str | None = None, fix: str | None = None) -> tuple[int, int]:
    """Returns (width, height) from an image's header.

    Raises:
        DataError: The file is missing or no image.
    """
    source = Path(path)
    if not source.is_file():
        raise missing_file(source, token, fix)
    try:
        with Image.open(source) as image:
            return image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"Expected an image, but it does not open: {error}.",
            path=path,
            token=token,
            fix=fix or "extract this file again from the dataset's archive.",
        ) from error


def read_label_map(
    path: PathLike, token: str | None = None, fix: str | None = None
) -> NDArray[np.int32]:
    """Reads a label map (superpixels, segmentation) stored as a PNG of 8 or 16 bits.

    Returns:
        Labels (H, W) int32.

    Raises:
        DataError: The file is missing, cut, or not a single-channel image.
    """
    labels = np.asarray(_decode(path, token, fix, mode=None))
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise DataError(
            f"Expected a single-channel label map, got shape {labels.shape} {labels.dtype}.",
            path=path,
            token=token,
            fix=fix,
        )
    return labels.astype(np.int32)


def write_label_map(path: PathLike, labels: NDArray[np.integer]) -> None:
    """Writes labels (H, W) in 0..65535 as a 16-bit PNG, atomically.

    Raises:
        ValueError: The array is not 2-D integer or a label does not fit in 16 bits.
    """
    array = np.asarray(labels)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise ValueError(
            f"labels: expected (H, W) integers, got shape {array.shape} {array.dtype}."
        )
    if array.size and (array.min() < 0 or array.max() > 65535):
        raise ValueError(
            f"labels: expected values in 0..65535 (16 bits), got {array.min()}..{array.max()}."
        )
    with atomic_write(path) as temporary:
        Image.fromarray(np.ascontiguousarray(array, dtype=np.uint16)).save(temporary, format="PNG")


def _decode(path: PathLike, token: str | None, fix: str | None, mode: str | None) -> Any:
    data = read_bytes(path, token, fix)
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
            return image.convert(mode) if mode else image.copy()
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"Expected an image, but it does not decode: {error}.",
            path=path,
            token=token,
            fix=fix or "extract or make this file again.",
        ) from error
