# SPDX-License-Identifier: Apache-2.0
"""What a bank is made from: the frames of one scene with poses, and the boxes of its tracks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.boxes import yaw_of_rotation
from lidistill.geometry.frames import invert, make_transform, rotation_about_z
from lidistill.io import DataError, evenly, glance, read_points

UNKNOWN = -1  # points of a box that its annotation does not count
LOOKED_AT = 8  # clouds of a scene whose beginnings tell whether all were written anew
JUMP_SPEED = 60.0  # m/s; faster, a track is taken to jump


@dataclass(frozen=True)
class Frame:
    """One cloud of a scene.

    Attributes:
        token: of the sample, or of the sweep.
        seconds: time.
        world_from_sensor: (4, 4) float64.
        path: the cloud: raw float32.
        columns: values a point: x, y, z, intensity, then ring where there are five.
        key: annotated itself; False for a sweep between annotated frames.
        intensity_max: the sensor's full scale: 255 in nuScenes, 1 in KITTI.
    """

    token: str
    seconds: float
    world_from_sensor: NDArray[np.float64]
    path: Path
    columns: int
    key: bool = True
    intensity_max: float = 255.0

    def read(self) -> NDArray[np.float32]:
        """Its points (N, columns); those with NaN or infinity are left out by no one here."""
        return read_points(self.path, self.columns, self.token, nonfinite="keep")


@dataclass
class SceneTracks:
    """Everything about one scene but its points.

    Attributes:
        name: of the scene, plain enough for a file.
        frames: in the order of time, keyframes and sweeps.
        tokens: of each instance.
        names: class of each instance.
        box_frame: (P,) frame of each box; boxes are sorted by frame, then as annotated.
        box_instance: (P,) its instance.
        world_from_box: (P, 4, 4) float64.
        sizes: (P, 3) length, width, height in metres.
        counts: (P,) points that the annotation claims, or :data:`UNKNOWN`.
        moving: (I,) 1 moving, 0 standing, -1 the annotations do not say.
        notes: what was found wrong and worked around.
    """

    name: str
    frames: list[Frame]
    tokens: list[str]
    names: list[str]
    box_frame: NDArray[np.int64]
    box_instance: NDArray[np.int64]
    world_from_box: NDArray[np.float64]
    sizes: NDArray[np.float64]
    counts: NDArray[np.int64]
    moving: NDArray[np.int8]
    notes: list[str]

    def boxes_of(self, frame: int) -> slice:
        """Rows of the boxes of a frame."""
        first, last = np.searchsorted(self.box_frame, [frame, frame + 1])
        return slice(int(first), int(last))

    def digest(self) -> str:
        """Of all here, the clouds' sizes and beginnings of some: whether it is still the same."""
        found = hashlib.sha256()
        for frame in self.frames:
            size = frame.path.stat().st_size if frame.path.is_file() else -1
            words = (frame.token, frame.seconds, frame.columns, frame.key, frame.intensity_max)
            found.update(repr((*words, frame.path.name, size)).encode())
            found.update(np.ascontiguousarray(frame.world_from_sensor).tobytes())
        for frame in evenly(self.frames, LOOKED_AT):
            found.update(repr(glance(frame.path)).encode())
        found.update(repr((self.tokens, self.names)).encode())
        for name in ("box_frame", "box_instance", "world_from_box", "sizes", "counts", "moving"):
            found.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return found.hexdigest()[:16]


class TrackSource(Protocol):
    """Anything that names scenes and reads them one at a time; sent to worker processes."""

    def scenes(self) -> list[str]:
        """Names, in a fixed order."""

    def read(self, scene: str) -> SceneTracks:
        """One of them."""

    def recorded(self) -> dict[str, object]:
        """Settings that change what is read, for the manifest; no folder of this machine."""


@dataclass(frozen=True)
class Scaled:
    """A source whose sensor has another full scale than its layout's.

    Attributes:
        source: of the scenes.
        intensity_max: the sensor's full scale.
    """

    source: TrackSource
    intensity_max: float

    def __post_init__(self) -> None:
        if not 0 < self.intensity_max < np.inf:
            raise ValueError(f"--intensity-max: expected more than 0, got {self.intensity_max}")

    def scenes(self) -> list[str]:
        """Names, in the source's order."""
        return self.source.scenes()

    def read(self, scene: str) -> SceneTracks:
        """One of them."""
        found = self.source.read(scene)
        frames = [replace(frame, intensity_max=self.intensity_max) for frame in found.frames]
        return replace(found, frames=frames)

    def recorded(self) -> dict[str, object]:
        """What changes the content."""
        return {**self.source.recorded(), "intensity_max": self.intensity_max}


def upright_boxes(boxes: NDArray) -> NDArray[np.float64]:
    """``frame_from_box`` (M, 4, 4) of boxes x, y, z (centre), l, w, h, yaw (M, 7+)."""
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, np.shape(boxes)[-1] or 7)
    result = np.zeros((len(array), 4, 4))
    for row, box in enumerate(array):
        result[row] = rotation_about_z(float(box[6]))
        result[row, :3, 3] = box[:3]
    return result


def scene_tracks(
    name: str,
    frames: list[Frame],
    rows: list[tuple[int, str, str, NDArray[np.float64], NDArray[np.float64], int]],
    moving: dict[str, bool] | None = None,
    notes: list[str] | None = None,
) -> SceneTracks:
    """A scene from one tuple a box: what every source ends with.

    Args:
        name: of the scene.
        frames: in the order of time.
        rows: (frame, instance token, class, world_from_box (4, 4), size l, w, h (3,), points
            claimed or :data:`UNKNOWN`), in any order of frames.
        moving: what annotations say of instances.
        notes: to go into the report.

    Raises:
        DataError: two boxes of one instance in one frame, or frames out of order.
    """
    times = [frame.seconds for frame in frames]
    if any(after <= before for before, after in pairwise(times)):
        raise DataError(
            f"Expected the frames of scene {name} one after the other in time.",
            fix="sort them, or correct their timestamps.",
        )
    rows = sorted(rows, key=lambda row: row[0])  # stable: the annotation's order within a frame
    order = list(dict.fromkeys(row[1] for row in rows))
    index = {token: i for i, token in enumerate(order)}
    names = {row[1]: row[2] for row in reversed(rows)}
    found = SceneTracks(
        name,
        frames,
        order,
        [names[token] for token in order],
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([index[row[1]] for row in rows], dtype=np.int64),
        np.array([row[3] for row in rows], dtype=np.float64).reshape(-1, 4, 4),
        np.array([row[4] for row in rows], dtype=np.float64).reshape(-1, 3),
        np.array([row[5] for row in rows], dtype=np.int64),
        np.array([int((moving or {}).get(t, -1)) for t in order], dtype=np.int8),
        list(notes or []),
    )
    _check(found)
    return found


def _check(tracks: SceneTracks) -> None:
    """Refuse what cannot be, note what is odd."""
    pairs = tracks.box_frame * max(1, len(tracks.tokens)) + tracks.box_instance
    values, counts = np.unique(pairs, return_counts=True)
    if (counts > 1).any():
        frame, instance = divmod(int(values[counts > 1][0]), len(tracks.tokens))
        raise DataError(
            f"Expected one box of an instance in a frame, but {tracks.tokens[instance]} has "
            f"{int(counts.max())} in this one (scene {tracks.name}).",
            token=tracks.frames[frame].token,
            fix="give the objects different instance tokens (track ids).",
        )
    flat = (tracks.sizes <= 0).any(axis=1)
    if flat.any():
        tracks.notes.append(f"{int(flat.sum())} boxes without extent hold no points")
    for instance in range(len(tracks.tokens)):
        rows = np.flatnonzero(tracks.box_instance == instance)
        jumps = jumps_of(tracks, rows)
        if jumps.any():
            at = int(rows[np.flatnonzero(jumps)[0]])
            tracks.notes.append(
                f"track {tracks.tokens[instance]} ({tracks.names[instance]}) jumps after frame "
                f"{tracks.frames[tracks.box_frame[at]].token}: faster than {JUMP_SPEED:g} m/s"
            )


def jumps_of(tracks: SceneTracks, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(R - 1,) whether a track's box and the next are farther apart than an object travels."""
    if len(rows) < 2:
        return np.zeros(0, dtype=bool)
    seconds = np.array([tracks.frames[f].seconds for f in tracks.box_frame[rows]])
    steps = np.linalg.norm(np.diff(tracks.world_from_box[rows, :3, 3], axis=0), axis=1)
    return np.asarray(steps > JUMP_SPEED * np.diff(seconds) + 1.0)


def sweep_boxes(
    tracks: SceneTracks, frame: int, longest: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Boxes at the time of a sweep, between the annotated frames on both sides of it.

    Centres and sizes go linearly, rotations along the shortest turn. Where a track is not annotated
    on both sides, jumps, or the two are far apart in time, it has no box: nothing is extrapolated.

    Args:
        tracks: of the scene.
        frame: index of the sweep.
        longest: seconds between the two annotated frames.

    Returns:
        Instances (M,), world_from_box (M, 4, 4) and sizes (M, 3).
    """
    keys = np.array([i for i, f in enumerate(tracks.frames) if f.key], dtype=np.int64)
    after = int(np.searchsorted(keys, frame))
    nothing = np.zeros(0, np.int64), np.zeros((0, 4, 4)), np.zeros((0, 3))
    if after == 0 or after == len(keys):
        return nothing
    before_time, after_time = (tracks.frames[k].seconds for k in keys[after - 1 : after + 1])
    if after_time - before_time > longest:
        return nothing
    first, last = tracks.boxes_of(int(keys[after - 1])), tracks.boxes_of(int(keys[after]))
    _, left, right = np.intersect1d(
        tracks.box_instance[first], tracks.box_instance[last], return_indices=True
    )
    order = np.argsort(left, kind="stable")  # the annotation's order
    a, b = left[order] + first.start, right[order] + last.start
    gap = np.linalg.norm(tracks.world_from_box[a, :3, 3] - tracks.world_from_box[b, :3, 3], axis=1)
    near = gap <= JUMP_SPEED * (after_time - before_time) + 1.0
    a, b = a[near], b[near]
    part = (tracks.frames[frame].seconds - before_time) / (after_time - before_time)
    poses = between(tracks.world_from_box[a], tracks.world_from_box[b], part)
    return tracks.box_instance[a], poses, (1 - part) * tracks.sizes[a] + part * tracks.sizes[b]


def between(first: NDArray, last: NDArray, part: float) -> NDArray[np.float64]:
    """Poses (M, 4, 4) a part of the way from one to another: linear, and the shortest turn."""
    from scipy.spatial.transform import Rotation

    if len(first) == 0:
        return np.zeros((0, 4, 4))
    result = (1 - part) * np.asarray(first) + part * np.asarray(last)
    start = Rotation.from_matrix(first[:, :3, :3])
    turn = (start.inv() * Rotation.from_matrix(last[:, :3, :3])).as_rotvec()
    result[:, :3, :3] = (start * Rotation.from_rotvec(part * turn)).as_matrix()
    return result


def median_box(poses: NDArray, sizes: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One pose (4, 4) and size (3,) for an object that stands, from its boxes (T, 4, 4), (T, 3).

    Centre and size are medians; the rotation is that of the box whose heading is nearest to the
    mean heading, so that it stays a rotation.
    """
    yaw = yaw_of_rotation(poses[:, :3, :3])
    mean = np.arctan2(np.sin(yaw).mean(), np.cos(yaw).mean())
    nearest = int(np.argmin(np.abs(np.angle(np.exp(1j * (yaw - mean))))))
    pose = make_transform(poses[nearest, :3, :3], np.median(poses[:, :3, 3], axis=0))
    return pose, np.median(sizes, axis=0)


def inverses(transforms: NDArray) -> NDArray[np.float64]:
    """(M, 4, 4) inverses of rigid transforms, also for none of them."""
    return invert(transforms) if len(transforms) else np.zeros((0, 4, 4))
