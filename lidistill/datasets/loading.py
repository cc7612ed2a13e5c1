# SPDX-License-Identifier: Apache-2.0
"""Transforms that fill a `Frame` from files: points, images, superpixels, labels, pairs, voxels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lidistill import io
from lidistill.datasets.frame import CameraView, Frame, VoxelSample
from lidistill.datasets.point_files import FIX_RAW, PointReader
from lidistill.geometry.projection import pair_points
from lidistill.geometry.voxels import CartesianVoxels, CylindricalVoxels
from lidistill.io.decode import decode_image, decode_labels
from lidistill.registry import TRANSFORMS

FIX_SUPERPIXELS = "run lidistill superpixels again with the same output folder: it fills the gaps."


@TRANSFORMS.register_module()
class LoadPoints:
    """Read the cloud of a frame.

    Args:
        nonfinite: Points with NaN or infinity are an ``"error"``, or ``"drop"`` leaves them out and
            counts them; see :class:`~lidistill.datasets.point_files.PointReader`.
    """

    def __init__(self, nonfinite: str = "error") -> None:
        self.read = PointReader(nonfinite)

    def __call__(self, frame: Frame) -> Frame:
        """Fill ``points`` (N, F) and ``point_index``."""
        frame.points, frame.point_index = self.read(
            frame.lidar_path, frame.num_point_features, frame.token
        )
        return frame


@TRANSFORMS.register_module()
class LoadPointLabels:
    """Read the raw class of each point: one byte a point, as in nuScenes-lidarseg."""

    def __call__(self, frame: Frame) -> Frame:
        """Fill ``point_labels`` (N,) uint8."""
        path = frame.labels_path
        # Path.is_file raises for a name longer than disks hold
        if path is None or not os.path.isfile(path):
            raise io.DataError(
                "No LiDAR segmentation labels for this frame"
                + (": the info file names none." if path is None else ": file not found."),
                path=path,
                token=frame.token,
                fix="probes and fine-tuning need labelled points: of nuScenes, extract the "
                "lidarseg part and run lidistill create_data again; pretraining needs none.",
            )
        labels = np.frombuffer(io.read_bytes(path, frame.token, FIX_RAW), dtype=np.uint8)
        expected = frame.lidar_path.stat().st_size // (4 * frame.num_point_features)
        if len(labels) != expected:
            raise io.DataError(
                f"Expected one label for each of {expected} points, got {len(labels)}.",
                path=path,
                token=frame.token,
                fix=FIX_RAW,
            )
        frame.point_labels = labels if frame.point_index is None else labels[frame.point_index]
        return frame


@TRANSFORMS.register_module()
class LoadImages:
    """Decode the image of each camera; its size must be the one in the info file."""

    def __call__(self, frame: Frame) -> Frame:
        """Fill ``image`` of each camera."""
        for camera in frame.cameras:
            image = decode_image(camera.image_path, frame.token, FIX_RAW)
            if image.shape[:2] != (camera.height, camera.width):
                raise io.DataError(
                    f"Expected an image of {camera.height} x {camera.width} pixels as in the info "
                    f"file, got {image.shape[0]} x {image.shape[1]}.",
                    path=camera.image_path,
                    token=frame.token,
                    fix="restore the original image, or make the info file again with the files' "
                    "sizes (lidistill create_data --restart, or your own script).",
                )
            _refuse_changed(camera, "LoadImages")
            camera.image = image
        return frame


def _refuse_changed(camera: CameraView, step: str) -> None:
    """A file is whole; pairs that were mirrored already would name other pixels of it."""
    of_file = camera.file_intrinsics
    if of_file is not None and not np.array_equal(camera.intrinsics, of_file):
        raise ValueError(
            f"{camera.name} was cropped, resized or mirrored already; put {step}() before the "
            "transforms that do so"
        )


@TRANSFORMS.register_module()
class LoadSuperpixels:
    """Read the superpixels of each camera from the store that the dataset names."""

    def __call__(self, frame: Frame) -> Frame:
        """Fill ``superpixels`` of each camera."""
        for camera in frame.cameras:
            if camera.superpixels_path is None:
                raise io.DataError(
                    f"No superpixel store for camera {camera.name}.",
                    token=frame.token,
                    fix="give superpixels_dir to the dataset; make one with lidistill superpixels.",
                )
            labels = decode_labels(camera.superpixels_path, frame.token, FIX_SUPERPIXELS)
            if labels.shape != (camera.height, camera.width):
                raise io.DataError(
                    f"Expected superpixels of {camera.height} x {camera.width} pixels like the "
                    f"image, got {labels.shape[0]} x {labels.shape[1]}.",
                    path=camera.superpixels_path,
                    token=frame.token,
                    fix="put LoadSuperpixels before crops and resizes; if it is, delete this file "
                    "and run lidistill superpixels again.",
                )
            _refuse_changed(camera, "LoadSuperpixels")
            camera.superpixels = labels
        return frame


@TRANSFORMS.register_module()
class PairPoints:
    """Pair points with the pixels of all cameras.

    Args:
        min_depth: Metres along the optical axis.
        occlusion: Drop points hidden behind much nearer ones.
        empty_camera: What to do when a camera sees no point: ``error``, because a wrong calibration
            is the usual cause, or ``keep``. No pair in any camera is always an error.
        compat: Round to whole pixels at once, as the authors do, and not after augmentation.

    Source: SLidR (2203.16258) section 3.1.
    """

    def __init__(
        self,
        min_depth: float = 1.0,
        occlusion: bool = False,
        empty_camera: str = "error",
        compat: bool = False,
    ) -> None:
        if empty_camera not in ("error", "keep"):
            raise ValueError(f"empty_camera: expected 'error' or 'keep', got {empty_camera!r}")
        self.min_depth, self.occlusion = min_depth, occlusion
        self.empty_camera, self.compat = empty_camera, compat

    def __call__(self, frame: Frame) -> Frame:
        """Fill ``pairs``."""
        cameras = frame.cameras
        pairs = pair_points(
            frame.points,
            np.stack([camera.camera_from_lidar for camera in cameras]),
            np.stack([camera.intrinsics for camera in cameras]),
            np.array([(camera.height, camera.width) for camera in cameras]),
            self.min_depth,
            self.occlusion,
        )
        empty = np.flatnonzero(pairs.counts(len(cameras)) == 0)
        if len(empty) == len(cameras) or (len(empty) and self.empty_camera == "error"):
            names = ", ".join(cameras[index].name for index in empty)
            raise io.DataError(
                f"None of {len(frame.points)} points falls into the image of: {names}.",
                path=frame.lidar_path,
                token=frame.token,
                fix="check the calibration (docs/tutorials/own_vehicle.md, Look before you train), "
                "then make the info file again (lidistill create_data, or your own script); if a "
                "camera may see nothing, use PairPoints(empty_camera='keep').",
            )
        frame.pairs = pairs.rounded() if self.compat else pairs
        return frame


@TRANSFORMS.register_module()
class Voxelize:
    """Quantize the cloud; pairs of points outside the grid are dropped, the points stay.

    Args:
        voxels: The grid, or its config.
        features: Input features, of ``x y z intensity rho``.
        reduce: ``first`` point of a voxel stands for it (SLidR), or ``mean`` of its points.
        intensity_scale: Factor on the intensity; 1 / 255 brings nuScenes to [0, 1].
    """

    def __init__(
        self,
        voxels: CartesianVoxels | CylindricalVoxels | dict[str, Any],
        features: Sequence[str] = ("intensity",),
        reduce: str = "first",
        intensity_scale: float = 1.0,
    ) -> None:
        known = ("x", "y", "z", "intensity", "rho")
        unknown = [name for name in features if name not in known]
        if unknown or not features:
            raise ValueError(f"features: expected some of {known}, got {tuple(features)}")
        if reduce not in ("first", "mean"):
            raise ValueError(f"reduce: expected 'first' or 'mean', got {reduce!r}")
        self.voxels = TRANSFORMS.build(dict(voxels)) if isinstance(voxels, dict) else voxels
        self.features, self.reduce = tuple(features), reduce
        self.intensity_scale = intensity_scale

    def __call__(self, frame: Frame) -> Frame:
        """Fill ``voxels``."""
        index = self.voxels.quantize(frame.points)
        if "intensity" in self.features and frame.points.shape[1] < 4:
            raise io.DataError(
                "The config wants an intensity (column 4 of the points), but the info file says "
                f"that this file has {frame.points.shape[1]} columns.",
                path=frame.lidar_path,
                token=frame.token,
                fix="leave 'intensity' out of Voxelize's features, or make the info file again "
                "with the right number of columns.",
            )
        values = np.stack([self._column(frame.points, name) for name in self.features], axis=1)
        features = index.first(values) if self.reduce == "first" else index.mean(values)
        frame.voxels = VoxelSample(
            index.coords, features, index.point_to_voxel, self.voxels.spatial_shape
        )
        if frame.pairs is not None:
            frame.pairs = frame.pairs.where(index.point_to_voxel[frame.pairs.point] >= 0)
        return frame

    def _column(self, points: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        if name == "rho":
            return np.hypot(points[:, 0], points[:, 1])
        if name == "intensity":
            return points[:, 3] * np.float32(self.intensity_scale)
        return points[:, "xyz".index(name)]


@TRANSFORMS.register_module()
class PackPairs:
    """Last transform: normalise the images of a frame and stack them as one tensor.

    Args:
        mean: Per channel RGB, in [0, 1]; the default is ImageNet's.
        std: Per channel RGB.
        placeholders: Fill ``images`` with NaN of the right size and load none: for teachers that
            are read from a cache (docs/teachers.md); leave ``LoadImages`` out then.
    """

    def __init__(
        self,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        placeholders: bool = False,
    ) -> None:
        self.mean, self.std, self.placeholders = tuple(mean), tuple(std), placeholders

    def __call__(self, frame: Frame) -> Frame:
        """Fill ``images`` (K, 3, H, W) float32 and drop the uint8 images."""
        sizes = {(camera.height, camera.width) for camera in frame.cameras}
        if self.placeholders and len(sizes) == 1:
            shape = (len(frame.cameras), 3, *next(iter(sizes)))
            frame.images = torch.full((1, 1, 1, 1), float("nan")).expand(shape)
            return frame
        images = [camera.image for camera in frame.cameras if camera.image is not None]
        if len(images) < len(frame.cameras) or len(sizes) != 1:
            raise ValueError(
                f"frame {frame.token}: expected loaded images of one size, got {len(images)} of "
                f"{len(frame.cameras)} loaded, sizes {sorted(sizes)}; put LoadImages() and "
                "ResizedCropImages() or ResizeImages() before PackPairs()"
            )
        stack = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        scale = 1.0 / (255.0 * torch.tensor(self.std))
        shift = -torch.tensor(self.mean) / torch.tensor(self.std)
        tensor = stack.to(torch.float32, memory_format=torch.contiguous_format)
        frame.images = tensor.mul_(scale[:, None, None]).add_(shift[:, None, None])
        for camera in frame.cameras:
            camera.image = None
        return frame
