# SPDX-License-Identifier: Apache-2.0
"""What a BEV detector is given, as a picture: augmented images, measured depths, boxes on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.boxes import boxes_to_corners
from lidistill.geometry.cameras import Cameras

Image = NDArray[np.uint8]
EDGES = (  # of corners as `boxes_to_corners` orders them; the first four are the bottom
    *((0, 1), (1, 2), (2, 3), (3, 0)),
    *((4, 5), (5, 6), (6, 7), (7, 4)),
    *((0, 4), (1, 5), (2, 6), (3, 7)),
)
NEAR = 0.5  # metres; boxes that reach behind the camera are not drawn
BOX = (80, 255, 80)
FRONT = (255, 255, 80)


def camera_sheet(packed: Mapping[str, Any], columns: int = 3, max_depth: float = 60.0) -> Image:
    """Images of a packed sample with what the LiDAR says of them.

    Args:
        packed: of :class:`lidistill.datasets.bev.pack.PackBEV`: ``img``, ``depth`` where there is,
            the cameras' matrices, boxes where there are. Earlier frames are left out.
        columns: images side by side, where there are so many.
        max_depth: metres, the far end of the colours.

    Returns:
        (H, W, 3) uint8 RGB. Cells with a measured depth are coloured, red is near; boxes are drawn
        by the sample's own matrices, their front in yellow.
    """
    sample = packed["data_samples"]
    cameras = Cameras.of_samples([sample.metainfo])
    count = cameras.present.shape[1]
    columns = min(columns, count)
    images = packed["inputs"]["img"][:count].permute(0, 2, 3, 1).numpy()
    depths = packed["inputs"].get("depth")
    corners = _corners(sample)
    views = []
    for k in range(count):
        view = images[k].copy()
        if depths is not None:
            _paint_depths(view, depths[k].numpy(), max_depth)
        _paint_boxes(view, corners, cameras.image_from_lidar[0, k])
        views.append(view)
    blank = np.zeros_like(views[0])
    rows = [views[first : first + columns] for first in range(0, count, columns)]
    return np.concatenate(
        [np.concatenate(row + [blank] * (columns - len(row)), 1) for row in rows], 0
    )


def _corners(sample: Any) -> NDArray[np.float64]:
    if "gt_instances_3d" not in sample:
        return np.zeros((0, 8, 3))
    boxes = sample.gt_instances_3d.bboxes_3d
    rows = np.concatenate([boxes.gravity_center.numpy(), boxes.tensor[:, 3:7].numpy()], 1)
    return boxes_to_corners(rows)


def _paint_depths(view: Image, depth: NDArray[np.float32], max_depth: float) -> None:
    import cv2

    stride = view.shape[0] // depth.shape[0]
    shade = np.clip(255 * (1 - depth / max_depth), 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(shade, cv2.COLORMAP_JET)[..., ::-1]
    for row, column in zip(*np.nonzero(depth), strict=True):
        centre = (int((column + 0.5) * stride), int((row + 0.5) * stride))
        colour = [int(value) for value in colours[row, column]]
        cv2.circle(view, centre, max(1, stride // 4), colour, -1)


def _paint_boxes(view: Image, corners: NDArray, image_from_lidar: NDArray) -> None:
    import cv2

    for box in corners:
        u, v, d, _ = image_from_lidar @ np.concatenate([box, np.ones((8, 1))], 1).T
        if d.min() < NEAR:
            continue
        pixels = np.stack([u / d, v / d], 1)
        if np.abs(pixels).max() > 1e5:
            continue
        ends = np.rint(pixels).astype(int)
        for first, second in EDGES:
            front = {first, second} <= {0, 3, 4, 7}
            start, end = ends[first].tolist(), ends[second].tolist()
            cv2.line(view, start, end, FRONT if front else BOX, 1, cv2.LINE_AA)
