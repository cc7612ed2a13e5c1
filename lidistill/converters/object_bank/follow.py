# SPDX-License-Identifier: Apache-2.0
"""A detector's boxes to tracks: for object-complete frames of data that nobody has labelled.

Boxes are linked in the world, so the vehicle's own motion does not count. Frame by frame the tracks
of a class are moved on with their velocity and matched one to one with the boxes near them
(Hungarian method); a track outlives a few frames without a box, which are filled in; its size is
the weighted median of its boxes.

Differs from the authors' release: there a box takes the nearest one of the frame before, in the
sensor's frame, two boxes may take the same, and one missed frame ends a track.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lidistill.converters.object_bank.tracks import between
from lidistill.geometry.plausible import MAX_BOX_METRES

SCORE = 0.3
"""Smallest score of a box in a track."""


@dataclass(frozen=True)
class FollowOptions:
    """Settings.

    Attributes:
        score: boxes below are left out; one number, or class -> number with ``""`` for the others
            (0.3 without).
        reach: a box may be so many of its longest sides from where a track is expected.
        max_gap: frames without a box that a track outlives; they are filled in.
        min_length: a track has at least so many boxes of the detector.
        constant_velocity: move tracks on between frames; else they are expected where they were.
        one_size: all boxes of a track get its weighted median size.
    """

    score: float | Mapping[str, float] = SCORE
    reach: float = 2.0
    max_gap: int = 3
    min_length: int = 3
    constant_velocity: bool = True
    one_size: bool = True

    def __post_init__(self) -> None:
        if self.reach <= 0 or self.max_gap < 0 or self.min_length < 1:
            raise ValueError(
                "expected reach > 0, max_gap >= 0 and min_length >= 1, got "
                f"{self.reach}, {self.max_gap} and {self.min_length}"
            )
        scores = self.score.values() if isinstance(self.score, Mapping) else [self.score]
        if not all(np.isfinite(score) for score in scores):
            raise ValueError(f"expected finite scores, got {self.score}")

    def gate(self, name: str) -> float:
        """Smallest score of a class."""
        if isinstance(self.score, Mapping):
            return float(self.score.get(name, self.score.get("", SCORE)))
        return float(self.score)


@dataclass(frozen=True)
class Detections:
    """Boxes of one frame, in the world.

    Attributes:
        seconds: time.
        poses: (M, 4, 4) world_from_box.
        sizes: (M, 3) length, width, height.
        scores: (M,).
        names: (M,) classes.
    """

    seconds: float
    poses: NDArray[np.float64]
    sizes: NDArray[np.float64]
    scores: NDArray[np.float64]
    names: Sequence[str]


@dataclass
class Followed:
    """One track.

    Attributes:
        name: class.
        frames: indices, ascending.
        rows: box of the detector in that frame; -1 for a frame that was filled in.
        poses: (4, 4) world_from_box of each.
        sizes: (3,) of each.
        scores: of each; a filled one has the lower of its neighbours'.
        seconds: of each.
    """

    name: str
    frames: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    poses: list[NDArray[np.float64]] = field(default_factory=list)
    sizes: list[NDArray[np.float64]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """Boxes of the detector."""
        return sum(row >= 0 for row in self.rows)

    def expected(self, seconds: float, constant_velocity: bool) -> NDArray[np.float64]:
        """Centre (3,) at a time."""
        here = self.poses[-1][:3, 3]
        if not constant_velocity or len(self.frames) < 2:
            return here
        span = self.seconds[-1] - self.seconds[-2]
        return here + (here - self.poses[-2][:3, 3]) * (seconds - self.seconds[-1]) / span


def follow(frames: Sequence[Detections], options: FollowOptions | None = None) -> list[Followed]:
    """Tracks of a scene.

    Args:
        frames: in the order of time.
        options: settings.

    Returns:
        Tracks in the order of their first boxes. Boxes without extent, or longer than anything on
        a road (:data:`MAX_BOX_METRES`: of a detector hardly trained), are in none.
    """
    options = options or FollowOptions()
    tracks: list[Followed] = []
    for index, found in enumerate(frames):
        gates = np.array([options.gate(name) for name in found.names])
        real = ((found.sizes > 0) & (found.sizes < MAX_BOX_METRES)).all(axis=1)
        sure = np.flatnonzero(real & (found.scores >= gates))
        for name in sorted({found.names[row] for row in sure}):
            rows = np.array([row for row in sure if found.names[row] == name])
            alive = [
                track
                for track in tracks
                if track.name == name and index - track.frames[-1] <= options.max_gap + 1
            ]
            taken = _matched(alive, found, rows, options)
            for row in rows.tolist():
                track = taken.get(row)
                if track is None:
                    track = Followed(name)
                    tracks.append(track)
                _append(track, frames, index, row)
    kept = [track for track in tracks if track.seen >= options.min_length]
    return [_one_size(track) for track in kept] if options.one_size else kept


def _matched(
    alive: Sequence[Followed],
    found: Detections,
    rows: NDArray[np.int64],
    options: FollowOptions,
) -> dict[int, Followed]:
    """Row of a box -> the track that it goes on, one to one, nearest in sum."""
    if not alive or not len(rows):
        return {}
    expected = np.array(
        [track.expected(found.seconds, options.constant_velocity) for track in alive]
    )
    distance = np.linalg.norm(found.poses[rows, None, :3, 3] - expected[None], axis=2)
    limit = options.reach * found.sizes[rows].max(axis=1)
    # far above any sum of allowed distances: first as many matches as possible
    cost = np.where(distance < limit[:, None], distance, 1e6)
    picked = zip(*linear_sum_assignment(cost), strict=True)
    return {int(rows[box]): alive[track] for box, track in picked if cost[box, track] < 1e6}


def _append(track: Followed, frames: Sequence[Detections], index: int, row: int) -> None:
    """Go on with a box; frames in between are filled in."""
    found = frames[index]
    pose, size, score = found.poses[row], found.sizes[row], float(found.scores[row])
    if track.frames:
        last, size_before, score_before = track.poses[-1], track.sizes[-1], track.scores[-1]
        start, begin = track.frames[-1], track.seconds[-1]
        for missed in range(start + 1, index):
            part = (frames[missed].seconds - begin) / (found.seconds - begin)
            filled = between(last[None], pose[None], part)[0]
            mixed = (1 - part) * size_before + part * size
            _add(track, missed, -1, filled, mixed, min(score, score_before), frames)
    _add(track, index, row, pose, size, score, frames)


def _add(
    track: Followed,
    frame: int,
    row: int,
    pose: NDArray[np.float64],
    size: NDArray[np.float64],
    score: float,
    frames: Sequence[Detections],
) -> None:
    track.frames.append(frame)
    track.rows.append(row)
    track.poses.append(pose)
    track.sizes.append(size)
    track.scores.append(score)
    track.seconds.append(frames[frame].seconds)


def _one_size(track: Followed) -> Followed:
    """Boxes of one size that stand where they stood: their bottoms stay."""
    seen = [k for k, row in enumerate(track.rows) if row >= 0]
    sizes = np.array([track.sizes[k] for k in seen])
    size = weighted_median(sizes, np.array([track.scores[k] for k in seen]))
    poses = []
    for pose, old in zip(track.poses, track.sizes, strict=True):
        moved = pose.copy()
        moved[:3, 3] += pose[:3, 2] * (size[2] - old[2]) / 2
        poses.append(moved)
    return replace(track, sizes=[size] * len(poses), poses=poses)


def weighted_median(values: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Lower weighted median of each column of (R, n) values; weights (R,) not all zero."""
    order = np.argsort(values, axis=0, kind="stable")
    share = np.cumsum(weights[order], axis=0)
    first = (share >= share[-1] / 2).argmax(axis=0)
    columns = np.arange(values.shape[1])
    return np.asarray(values[order[first, columns], columns], dtype=np.float64)
