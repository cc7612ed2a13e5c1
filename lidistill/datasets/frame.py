# SPDX-License-Identifier: Apache-2.0
"""One sample as the transforms see it (`Frame`) and a batch as models see it (`PairBatch`)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lidistill.geometry.correspondence import Pairs


@dataclass
class CameraView:
    """One camera of a frame. ``LoadImages`` and ``LoadSuperpixels`` fill the arrays.

    The matrices always belong to the *current* image and cloud: transforms that crop, resize or
    flip the image, or turn the cloud, update them. So projecting ``frame.points`` with them gives
    the pixels of ``frame.pairs``, before and after augmentation.

    Attributes:
        name: e.g. ``CAM_FRONT``.
        token: Sample-data token; names the superpixel file.
        camera_from_lidar: (4, 4) float64, camera x right, y down, z forward.
        intrinsics: (3, 3) float64.
        height: Rows of the current image.
        width: Columns of the current image.
        image_path: JPEG or PNG file.
        superpixels_path: 16-bit PNG file, or None without a store.
        image: (H, W, 3) uint8 RGB once loaded.
        superpixels: (H, W) uint16 labels from 0 once loaded; 65535 stands for no region.
        file_intrinsics: (3, 3) of the image as it lies on disk.
        file_size: (H, W) of the image as it lies on disk.
    """

    name: str
    token: str
    camera_from_lidar: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    height: int
    width: int
    image_path: Path
    superpixels_path: Path | None = None
    image: NDArray[np.uint8] | None = None
    superpixels: NDArray[np.integer] | None = None
    file_intrinsics: NDArray[np.float64] | None = None
    file_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.file_intrinsics is None:
            self.file_intrinsics = np.array(self.intrinsics, dtype=np.float64)
        if self.file_size is None:
            self.file_size = (self.height, self.width)

    def image_from_file(self) -> NDArray[np.float64]:
        """(3, 3) map of pixels (u, v, 1) of the file to those of the current image."""
        of_file = self.intrinsics if self.file_intrinsics is None else self.file_intrinsics
        return self.intrinsics @ np.linalg.inv(of_file)


@dataclass
class VoxelSample:
    """Voxels of one cloud.

    Attributes:
        coords: (V, 3) int32 (z, y, x), unique, contiguous; cylindrical grids: (z, phi, rho).
        features: (V, F') float32.
        point_to_voxel: (N,) int64, -1 for points outside the grid.
        spatial_shape: Cells along (z, y, x).
    """

    coords: NDArray[np.int32]
    features: NDArray[np.float32]
    point_to_voxel: NDArray[np.int64]
    spatial_shape: tuple[int, int, int]


@dataclass
class Frame:
    """One LiDAR sweep and its cameras.

    Attributes:
        token: Sample token.
        scene: Scene name, or "" where the dataset has none.
        lidar_path: Point file.
        num_point_features: Columns of the point file.
        labels_path: LiDAR segmentation file (uint8 per point), or None.
        rng: The only source of randomness for transforms.
        points: (N, F) float32, xyz metres in the LiDAR frame, then intensity...; at first empty.
        cameras: One view a camera.
        pairs: Point-pixel pairs, once made.
        point_labels: (N,) uint8 raw dataset classes, or None.
        point_index: (N,) int64 row of each point in the file (points may be dropped).
        voxels: Filled by `Voxelize`.
        images: (K, 3, H, W) float32 normalised, filled by `PackPairs`.
    """

    token: str
    scene: str
    lidar_path: Path
    num_point_features: int
    labels_path: Path | None
    rng: np.random.Generator
    points: NDArray[np.float32]
    cameras: list[CameraView] = field(default_factory=list)
    pairs: Pairs | None = None
    point_labels: NDArray[np.uint8] | None = None
    point_index: NDArray[np.int64] | None = None
    voxels: VoxelSample | None = None
    images: Tensor | None = None

    def need_pairs(self) -> Pairs:
        """The pairs, or an error that names the transform that makes them."""
        if self.pairs is None:
            raise ValueError(f"frame {self.token} has no pairs yet; put PairPoints() before")
        return self.pairs

    def keep_points(self, keep: NDArray[np.bool_]) -> None:
        """Cut the cloud, its labels, its index and its pairs to the points marked True (N,).

        Raises:
            ValueError: the frame has voxels, which name the points as they were.
        """
        self.refuse_voxels()
        self.points = self.points[keep]
        if self.point_labels is not None:
            self.point_labels = self.point_labels[keep]
        if self.point_index is not None:
            self.point_index = self.point_index[keep]
        if self.pairs is not None:
            self.pairs = self.pairs.drop_points(keep)

    def refuse_voxels(self) -> None:
        """Points are cut and moved before they are put into voxels."""
        if self.voxels is not None:
            raise ValueError(
                f"frame {self.token} has voxels already; put Voxelize() behind the transforms that "
                "drop or move points"
            )

    def refuse_packed(self) -> None:
        """Images are changed before they are packed."""
        if self.images is not None:
            raise ValueError(
                f"the images of frame {self.token} are packed already; put PackPairs() behind the "
                "transforms that change them"
            )


@dataclass
class PairBatch:
    """Frames collated for a model: one concatenated cloud, one image stack, one list of pairs.

    Attributes:
        points: (N, F) float32 of all frames, in frame order.
        point_batch: (N,) int64 frame of each point.
        voxel_coords: (V, 4) int32 contiguous (batch, z, y, x).
        voxel_features: (V, F') float32.
        spatial_shape: Cells along (z, y, x).
        point_to_voxel: (N,) int64 row of the voxel tensors, -1 for points outside the grid; never
            -1 for a point in a pair.
        images: (B*K, 3, H, W) float32 normalised; frame after frame.
        image_batch: (B*K,) int64 frame of each image.
        superpixels: (B*K, H, W) int64 labels from 0 in each image, -1 = no region; or None.
        pair_point: (P,) int64 row of ``points``.
        pair_image: (P,) int64 row of ``images``.
        pair_rowcol: (P, 2) int64 (row, column) of the nearest pixel, inside the image.
        pair_uv: (P, 2) float32 (u, v) sub-pixel, integers are pixel centres.
        point_labels: (N,) uint8 raw dataset classes, or None.
        tokens: Sample token of each frame.
        batch_size: Number of frames B.
        image_tokens: Token of each image, B*K, or None.
        image_from_file: (B*K, 3, 3) float64 pixel (u, v, 1) of the image from that of its file.
        file_size: (B*K, 2) int64 rows and columns of the files.
    """

    points: Tensor
    point_batch: Tensor
    voxel_coords: Tensor
    voxel_features: Tensor
    spatial_shape: tuple[int, int, int]
    point_to_voxel: Tensor
    images: Tensor
    image_batch: Tensor
    superpixels: Tensor | None
    pair_point: Tensor
    pair_image: Tensor
    pair_rowcol: Tensor
    pair_uv: Tensor
    point_labels: Tensor | None
    tokens: list[str]
    batch_size: int
    image_tokens: list[str] | None = None
    image_from_file: Tensor | None = None
    file_size: Tensor | None = None

    def _map(self, name: str, *args: Any, **kwargs: Any) -> PairBatch:
        changed = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Tensor):
                changed[entry.name] = getattr(value, name)(*args, **kwargs)
        return replace(self, **changed)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PairBatch:
        """The same batch with all tensors on ``device``."""
        return self._map("to", device, non_blocking=non_blocking)

    def pin_memory(self) -> PairBatch:
        """The same batch in page-locked memory (called by the DataLoader)."""
        return self._map("pin_memory")
