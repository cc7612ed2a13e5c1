# SPDX-License-Identifier: Apache-2.0
"""One picture of what student and image teacher agree on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lidistill.visualization.bev import BACKGROUND, bev_picture
from lidistill.visualization.feature_pca import FeaturePCA
from lidistill.visualization.overlays import contact_sheet


def embedding_picture(
    points: NDArray, point_embeddings: NDArray, pixel_embeddings: NDArray, size: int = 480
) -> NDArray[np.uint8]:
    """Points from above beside the cameras, in one colour scale: equal colour is agreement.

    Args:
        points: (N, 3+) metres, LiDAR frame, y forward; as few as there are, the cameras' colours
            are then their own.
        point_embeddings: (N, D) any length.
        pixel_embeddings: (K, D, h, w) of the K cameras, any length.
        size: height of the picture, pixels.

    Returns:
        (size, W, 3) uint8 RGB: the cloud; at its right the cameras, two columns.
    """
    embeddings = _unit(point_embeddings)
    cameras = pixel_embeddings.transpose(0, 2, 3, 1)  # (K, h, w, D)
    cells = _unit(cameras.reshape(-1, embeddings.shape[1]))
    fitted = embeddings if len(embeddings) > 1 else np.concatenate([embeddings, cells])
    if len(fitted) < 2:
        return bev_picture(points[:0], np.zeros((0, 3), np.uint8), size=size)
    scale = FeaturePCA.fit(fitted)
    cloud = bev_picture(points, scale.colours(embeddings), size=size)
    if not cameras.size:
        return cloud
    rows = -(-len(cameras) // 2)
    height = (size - 8 * (rows - 1)) // rows
    width = max(1, round(height * cameras.shape[2] / cameras.shape[1]))
    pictures = [
        np.asarray(
            cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8
        )
        for picture in (
            scale.colours(_unit(camera.reshape(-1, camera.shape[-1]))).reshape(*camera.shape[:2], 3)
            for camera in cameras
        )
    ]
    sheet = contact_sheet(pictures, columns=2, background=BACKGROUND)
    canvas = np.full((size, 8 + sheet.shape[1], 3), BACKGROUND, dtype=np.uint8)
    canvas[: len(sheet), 8:] = sheet
    return np.concatenate([cloud, canvas], axis=1)


def _unit(rows: NDArray) -> NDArray[np.float64]:
    values = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.maximum(length, 1e-12)
