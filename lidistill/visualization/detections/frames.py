# SPDX-License-Identifier: Apache-2.0
"""One frame with what is there and what detectors found: from above and in its cameras.

Each detector has a panel of its own, side by side: truth, then the others in the order given. Boxes
that a detector found are green where a true box of the class is near, red where none is; true boxes
are white, and orange where the detector missed them. The short line is the front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.boxes import boxes_to_corners
from lidistill.visualization.bev import bev_picture, bev_pixels
from lidistill.visualization.colours import scalar_colours

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
TRUTH: Colour = (240, 240, 240)
RIGHT: Colour = (70, 220, 110)
WRONG: Colour = (255, 70, 80)
MISSED: Colour = (255, 170, 40)
NEAR = 2.0  # metres between centres, the loosest but one of nuScenes' distances
BEHIND = 0.5  # metres; boxes that reach behind a camera are not drawn
LEAST_WIDTH = 640  # pixels of the cameras' views side by side
EDGES = (  # of corners as `boxes_to_corners` orders them; the first four are the bottom
    *((0, 1), (1, 2), (2, 3), (3, 0)),
    *((4, 5), (5, 6), (6, 7), (7, 4)),
    *((0, 4), (1, 5), (2, 6), (3, 7)),
)


@dataclass(frozen=True)
class Boxes:
    """Boxes of one frame.

    Attributes:
        boxes: (M, 7+) centre origin, LiDAR frame, metres, radians.
        labels: (M,) classes.
        scores: (M,); 1 for true boxes.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]

    def surer_than(self, score: float) -> Boxes:
        """Those with a higher score, the surest first."""
        rows = np.flatnonzero(self.scores > score)
        rows = rows[np.argsort(-self.scores[rows], kind="stable")]
        return Boxes(self.boxes[rows], self.labels[rows], self.scores[rows])


@dataclass(frozen=True)
class Frame:
    """What is drawn.

    Attributes:
        points: (N, 3+) metres, LiDAR frame.
        truth: true boxes.
        found: detector's name -> its boxes, in the order of the panels.
        views: (H, W, 3) uint8 RGB images, one a camera.
        image_from_lidar: (4, 4) of each view: (x, y, z, 1) to (u d, v d, d, 1).
    """

    points: NDArray
    truth: Boxes
    found: Mapping[str, Boxes]
    views: Sequence[Image] = ()
    image_from_lidar: Sequence[NDArray[np.float64]] = field(default=())


def matched(found: Boxes, truth: Boxes, near: float = NEAR) -> tuple[NDArray, NDArray]:
    """Which boxes are right and which true ones were found, as nuScenes counts them.

    Args:
        found: the surest first; each takes the nearest true box of its class that is still free.
        truth: true boxes.
        near: metres between centres, seen from above.

    Returns:
        (M,) bool of the found and (T,) bool of the true.
    """
    right, taken = np.zeros(len(found.boxes), bool), np.zeros(len(truth.boxes), bool)
    for row in np.argsort(-found.scores, kind="stable"):
        gap = np.hypot(*(truth.boxes[:, :2] - found.boxes[row, :2]).T)
        gap = np.where(taken | (truth.labels != found.labels[row]), np.inf, gap)
        if len(gap) and gap.min() < near:
            right[row] = taken[gap.argmin()] = True
    return right, taken


def panels_from_above(
    frame: Frame,
    score: float = 0.3,
    reach: float = 40.0,
    size: int = 480,
    forward: Literal["x", "y"] = "y",
) -> Image:
    """Truth and each detector's boxes over the points, side by side.

    Args:
        frame: what is drawn.
        score: boxes above it are drawn.
        reach: metres from the sensor to a panel's edge.
        size: of a panel, pixels.
        forward: axis that points up, see :func:`lidistill.visualization.bev.bev_picture`.

    Returns:
        (size + caption, panels * size, 3) uint8.
    """
    grey = np.full((len(frame.points), 3), 105, np.uint8)
    ground = bev_picture(frame.points, grey, reach, size, forward, radius=0.8)
    panels = []
    for name, boxes, colours in _by_panel(frame, score):
        panel = ground.copy()
        paint_from_above(panel, boxes, colours, reach, forward)
        panels.append(titled(panel, name))
    return np.concatenate(panels, 1)


def panels_in_cameras(frame: Frame, score: float = 0.3, columns: int = 3) -> Image:
    """The same in the cameras: one block of views for truth and each detector, one over another.

    Args:
        frame: with views.
        score: boxes above it are drawn.
        columns: views side by side, where there are so many.

    Returns:
        uint8; small views are enlarged by a whole number until a block is :data:`LEAST_WIDTH` wide.

    Raises:
        ValueError: the frame has no views.
    """
    if not len(frame.views):
        raise ValueError("expected a frame with views; its pipeline loads no images (LoadCameras)")
    blocks, columns = [], min(columns, len(frame.views))
    zoom = -(-LEAST_WIDTH // (columns * frame.views[0].shape[1]))  # or a page blurs the lines
    wider = np.diag([zoom, zoom, 1.0, 1.0])
    for name, boxes, colours in _by_panel(frame, score):
        views = [_enlarged(view, zoom) for view in frame.views]
        for view, matrix in zip(views, frame.image_from_lidar, strict=True):
            paint_in_camera(view, boxes, wider @ matrix, colours)
        blank = np.zeros_like(views[0])
        views += [blank] * (-len(views) % columns)
        rows = [np.concatenate(views[k : k + columns], 1) for k in range(0, len(views), columns)]
        blocks.append(titled(np.concatenate(rows, 0), name))
    return np.concatenate(blocks, 0)


def regions_from_above(
    frame: Frame,
    values: Mapping[str, NDArray],
    reach: float = 40.0,
    size: int = 480,
    forward: Literal["x", "y"] = "y",
) -> Image:
    """A number of every true box as its colour, one panel a name, all on one scale.

    Args:
        frame: what is drawn.
        values: name -> (T,) numbers, for example how far student and teacher are apart there.
        reach: metres from the sensor to a panel's edge.
        size: of a panel, pixels.
        forward: axis that points up.
    """
    every = np.concatenate([np.zeros(0), *values.values()])
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    grey = np.full((len(frame.points), 3), 80, np.uint8)
    ground = bev_picture(frame.points, grey, reach, size, forward, radius=0.8)
    panels = []
    for name, numbers in values.items():
        panel = ground.copy()
        colours = scalar_colours(numbers, low, high) if len(numbers) else np.zeros((0, 3))
        paint_from_above(panel, frame.truth.boxes, colours, reach, forward, filled=True)
        mean = f"mean {numbers.mean():.3g}" if len(numbers) else "no box"
        panels.append(titled(panel, f"{name}: {mean}; blue {low:.3g}, red {high:.3g}"))
    return np.concatenate(panels, 1)


def paint_from_above(
    canvas: Image,
    boxes: NDArray,
    colours: Sequence[Colour] | NDArray,
    reach: float,
    forward: Literal["x", "y"] = "y",
    filled: bool = False,
) -> None:
    """Outlines of boxes (M, 7+) on a square picture of the ground, and where their fronts are."""
    for corners, colour in zip(_corners(boxes), colours, strict=True):
        ground = bev_pixels(corners[:4], reach, len(canvas), forward)
        tone = tuple(int(level) for level in colour)
        ends = np.rint(ground).astype(np.int32)
        if filled:
            cv2.fillPoly(canvas, [ends], tone, cv2.LINE_AA)
        cv2.polylines(canvas, [ends], True, tone, 1, cv2.LINE_AA)
        middle, front = ground.mean(0), ground[[0, 3]].mean(0)
        line = [np.rint(end).astype(int).tolist() for end in ((middle + front) / 2, front)]
        cv2.line(canvas, line[0], line[1], tone, 1, cv2.LINE_AA)


def paint_in_camera(
    view: Image, boxes: NDArray, image_from_lidar: NDArray, colours: Sequence[Colour] | NDArray
) -> None:
    """Edges of boxes (M, 7+) on an image; those that reach behind the camera are left out."""
    for corners, colour in zip(_corners(boxes), colours, strict=True):
        u, v, d, _ = image_from_lidar @ np.concatenate([corners, np.ones((8, 1))], 1).T
        if d.min() < BEHIND:
            continue
        pixels = np.stack([u / d, v / d], 1)
        if np.abs(pixels).max() > 1e5:
            continue
        tone = tuple(int(level) for level in colour)
        ends = np.rint(pixels).astype(int)
        for first, second in EDGES:
            cv2.line(view, ends[first].tolist(), ends[second].tolist(), tone, 1, cv2.LINE_AA)
        front = [0, 3, 7, 4]
        for first, second in ((front[0], front[2]), (front[1], front[3])):  # a cross on the front
            cv2.line(view, ends[first].tolist(), ends[second].tolist(), tone, 1, cv2.LINE_AA)


def titled(panel: Image, words: str, height: int = 26) -> Image:
    """The panel under a line of text."""
    band = np.full((height, panel.shape[1], 3), 28, np.uint8)
    cv2.putText(band, words, (8, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, TRUTH, 1, cv2.LINE_AA)
    return np.concatenate([band, panel], 0)


def _enlarged(view: Image, zoom: int) -> Image:
    return np.asarray(cv2.resize(view, None, fx=zoom, fy=zoom), dtype=np.uint8)


def _by_panel(frame: Frame, score: float) -> list[tuple[str, NDArray, list[Colour]]]:
    """Title, boxes and colours of each panel."""
    truth = frame.truth
    panels = [(f"truth: {len(truth.boxes)} boxes", truth.boxes, [TRUTH] * len(truth.boxes))]
    for name, every in frame.found.items():
        found = every.surer_than(score)
        right, taken = matched(found, truth)
        missed = truth.boxes[~taken][:, :7]
        boxes = np.concatenate([missed, found.boxes[:, :7]])
        colours = [MISSED] * len(missed) + [RIGHT if hit else WRONG for hit in right]
        words = f"{name}: {right.sum()} right, {(~right).sum()} wrong, {len(missed)} missed"
        panels.append((words, boxes, colours))
    return panels


def _corners(boxes: NDArray) -> NDArray[np.float64]:
    return boxes_to_corners(boxes) if len(boxes) else np.zeros((0, 8, 3))
