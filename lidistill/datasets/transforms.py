# SPDX-License-Identifier: Apache-2.0
"""Augmentations of a `Frame`: points, pixels, pairs, superpixels and matrices move together.

All randomness comes from ``frame.rng``. Pixels are kept sub-pixel, integers are pixel centres.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lidistill.datasets.frame import CameraView, Frame
from lidistill.datasets.loading import (
    LoadImages,
    LoadPointLabels,
    LoadPoints,
    LoadSuperpixels,
    PackPairs,
    PairPoints,
    Voxelize,
)
from lidistill.geometry.correspondence import (
    Pairs,
    crop_resize_affine,
    flip_affine,
    resize_labels,
)
from lidistill.geometry.frames import apply_transform, compose, invert, mirror, rotation_about_z
from lidistill.registry import TRANSFORMS

__all__ = [
    "DropCuboid",
    "FlipImages",
    "KeepPairedPoints",
    "LoadImages",
    "LoadPointLabels",
    "LoadPoints",
    "LoadSuperpixels",
    "PackPairs",
    "PairPoints",
    "ResizeImages",
    "ResizedCropImages",
    "RotateFlipPoints",
    "SampleCameras",
    "Voxelize",
]

Box = tuple[int, int, int, int]


@TRANSFORMS.register_module()
class SampleCameras:
    """Keep some cameras of the frame, in random order; put it before `LoadImages` to save time.

    Args:
        count: How many; None keeps all (SLidR: all six, shuffled).
    """

    def __init__(self, count: int | None = None) -> None:
        if count is not None and count < 1:
            raise ValueError(f"count: expected at least 1 camera or None, got {count}")
        self.count = count

    def __call__(self, frame: Frame) -> Frame:
        """Shuffle and cut ``cameras``; pairs follow."""
        order = frame.rng.permutation(len(frame.cameras))[: self.count]
        frame.cameras = [frame.cameras[index] for index in order]
        if frame.pairs is not None:
            frame.pairs = frame.pairs.select_cameras(list(order))
        return frame


@TRANSFORMS.register_module()
class KeepPairedPoints:
    """Cut the cloud to the points that some camera sees; put it behind `PairPoints`.

    With one camera before a full scan, most of the cloud has no pair: it costs time and is taught
    nothing. The authors keep it.

    Args:
        probability: of a cut; below 1 the network also sees whole scans, as it will be used on.
    """

    def __init__(self, probability: float = 1.0) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"probability: expected 0..1, got {probability}")
        self.probability = probability

    def __call__(self, frame: Frame) -> Frame:
        """Cut points, labels and pairs."""
        if frame.rng.random() < self.probability:
            keep = np.zeros(len(frame.points), dtype=bool)
            keep[frame.need_pairs().point] = True
            frame.keep_points(keep)
        return frame


@TRANSFORMS.register_module()
class RotateFlipPoints:
    """Turn the cloud about z by a uniform angle, then mirror x and y at random.

    The camera matrices take up the inverse, so they still project the new points rightly.

    Args:
        max_angle: Radians; the angle is uniform in [-max_angle, max_angle].
        flip: Probability of mirroring each of x and y.

    Source: SLidR (2203.16258) section 4.1.
    """

    def __init__(self, max_angle: float = np.pi, flip: float = 0.5) -> None:
        self.max_angle, self.flip = max_angle, flip

    def __call__(self, frame: Frame) -> Frame:
        """Move ``points`` and ``camera_from_lidar``."""
        frame.refuse_voxels()
        angle = frame.rng.uniform(-self.max_angle, self.max_angle)
        flips = frame.rng.random(2) < self.flip
        new_from_old = compose(mirror((*flips, False)), rotation_about_z(angle))
        points = frame.points.copy()
        points[:, :3] = apply_transform(new_from_old, points[:, :3])
        frame.points = points
        for camera in frame.cameras:
            camera.camera_from_lidar = compose(camera.camera_from_lidar, invert(new_from_old))
        return frame


@TRANSFORMS.register_module()
class DropCuboid:
    """Remove the points strictly inside a random cuboid around a random point.

    Args:
        extent: Largest side as a fraction of the cloud's extent, per axis.
        min_pairs: The drop is undone if a camera would keep fewer pairs.

    Source: SLidR (2203.16258) section 4.1; DepthContrast.
    """

    def __init__(self, extent: float = 0.2, min_pairs: int = 1024) -> None:
        self.extent, self.min_pairs = extent, min_pairs

    def __call__(self, frame: Frame) -> Frame:
        """Cut points, labels and pairs."""
        pairs = frame.need_pairs()
        share = frame.rng.random()
        if len(frame.points) == 0:
            return frame
        centre = int(frame.rng.integers(len(frame.points)))
        keep = outside_cuboid(frame.points[:, :3], centre, self.extent * share)
        kept = pairs.where(keep[pairs.point]).counts(len(frame.cameras))
        if kept.min(initial=self.min_pairs) >= self.min_pairs:
            frame.keep_points(keep)
        return frame


def outside_cuboid(xyz: NDArray, centre: int, share: float) -> NDArray[np.bool_]:
    """Points not strictly inside a cuboid around one of them.

    Args:
        xyz: (N, 3) metres.
        centre: Row of the point in the middle.
        share: Side of the cuboid per axis, as a fraction of the cloud's extent.

    Returns:
        (N,) bool.
    """
    half = np.ptp(xyz, axis=0) * share / 2
    return np.asarray(~(np.abs(xyz - xyz[centre]) < half).all(axis=1))


@TRANSFORMS.register_module()
class ResizedCropImages:
    """Cut a random rectangle out of each image and resize it; pairs and superpixels follow.

    A crop is taken when it keeps over ``min_pairs`` pairs or over the ``min_kept`` share of them.
    After ``tries`` draws the one with the most pairs is used, so a camera without pairs is no trap.

    Args:
        size: (H, W) after the resize.
        area: Range of the crop's share of the image area.
        ratio: Range of width / height of the crop.
        min_pairs: See above.
        min_kept: See above.
        tries: Number of draws at most.
        compat: Use the authors' pixel arithmetic (no half-pixel, superpixels read at the corner).

    Source: SLidR (2203.16258) section 4.1.
    Differs from the authors' release: theirs draws without end where a camera has no pairs.
    """

    def __init__(
        self,
        size: tuple[int, int] = (224, 416),
        area: tuple[float, float] = (0.3, 1.0),
        ratio: tuple[float, float] = (14 / 9, 17 / 9),
        min_pairs: int = 1024,
        min_kept: float = 0.75,
        tries: int = 20,
        compat: bool = False,
    ) -> None:
        if tries < 1:
            raise ValueError(f"tries: expected at least 1, got {tries}")
        self.size, self.area, self.ratio = tuple(size), area, ratio
        self.min_pairs, self.min_kept, self.tries, self.compat = min_pairs, min_kept, tries, compat

    def __call__(self, frame: Frame) -> Frame:
        """Replace images, superpixels, intrinsics and pairs."""
        frame.refuse_packed()
        pairs = frame.need_pairs()
        parts = []
        for index, camera in enumerate(frame.cameras):
            box, part = self._choose(frame.rng, camera, pairs.where(pairs.camera == index))
            resize_view(camera, box, (self.size[0], self.size[1]), self.compat)
            parts.append(part)
        frame.pairs = Pairs.concatenate(parts)
        return frame

    def _choose(
        self, rng: np.random.Generator, camera: CameraView, pairs: Pairs
    ) -> tuple[Box, Pairs]:
        size = (self.size[0], self.size[1])
        best: tuple[Box, Pairs] = ((0, 0, 1, 1), Pairs.empty())
        for attempt in range(self.tries):
            box = random_box(rng, camera.height, camera.width, self.area, self.ratio)
            kept = pairs.crop_resize(box, size, self.compat)
            if attempt == 0 or len(kept) > len(best[1]):
                best = box, kept
            if len(kept) > self.min_pairs or len(kept) > self.min_kept * len(pairs) or not pairs:
                break
        return best


def random_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """A random (top, left, height, width) inside an image, as torchvision's RandomResizedCrop.

    Area is uniform, the ratio log-uniform; ten draws, then the largest centred box of a ratio in
    range.
    """
    low, high = np.log(ratio[0]), np.log(ratio[1])
    for _ in range(10):
        target = height * width * rng.uniform(*area)
        aspect = np.exp(rng.uniform(low, high))
        w, h = round(float(np.sqrt(target * aspect))), round(float(np.sqrt(target / aspect)))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.integers(height - h + 1))
            left = int(rng.integers(width - w + 1))
            return top, left, h, w
    aspect = float(np.clip(width / height, *ratio))
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (height - h) // 2, (width - w) // 2, h, w


@TRANSFORMS.register_module()
class ResizeImages:
    """Resize whole images (validation, or training without crops); pairs and superpixels follow.

    Args:
        size: (H, W) after the resize.
        compat: Use the authors' pixel arithmetic, see `ResizedCropImages`.
    """

    def __init__(self, size: tuple[int, int] = (224, 416), compat: bool = False) -> None:
        self.size, self.compat = tuple(size), compat

    def __call__(self, frame: Frame) -> Frame:
        """Replace images, superpixels, intrinsics and pairs."""
        frame.refuse_packed()
        size = (self.size[0], self.size[1])
        pairs = frame.pairs
        parts = []
        for index, camera in enumerate(frame.cameras):
            hw = (camera.height, camera.width)
            if pairs is not None:
                parts.append(pairs.where(pairs.camera == index).resize(hw, size, self.compat))
            resize_view(camera, (0, 0, *hw), size, self.compat)
        if pairs is not None:
            frame.pairs = Pairs.concatenate(parts)
        return frame


@TRANSFORMS.register_module()
class FlipImages:
    """Mirror each image left to right at random; pairs and superpixels follow.

    Args:
        probability: For each image on its own.
    """

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = probability

    def __call__(self, frame: Frame) -> Frame:
        """Replace images, superpixels, intrinsics and pairs."""
        frame.refuse_packed()
        flips = frame.rng.random(len(frame.cameras)) < self.probability
        if frame.pairs is not None:
            widths = np.array([camera.width for camera in frame.cameras])
            frame.pairs = frame.pairs.flip(flips, widths)
        for index in np.flatnonzero(flips):
            camera = frame.cameras[index]
            camera.intrinsics = flip_affine(camera.width) @ camera.intrinsics
            if camera.image is not None:
                camera.image = np.ascontiguousarray(camera.image[:, ::-1])
            if camera.superpixels is not None:
                camera.superpixels = np.ascontiguousarray(camera.superpixels[:, ::-1])
        return frame


def resize_view(camera: CameraView, box: Box, size: tuple[int, int], compat: bool) -> None:
    """Cut a box out of a camera's image and superpixels, resize both, and update its intrinsics."""
    top, left, height, width = box
    if camera.image is not None:
        crop = camera.image[top : top + height, left : left + width]
        resized = cv2.resize(crop, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        camera.image = np.asarray(resized, dtype=np.uint8)
    if camera.superpixels is not None:
        camera.superpixels = resize_labels(camera.superpixels, box, size, compat)
    camera.intrinsics = crop_resize_affine(box, size, compat) @ camera.intrinsics
    camera.height, camera.width = size
