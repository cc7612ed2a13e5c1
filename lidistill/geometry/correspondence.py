# SPDX-License-Identifier: Apache-2.0
"""Point-to-pixel pairs and how they move when points and images are augmented.

Pixel coordinates are continuous, ``(u right, v down)``, with the centre of the top-left pixel at
``(0, 0)``: an integer is a pixel centre. An image of width W covers ``[-0.5, W - 0.5)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


def crop_resize_affine(
    box: Sequence[float], out_hw: Sequence[int], compat: bool = False
) -> NDArray[np.float64]:
    """3x3 map of pixel coordinates when a crop of an image is resized.

    Resizing scales the covered *area*, so with centres on integers
    ``u' = (u - left + 0.5) * W_out / w - 0.5``: as a bilinear resize without aligned corners.

    Args:
        box: (top, left, height, width) of the crop in source pixels.
        out_hw: Size after the resize.
        compat: True uses the authors' ``u' = (u - left) * W_out / w``, which drops the half pixel
            (0.38 output pixels at SLidR's 900x1600 to 224x416).

    Returns:
        (3, 3) float64 ``new_from_old`` for homogeneous (u, v, 1).
    """
    top, left, height, width = (float(value) for value in box)
    scale_u, scale_v = out_hw[1] / width, out_hw[0] / height
    half = 0.0 if compat else 0.5
    return np.array(
        [
            [scale_u, 0.0, (half - left) * scale_u - half],
            [0.0, scale_v, (half - top) * scale_v - half],
            [0.0, 0.0, 1.0],
        ]
    )


def flip_affine(width: int) -> NDArray[np.float64]:
    """3x3 map of a horizontal mirror: ``u' = width - 1 - u``."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def resize_labels(
    labels: NDArray[np.integer], box: Sequence[int], size: tuple[int, int], compat: bool = False
) -> NDArray[np.integer]:
    """Labels (h, w) of a box, resized to the nearest source pixel.

    Args:
        labels: (H, W) integers.
        box: (top, left, height, width).
        size: (H, W) of the result.
        compat: Read source ``floor(k * h / H)`` as the authors do, and not the one under the
            centre of the new pixel, ``floor((k + 0.5) * h / H)``.
    """
    shift, double = (0 if compat else 1), 2 * np.arange(max(size))
    rows = box[0] + (double[: size[0]] + shift) * box[2] // (2 * size[0])
    columns = box[1] + (double[: size[1]] + shift) * box[3] // (2 * size[1])
    return np.asarray(labels[rows[:, None], columns])


@dataclass
class Pairs:
    """P pairs of a LiDAR point and a pixel; a point seen by two cameras is in two pairs.

    Attributes:
        point: (P,) int64 row of the point cloud.
        camera: (P,) int64 index of the camera.
        pixel_uv: (P, 2) float64 (u right, v down), sub-pixel, integers are pixel centres.
    """

    point: NDArray[np.int64]
    camera: NDArray[np.int64]
    pixel_uv: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.point)

    @staticmethod
    def empty() -> Pairs:
        """No pairs."""
        none = np.zeros(0, dtype=np.int64)
        return Pairs(none, none.copy(), np.zeros((0, 2)))

    @staticmethod
    def concatenate(parts: Sequence[Pairs]) -> Pairs:
        """Pairs of several cameras of one cloud, in the order given."""
        if not parts:
            return Pairs.empty()
        return Pairs(
            np.concatenate([part.point for part in parts]),
            np.concatenate([part.camera for part in parts]),
            np.concatenate([part.pixel_uv for part in parts]),
        )

    def rowcol(self) -> NDArray[np.int64]:
        """(P, 2) int64 (row, column) of the nearest pixel, halves to the even one as in SLidR."""
        return np.rint(self.pixel_uv[:, ::-1]).astype(np.int64)

    def rounded(self) -> Pairs:
        """The same pairs with ``pixel_uv`` moved onto the nearest pixel centre (authors' rule)."""
        return replace(self, pixel_uv=np.rint(self.pixel_uv))

    def where(self, keep: NDArray[np.bool_]) -> Pairs:
        """The pairs marked True in ``keep`` (P,)."""
        return Pairs(self.point[keep], self.camera[keep], self.pixel_uv[keep])

    def counts(self, num_cameras: int) -> NDArray[np.int64]:
        """(K,) number of pairs in each camera."""
        return np.bincount(self.camera, minlength=num_cameras)

    def moved(self, affine: NDArray) -> Pairs:
        """Pixels moved by a 3x3 map ``new_from_old`` (affine), the same for all pairs."""
        uv = self.pixel_uv @ affine[:2, :2].T + affine[:2, 2]
        return replace(self, pixel_uv=uv)

    def inside(self, height: int, width: int) -> NDArray[np.bool_]:
        """(P,) True where the nearest pixel lies in an image of that size."""
        row, column = self.rowcol().T
        return (row >= 0) & (row < height) & (column >= 0) & (column < width)

    def crop_resize(
        self, box: Sequence[float], out_hw: tuple[int, int], compat: bool = False
    ) -> Pairs:
        """Pixels after a crop (top, left, height, width) is resized; pairs outside are dropped."""
        moved = self.moved(crop_resize_affine(box, out_hw, compat))
        return moved.where(moved.inside(*out_hw))

    def resize(
        self, from_hw: tuple[int, int], out_hw: tuple[int, int], compat: bool = False
    ) -> Pairs:
        """Pixels after a resize of the whole image; no pair is lost.

        The authors' arithmetic (``compat``) can round past the last pixel, and clips there.
        """
        moved = self.moved(crop_resize_affine((0, 0, *from_hw), out_hw, compat))
        if compat:
            limit = np.array([out_hw[1] - 1.0, out_hw[0] - 1.0])
            moved = replace(moved, pixel_uv=np.minimum(moved.pixel_uv, limit))
        return moved

    def flip(self, flipped: NDArray[np.bool_], widths: NDArray[np.int64]) -> Pairs:
        """Pixels after the images marked in ``flipped`` (K,) are mirrored left to right."""
        uv = self.pixel_uv.copy()
        chosen = flipped[self.camera]
        uv[chosen, 0] = widths[self.camera[chosen]] - 1 - uv[chosen, 0]
        return replace(self, pixel_uv=uv)

    def drop_points(self, keep: NDArray[np.bool_]) -> Pairs:
        """Pairs after the cloud is cut to the points marked True in ``keep`` (N,)."""
        new_index = np.cumsum(keep) - 1
        pairs = self.where(keep[self.point])
        return replace(pairs, point=new_index[pairs.point].astype(np.int64))

    def select_cameras(self, cameras: Sequence[int]) -> Pairs:
        """Pairs of the listed cameras, renumbered and reordered to the order of the list."""
        parts = []
        for new, old in enumerate(cameras):
            part = self.where(self.camera == old)
            parts.append(replace(part, camera=np.full(len(part), new, dtype=np.int64)))
        return Pairs.concatenate(parts)
