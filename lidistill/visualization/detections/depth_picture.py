# SPDX-License-Identifier: Apache-2.0
"""Depth over an image: near is warm, far is cold, unknown shows the image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def depth_picture(
    image: NDArray[np.uint8], depth: NDArray[np.float32], reach: float = 60.0
) -> NDArray[np.uint8]:
    """Draw a depth map.

    Args:
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) metres, 0 = unknown.
        reach: metres of the coldest colour.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: another size.
    """
    if image.shape[:2] != depth.shape:
        raise ValueError(f"an image of {image.shape[:2]} but a depth map of {depth.shape}")
    near = 255 * (1 - np.clip(np.log1p(depth) / np.log1p(reach), 0, 1))
    colours = cv2.applyColorMap(near.astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    grey = (image.mean(axis=2, keepdims=True) * 0.6).astype(np.uint8).repeat(3, axis=2)
    return np.where(depth[..., None] > 0, colours, grey).astype(np.uint8)
