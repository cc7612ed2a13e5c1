# SPDX-License-Identifier: Apache-2.0
"""Bird's-eye pictures of a cloud: the vehicle in the middle, driving up."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

BACKGROUND = (15, 19, 27)
_RING = (44, 52, 66)
_EGO = (235, 238, 245)


def bev_picture(
    points: NDArray,
    colours: NDArray,
    reach: float = 40.0,
    size: int = 720,
    forward: Literal["x", "y"] = "y",
    radius: float = 1.8,
    rings: float = 10.0,
) -> NDArray[np.uint8]:
    """Draw points from above, higher ones over lower ones.

    Args:
        points: (N, 3+) metres, LiDAR frame.
        colours: (N, 3) uint8 RGB.
        reach: metres from the sensor to the picture's edge.
        size: of the square picture, pixels.
        forward: axis that points up in the picture: ``y`` for nuScenes' LiDAR frame (x right,
            y forward), ``x`` for KITTI's and the ego frame (x forward, y left).
        radius: of a point, pixels.
        rings: metres between range rings; 0 for none.

    Returns:
        (size, size, 3) uint8.
    """
    if len(points) != len(colours):
        raise ValueError(f"{len(points)} points but {len(colours)} colours; one of each a point")
    fine = 2  # drawn at twice the size, then averaged: soft edges
    canvas = _canvas(size * fine, reach, rings, fine)
    uv = bev_pixels(points, reach, size * fine, forward)
    inside = np.all((uv >= 0) & (uv <= size * fine - 1), axis=1)
    order = np.flatnonzero(inside)[np.argsort(points[inside, 2], kind="stable")]
    _splat(canvas, np.rint(uv[order]).astype(np.int64), np.asarray(colours)[order], radius * fine)
    _ego(canvas, reach)
    smaller = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, dtype=np.uint8)


def bev_pixels(
    points: NDArray, reach: float, size: int, forward: Literal["x", "y"] = "y"
) -> NDArray[np.float64]:
    """Where points fall in a square picture of the ground.

    Args:
        points: (N, 3+) metres.
        reach: metres from the middle to the edge.
        size: pixels.
        forward: axis that points up.

    Returns:
        (N, 2) u right, v down; integers are pixel centres.
    """
    xy = np.asarray(points, dtype=np.float64)[:, :2]
    if forward == "y":
        right, ahead = xy[:, 0], xy[:, 1]
    elif forward == "x":
        right, ahead = -xy[:, 1], xy[:, 0]
    else:
        raise ValueError(f"forward must be 'x' or 'y', got {forward!r}")
    cell = 2 * reach / size
    return np.stack([(reach + right) / cell - 0.5, (reach - ahead) / cell - 0.5], axis=1)


def _splat(canvas: NDArray, uv: NDArray, colours: NDArray, radius: float) -> None:
    """Discs of one radius, later ones on top."""
    size = len(canvas)
    reach = int(np.ceil(radius))
    steps = np.arange(-reach, reach + 1)
    disc = [(dv, du) for dv in steps for du in steps if du * du + dv * dv <= radius * radius]
    owner = np.full((size, size), -1, dtype=np.int64)
    number = np.arange(len(uv))
    for dv, du in disc:
        u, v = uv[:, 0] + du, uv[:, 1] + dv
        kept = (u >= 0) & (u < size) & (v >= 0) & (v < size)
        np.maximum.at(owner, (v[kept], u[kept]), number[kept])
    drawn = owner >= 0
    canvas[drawn] = colours[owner[drawn]]


def _canvas(size: int, reach: float, rings: float, fine: int) -> NDArray[np.uint8]:
    canvas = np.full((size, size, 3), BACKGROUND, dtype=np.uint8)
    middle = (size // 2, size // 2)
    if rings > 0:
        for distance in np.arange(rings, reach * 1.42, rings):
            radius = round(distance / reach * size / 2)
            cv2.circle(canvas, middle, radius, _RING, fine, cv2.LINE_AA)
    return canvas


def _ego(canvas: NDArray, reach: float) -> None:
    """The vehicle as an arrow of a car's length, pointing up."""
    scale = len(canvas) / (2 * reach)
    shape = np.array([[0, -2.4], [1.1, 2.2], [0, 1.4], [-1.1, 2.2]]) * scale + len(canvas) / 2
    cv2.fillPoly(canvas, [shape.round().astype(np.int32)], _EGO, cv2.LINE_AA)
