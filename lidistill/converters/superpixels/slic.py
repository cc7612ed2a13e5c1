# SPDX-License-Identifier: Apache-2.0
"""SLIC superpixels of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SlicParameters:
    """How superpixels are made; a store holds those of one setting.

    Attributes:
        segments: Wished number; SLIC makes fewer (92 to 120 of 150).
        compactness: Weight of distance against colour.
        sigma: Gaussian blur before, pixels of the full image.
        scale: Work on an image this many times as large and enlarge the labels; 0.5 takes a quarter
            of the time.
    """

    segments: int = 150
    compactness: float = 6.0
    sigma: float = 3.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.segments < 1 or self.compactness <= 0 or self.sigma < 0:
            raise ValueError(
                "expected segments >= 1, compactness > 0, sigma >= 0, got "
                f"{self.segments}, {self.compactness}, {self.sigma}"
            )
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale: expected 0 < scale <= 1, got {self.scale}")


def slic_labels(
    image: NDArray[np.uint8], parameters: SlicParameters = SlicParameters()
) -> NDArray[np.int32]:
    """Superpixel labels of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        parameters: See `SlicParameters`.

    Returns:
        (H, W) int32, labels from 0 without gaps.
    """
    from skimage.segmentation import slic

    height, width = image.shape[:2]
    scale = parameters.scale
    if scale < 1:
        import cv2

        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    labels = slic(
        image,
        n_segments=parameters.segments,
        compactness=parameters.compactness,
        sigma=parameters.sigma * scale,
        start_label=0,
    )
    if scale < 1:
        rows = ((2 * np.arange(height) + 1) * labels.shape[0]) // (2 * height)
        columns = ((2 * np.arange(width) + 1) * labels.shape[1]) // (2 * width)
        labels = labels[rows[:, None], columns]
    return np.asarray(labels, dtype=np.int32)
