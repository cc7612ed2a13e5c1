# SPDX-License-Identifier: Apache-2.0
"""How well superpixels keep to the borders of a reference segmentation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def boundary_mask(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(H, W) pixels whose right or lower neighbour has another label."""
    mask = np.zeros(labels.shape, dtype=bool)
    mask[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    mask[:-1] |= labels[:-1] != labels[1:]
    return mask


def boundary_recall(
    labels: NDArray[np.integer], reference: NDArray[np.integer], tolerance: int = 2
) -> float:
    """Share of the reference's borders that a border of the superpixels is near to.

    Args:
        labels: (H, W) superpixels.
        reference: (H, W) segments.
        tolerance: Pixels along each axis.

    Returns:
        0 .. 1; 1 if the reference has no border.

    Source: Martin, Fowlkes, Malik, "Learning to detect natural image boundaries", PAMI 2004, as
        superpixel benchmarks use it.
    """
    import cv2

    wanted = boundary_mask(reference)
    if not wanted.any():
        return 1.0
    window = np.ones((2 * tolerance + 1, 2 * tolerance + 1), dtype=np.uint8)
    near = cv2.dilate(boundary_mask(labels).astype(np.uint8), window) > 0
    return float((near & wanted).sum() / wanted.sum())


def undersegmentation_error(labels: NDArray[np.integer], reference: NDArray[np.integer]) -> float:
    """Share of the pixels by which superpixels leak over the reference's borders.

    For each segment and each superpixel that overlaps it, the smaller of the parts inside and
    outside counts.

    Args:
        labels: (H, W) superpixels.
        reference: (H, W) segments.

    Returns:
        0 (every superpixel lies in one segment) and more.

    Source: Neubert and Protzel, "Superpixel benchmark and comparison", 2012.
    """
    _, superpixel = np.unique(labels, return_inverse=True)
    _, segment = np.unique(reference, return_inverse=True)
    shape = (int(segment.max()) + 1, int(superpixel.max()) + 1)
    flat = segment.ravel() * shape[1] + superpixel.ravel()
    inside = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
    outside = inside.sum(axis=0) - inside
    leaks = np.where(inside > 0, np.minimum(inside, outside), 0)
    return float(leaks.sum() / labels.size)
