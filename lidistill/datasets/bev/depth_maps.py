# SPDX-License-Identifier: Apache-2.0
"""Depth maps of images: the LiDAR's points in pixels, filled up or not, on disk as KITTI's are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from lidistill import io
from lidistill.converters.info_paths import frame_token
from lidistill.datasets.bev.depths import nearest_depths
from lidistill.registry import TRANSFORMS

STEPS = 256.0
"""Of a metre, in KITTI's PNG of 16 bits; 0 is unknown."""
MAX_DEPTH = 65535 / STEPS
_MADE_OF = "made of"
FIX = "make the maps with: lidistill depth_maps INFO_FILE --root DATA_ROOT --out FOLDER"
_FAR = 300.0  # metres, beyond all depths: near ones become large, so that dilation keeps them
_DIAMOND = np.array(
    [[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]], np.uint8
)


def sparse_depth(
    xyz: NDArray[np.float32], image_from_lidar: NDArray, image_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Depth of the nearest point in each pixel.

    Args:
        xyz: (P, 3) metres, LiDAR frame.
        image_from_lidar: (4, 4) to (u d, v d, d, 1); its fourth column whole, as in KITTI's P2.
        image_hw: rows and columns.

    Returns:
        (H, W) metres along the optical axis; 0 where no point fell.
    """
    matrix = np.asarray(image_from_lidar, dtype=np.float64)[None]
    depth, _ = nearest_depths(xyz, matrix, image_hw, 1, (0.1, MAX_DEPTH))
    return depth[0]


def dense_depth(sparse: NDArray[np.float32], large: int = 31) -> NDArray[np.float32]:
    """Fills the holes of a sparse map by morphology; near surfaces win over far ones.

    Args:
        sparse: (H, W) metres, 0 = unknown.
        large: pixels, odd; holes up to this size are filled from around them.

    Returns:
        (H, W) metres; 0 above the highest measurement of a column.

    Source: Ku, Harakeh and Waslander, "In Defense of Classical Image Processing: Fast Depth
        Completion on the CPU" (1802.00036), section III.
    """
    known = sparse > 0
    points = np.where(known, _FAR - sparse, 0).astype(np.float32)
    wide = cv2.morphologyEx(
        cv2.dilate(points, _DIAMOND), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)
    )
    near = _filled(np.asarray(wide, dtype=np.float32), 7)
    top = np.where(known.any(axis=0), known.argmax(axis=0), len(sparse))  # (W,) first known row
    below = np.arange(len(sparse))[:, None] >= top - 2  # the diamond reaches two rows up
    near = np.where(below, _filled(near, large), near).astype(np.float32)
    smooth = cv2.medianBlur(near, 5)
    near = np.where((near > 0) & (smooth > 0), smooth, near).astype(np.float32)
    filled = np.where((near > 0) & below, _FAR - near, 0).astype(np.float32)
    return np.where(known, sparse, filled)


def write_depth(path: Path, depth: NDArray[np.float32], made_of: str = "") -> None:
    """Writes a map as a PNG of 16 bits, 1/256 m a step, atomically; `made_of` into its header."""
    steps = np.rint(np.clip(depth, 0, MAX_DEPTH) * STEPS).astype(np.uint16)
    header = PngImagePlugin.PngInfo()
    header.add_text(_MADE_OF, made_of)
    with io.atomic_write(path) as temporary:
        Image.fromarray(steps).save(temporary, pnginfo=header)


def made_of(path: Path) -> str | None:
    """What a map says that it was made of; None where there is none, or one that says nothing."""
    try:
        with Image.open(path) as image:
            return image.info.get(_MADE_OF)
    except (OSError, SyntaxError, ValueError):  # damaged: to be made again
        return None


def read_depth(path: Path, token: str | None = None) -> NDArray[np.float32]:
    """Reads a map, (H, W) metres, 0 = unknown.

    Raises:
        DataError: The file is missing, damaged, or no image of 16 bits with one channel.
    """
    data = io.image_bytes(path, token, FIX, labels=True)
    steps = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if steps is None or steps.dtype != np.uint16 or steps.ndim != 2:
        got = "no image" if steps is None else f"{steps.dtype} {steps.shape}"
        raise io.DataError(
            f"Expected a depth map (PNG, 16 bits, one channel), got {got}.",
            path=path,
            token=token,
            fix=FIX,
        )
    return np.asarray(steps / STEPS, dtype=np.float32)


@TRANSFORMS.register_module()
class LoadDepthMaps:
    """Read depth maps of the cameras and pool them to image cells: ``depth`` (N, h, w) metres.

    Stands behind LoadCameras, AugmentImages and FlipView, and follows what they did to the images.
    In place of DepthTargets, which sees the scan's own points.

    Args:
        folder: of ``<token>.png``, made by ``lidistill depth_maps``; of several cameras
            ``<camera>/<token>.png``.
        stride: pixels along a cell; divides the images' sides.
        missing: ``"error"``, or ``"unknown"``: a frame without a map has no depth.

    Source: MonoTAKD's and CaDDN's releases: the mean of the known depths in each cell.
    """

    def __init__(self, folder: str, stride: int = 8, missing: str = "error") -> None:
        if missing not in ("error", "unknown"):
            raise ValueError(f"missing: expected 'error' or 'unknown', got {missing!r}")
        self.folder, self.stride, self.missing = Path(folder), stride, missing

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``depth``.

        Raises:
            DataError: a map that is missing, damaged, or of another size than its image was.
        """
        names = tuple(results["cam_names"])
        maps = []
        for k, name in enumerate(names):
            rows, columns = results["img"][k].shape[:2]
            path = depth_path(self.folder, frame_token(results), name, len(names) > 1)
            if self.missing == "unknown" and not path.is_file():
                maps.append(np.zeros((rows // self.stride, columns // self.stride), np.float32))
                continue
            affine, given = results["img_aug_matrix"][k][:2, :3], read_depth(path, path.stem)
            _same_size(given, results.get("images", {}).get(name, {}), path)
            moved = cv2.warpAffine(given, affine, (columns, rows), flags=cv2.INTER_NEAREST)
            maps.append(mean_of_cells(np.asarray(moved, dtype=np.float32), self.stride))
        results["depth"] = np.stack(maps)
        return results


def _same_size(depth: NDArray[np.float32], image: Mapping[str, Any], path: Path) -> None:
    wanted = image.get("height", len(depth)), image.get("width", depth.shape[1])
    if depth.shape != wanted:
        raise io.DataError(
            f"Expected a depth map of {wanted[1]} x {wanted[0]} pixels like its image, got "
            f"{depth.shape[1]} x {len(depth)}.",
            path=path,
            token=path.stem,
            fix=FIX,
        )


def depth_path(folder: Path, token: str, camera: str, several: bool) -> Path:
    """Where a map lies."""
    return folder / camera / f"{token}.png" if several else folder / f"{token}.png"


def mean_of_cells(depth: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Mean of the known depths in each cell: (H // stride, W // stride), 0 where none is known."""
    rows, columns = (side // stride for side in depth.shape)
    cells = depth[: rows * stride, : columns * stride].reshape(rows, stride, columns, stride)
    known = (cells > 0).sum(axis=(1, 3))
    return np.asarray(cells.sum(axis=(1, 3)) / np.maximum(known, 1), dtype=np.float32)


def _filled(near: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Holes take the nearest surface within a square."""
    wide = cv2.dilate(near, np.ones((size, size), np.uint8))
    return np.where(near > 0, near, wide).astype(np.float32)
