# SPDX-License-Identifier: Apache-2.0
"""A frame from above before and after completion; an object from the side and from above."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from lidistill.converters.object_bank.bank import MIRRORED, SceneBank
from lidistill.converters.object_bank.compose import Composed
from lidistill.converters.object_bank.tracks import inverses
from lidistill.ops.boxes.object_points import points_by_box
from lidistill.visualization.bev import BACKGROUND, bev_picture
from lidistill.visualization.colours import region_colours

GREY = (104, 112, 126)
LINE = (150, 158, 172)
ORANGE = (255, 170, 60)
BLUE = (90, 190, 255)
Forward = Literal["x", "y"]


def frame_pair(
    points: NDArray[np.float32],
    composed: Composed,
    reach: float = 40.0,
    size: int = 560,
    forward: Forward = "y",
) -> NDArray[np.uint8]:
    """One frame from above, as scanned (left) and completed (right).

    Args:
        points: (N, C) the ordinary cloud.
        composed: of it.
        reach: metres from the sensor to the edge.
        size: of one picture, pixels.
        forward: axis that points up.

    Returns:
        (size, 2 size + 8, 3) uint8.
    """
    bank, boxes = composed.bank, composed.bank.boxes_of(composed.frame)
    found = points_by_box(points, inverses(bank.sensor_from_box[boxes]), bank.box_sizes[boxes] / 2)
    own = np.full(len(points), -1)
    own[found.rows] = np.repeat(bank.box_instance[boxes], found.counts)
    kept = own[~composed.removed]
    after = np.concatenate([kept, composed.instance])
    pictures = [
        bev_picture(cloud, _colours(instance), reach, size, forward, radius=1.4)
        for cloud, instance in ((points, own), (composed.cloud, after))
    ]
    gap = np.full((size, 8, 3), 255, dtype=np.uint8)
    return np.concatenate([pictures[0], gap, pictures[1]], axis=1)


def _colours(instance: NDArray[np.int64]) -> NDArray[np.uint8]:
    return region_colours(instance, GREY)


def object_picture(
    bank: SceneBank, instance: int, height: int = 150, margin: float = 0.4
) -> NDArray[np.uint8]:
    """One object: its best single view and its whole track, each from the side and from above.

    Mirrored points are blue.

    Args:
        bank: of its scene.
        instance: index.
        height: of the picture, pixels.
        margin: metres around the box.

    Returns:
        (height, width, 3) uint8: side, above of one view; side, above of the track.
    """
    rows = slice(*bank.offsets[instance : instance + 2])
    cloud, flags = bank.cloud(instance), bank.flags[rows]
    views, counts = np.unique(bank.source[rows], return_counts=True)
    best = bank.source[rows] == (views[int(counts.argmax())] if len(views) else -1)
    colours = np.where((flags & MIRRORED > 0)[:, None], BLUE, ORANGE).astype(np.uint8)
    length, width, tall = (bank.sizes[instance] + 2 * margin).tolist()
    scale = (height - 6) / max(width, tall)
    parts = []
    for chosen in (best & (flags & MIRRORED == 0), np.ones(len(cloud), dtype=bool)):
        for axis, high in ((2, tall), (1, width)):
            canvas = _canvas(bank.sizes[instance], axis, length, high, scale, height)
            _points(canvas, cloud[chosen], colours[chosen], axis, scale)
            parts += [canvas, np.full((height, 6, 3), 255, dtype=np.uint8)]
    return np.concatenate(parts[:-1], axis=1)


def _canvas(
    size: NDArray[np.float64], axis: int, length: float, high: float, scale: float, height: int
) -> NDArray[np.uint8]:
    width = max(8, round(length * scale))
    canvas = np.full((height, width, 3), BACKGROUND, dtype=np.uint8)
    half = np.array([size[0], size[axis]]) / 2 * scale
    low = (round(width / 2 - half[0]), round(height / 2 - half[1]))
    top = (round(width / 2 + half[0]), round(height / 2 + half[1]))
    cv2.rectangle(canvas, low, top, LINE, 1, cv2.LINE_AA)
    return canvas


def _points(
    canvas: NDArray[np.uint8], cloud: NDArray, colours: NDArray[np.uint8], axis: int, scale: float
) -> None:
    high, wide = canvas.shape[:2]
    u = np.rint(wide / 2 + cloud[:, 0] * scale).astype(np.int64)
    v = np.rint(high / 2 - cloud[:, axis] * scale).astype(np.int64)
    inside = (u >= 0) & (u < wide - 1) & (v >= 0) & (v < high - 1)
    for du in (0, 1):
        for dv in (0, 1):
            canvas[v[inside] + dv, u[inside] + du] = colours[inside]
