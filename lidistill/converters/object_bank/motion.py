# SPDX-License-Identifier: Apache-2.0
"""Which objects stand still: their views may be fused in the world, free of box jitter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.object_bank.tracks import SceneTracks
from lidistill.geometry.boxes import yaw_of_rotation

SPREAD = 0.5  # metres about the median centre
SPEED = 0.5  # m/s of a line through the centres
DRIFT = 0.25  # metres along that line, from the first box to the last
TURN = np.deg2rad(15.0)


def stands(tracks: SceneTracks, instance: int, rows: NDArray[np.int64]) -> bool:
    """Whether an instance keeps its place in all its boxes.

    The centres stay within ``max(0.5 m, 3 sigma)`` of their median, sigma being the annotations'
    jitter about a straight line; that line is slower than 0.5 m/s and shorter than ``max(0.25 m, 3
    sigma)``; the heading keeps within 15 degrees; and no annotation calls the object moving. Boxes
    that creep along a line follow a creeping object, or poses that drift: fused in their own frame,
    the views lie closer on one another.

    Args:
        tracks: of the scene.
        instance: index.
        rows: its boxes.
    """
    if tracks.moving[instance] == 1 or len(rows) == 0:
        return False
    centres = tracks.world_from_box[rows, :3, 3]
    yaw = yaw_of_rotation(tracks.world_from_box[rows, :3, :3])
    mean = np.angle(np.exp(1j * yaw).sum())
    if np.abs(np.angle(np.exp(1j * (yaw - mean)))).max() > TURN:
        return False
    spread = np.linalg.norm(centres - np.median(centres, axis=0), axis=1).max()
    if len(rows) < 3:
        return bool(spread < SPREAD)
    seconds = np.array([tracks.frames[f].seconds for f in tracks.box_frame[rows]])
    line = np.stack([seconds - seconds.mean(), np.ones(len(rows))], axis=1)
    fit, *_ = np.linalg.lstsq(line, centres, rcond=None)
    sigma = np.sqrt(((centres - line @ fit) ** 2).sum(axis=1).mean())
    speed = np.linalg.norm(fit[0])
    drift = speed * np.ptp(seconds)
    still = spread < max(SPREAD, 3 * sigma) and drift < max(DRIFT, 3 * sigma)
    return bool(still and speed < SPEED)
