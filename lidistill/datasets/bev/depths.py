# SPDX-License-Identifier: Apache-2.0
"""What the LiDAR knows of the depth of image cells, and whether it sees what the cameras see."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.cameras import Cameras
from lidistill.jit import njit
from lidistill.registry import TRANSFORMS

LOGGER = logging.getLogger("lidistill.cameras")


@TRANSFORMS.register_module()
class DepthTargets:
    """The nearest LiDAR point of each image cell: ``depth`` (N, h, w) metres, 0 where none fell.

    Stands behind AugmentImages, and before LoadCheckedSweeps where the sweeps' moving objects are
    to be left out; before or after AugmentBEV.

    Args:
        stride: pixels along a cell; that of the image features, or a divisor of it.
        min_depth, max_depth: metres along the optical axis.
        min_points: a camera that fewer points of the scan fall into is reported as a warning (the
            1st, 10th, 100th, ... time in each worker process): its calibration is likely wrong.

    Source: BEVDepth (2206.10092), section 3.1: min pooling of the projected points.
    """

    def __init__(
        self, stride: int = 16, min_depth: float = 1.0, max_depth: float = 60.0, min_points: int = 1
    ) -> None:
        self.stride, self.min_depth, self.max_depth = stride, min_depth, max_depth
        self.min_points, self.misses = min_points, 0

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``depth``.

        Raises:
            ValueError: images of unequal sizes, or none.
        """
        sizes = {image.shape[:2] for image in results.get("img", ())}
        if len(sizes) != 1 or any(side % self.stride for side in next(iter(sizes))):
            raise ValueError(
                f"DepthTargets needs images of one size that {self.stride} divides, got "
                f"{sorted(sizes)}; put LoadCameras and AugmentImages(size=...) before it"
            )
        height, width = next(iter(sizes))
        cameras = Cameras.of_samples([results])
        xyz = np.ascontiguousarray(results["points"].tensor[:, :3].numpy(), dtype=np.float32)
        results["depth"], hits = nearest_depths(
            xyz,
            cameras.image_from_lidar[0],
            (height, width),
            self.stride,
            (self.min_depth, self.max_depth),
        )
        results["depth"][~cameras.present[0]] = 0
        self._check(results, hits[cameras.present[0]], len(xyz))
        return results

    def _check(self, results: dict[str, Any], hits: NDArray[np.int64], points: int) -> None:
        if points == 0 or not len(hits) or hits.min() >= self.min_points:
            return
        self.misses += 1
        if str(self.misses).strip("0") != "1":
            return
        present = np.flatnonzero(results["cam_present"])
        names = [str(results.get("cam_names", range(99))[k]) for k in present]
        empty = [name for name, hit in zip(names, hits, strict=True) if hit < self.min_points]
        LOGGER.warning(
            "sample %s: of %d LiDAR points fewer than %d fall into %s: check lidar2cam and cam2img "
            "in the info file (run lidistill create_data again, or lidistill doctor); %d such "
            "samples so far",
            results.get("token") or results.get("sample_idx", "?"),
            points,
            self.min_points,
            ", ".join(empty),
            self.misses,
        )


def nearest_depths(
    xyz: NDArray[np.float32],
    image_from_lidar: NDArray[np.float64],
    image_hw: tuple[int, int],
    stride: int,
    depth_range: tuple[float, float],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Nearest depth in each cell of each image.

    Args:
        xyz: (P, 3) metres.
        image_from_lidar: (N, 4, 4).
        image_hw: rows and columns of every image.
        stride: pixels along a cell; divides both.
        depth_range: (low, high) metres.

    Returns:
        (N, h, w) float32 metres, 0 = none; and (N,) how many points fell into each image. Pixel
        edges are at -0.5 and W - 0.5.
    """
    cells = (len(image_from_lidar), image_hw[0] // stride, image_hw[1] // stride)
    depth = np.zeros(cells, np.float32)
    hits = np.zeros(len(image_from_lidar), np.int64)
    _nearest(xyz, image_from_lidar, stride, depth_range[0], depth_range[1], depth, hits)
    return depth, hits


@njit
def _nearest(xyz, matrices, stride, low, high, depth, hits):  # type: ignore[no-untyped-def]
    rows, columns = depth.shape[1], depth.shape[2]
    for camera in range(matrices.shape[0]):
        m = matrices[camera]
        for i in range(xyz.shape[0]):
            x, y, z = np.float64(xyz[i, 0]), np.float64(xyz[i, 1]), np.float64(xyz[i, 2])
            d = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
            if not (d >= low and d < high):
                continue
            u = ((m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) / d + 0.5) / stride
            v = ((m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) / d + 0.5) / stride
            if u < 0 or v < 0 or u >= columns or v >= rows:
                continue
            hits[camera] += 1
            row, column = int(v), int(u)
            if depth[camera, row, column] == 0 or d < depth[camera, row, column]:
                depth[camera, row, column] = d
