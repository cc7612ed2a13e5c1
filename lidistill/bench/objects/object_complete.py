# SPDX-License-Identifier: Apache-2.0
"""Benches of object-complete frames: a scene's bank, and every frame of it composed.

The reference does it the way the authors' tool does: for every object and every frame of its track
the frame's file is loaded, moved through the vehicle's and the world's frame in single precision,
and tested against one box; a frame is completed object by object, each one testing and copying the
cloud that has grown so far. Their look-ups in nuScenes' tables, which take longer the larger the
tables are, are left out.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill.bench.case import Case
from lidistill.converters.object_bank.bank import SceneBank
from lidistill.converters.object_bank.compose import compose
from lidistill.converters.object_bank.finish import make_bank
from lidistill.converters.object_bank.options import BankOptions
from lidistill.converters.object_bank.tracks import (
    UNKNOWN,
    Frame,
    SceneTracks,
    scene_tracks,
    upright_boxes,
)
from lidistill.geometry.boxes import boxes_to_corners
from lidistill.geometry.frames import apply_transform, invert, rotation_about_z
from lidistill.geometry.frames import compose as chain


@dataclass(frozen=True)
class Size:
    """A scene in numbers."""

    frames: int
    points: int
    objects: int
    in_box: int


FULL = Size(40, 35_000, 40, 73)
QUICK = Size(4, 2_000, 5, 30)


def cases(size: str) -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = a scene of nuScenes' size; "quick" = seconds, for tests.

    Returns:
        The whole scene with its reference; gathering and composition by themselves.
    """
    scene = MadeScene(FULL if size == "full" else QUICK)
    words = scene.words
    return [
        Case("object-complete", words, scene.reference, scene.ours),
        Case("object-complete, gathering of a scene", words, None, scene.gather),
        Case("object-complete, composition of its frames", words, None, scene.compose_all),
    ]


class MadeScene:
    """A seeded drive past parked and moving boxes, in files as a data set has them."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.folder = tempfile.TemporaryDirectory()
        self.rng = np.random.default_rng(0)
        self.sensor = rotation_about_z(0.02)
        self.sensor[:3, 3] = [0.9, 0.0, 1.8]
        self.egos: list[NDArray[np.float64]] = []
        self.boxes = self._boxes()  # (frames, objects, 7) in the world
        self.tracks = self._tracks()
        self.bank = make_bank(self.tracks, BankOptions.plain())
        grown = size.points + len(self.bank.xyz)
        self.words = (
            f"{size.frames} frames x {size.points} points x {size.objects} boxes, about "
            f"{round(grown, -3)} points a completed frame"
        )

    def _boxes(self) -> NDArray[np.float64]:
        count, rng = self.size.objects, self.rng
        start = np.column_stack(
            [
                1200.0 + 8.0 * (np.arange(count) // 4),
                900.0 + 6.0 * (np.arange(count) % 4) - 9.0,
                np.full(count, 0.85),
                np.tile([4.4, 1.9, 1.7], (count, 1)),
                rng.uniform(-0.1, 0.1, count),
            ]
        )
        moved = np.tile(start, (self.size.frames, 1, 1))
        speed = np.where(np.arange(count) % 4 == 0, 4.0, 0.0)  # one lane: no boxes overlap
        moved[:, :, 0] += 0.5 * np.arange(self.size.frames)[:, None] * speed
        return moved

    def _tracks(self) -> SceneTracks:
        frames, rows = [], []
        for index in range(self.size.frames):
            ego = rotation_about_z(0.01 * index)
            ego[:3, 3] = [1200.0 + 2.0 * index, 900.0, 0.0]
            self.egos.append(ego)
            pose = chain(ego, self.sensor)
            placed = upright_boxes(self.boxes[index])
            path = Path(self.folder.name) / f"{index:03d}.bin"
            self._cloud(pose, placed, index).tofile(path)
            frames.append(Frame(f"{index}", 0.5 * index, pose, path, 5))
            for number in range(self.size.objects):
                sides = self.boxes[index, number, 3:6]
                rows.append((index, f"{number}", "car", placed[number], sides, UNKNOWN))
        return scene_tracks("made", frames, rows)

    def _cloud(
        self, pose: NDArray[np.float64], placed: NDArray[np.float64], index: int
    ) -> NDArray[np.float32]:
        size, rng = self.size, self.rng
        inside = size.objects * size.in_box
        local = rng.uniform(-0.499, 0.499, (size.objects, size.in_box, 3))
        local *= self.boxes[index, :, None, 3:6]
        world = np.concatenate([apply_transform(placed[n], local[n]) for n in range(size.objects)])
        ground = rng.uniform([-60, -60, -1.9], [60, 60, -1.8], (size.points - inside, 3))
        points = np.zeros((size.points, 5), dtype=np.float32)
        points[:, :3] = np.concatenate([apply_transform(invert(pose), world), ground])
        points[:, 3] = rng.integers(0, 256, size.points)
        points[:, 4] = rng.integers(0, 32, size.points)
        return points[rng.permutation(size.points)]

    def gather(self) -> SceneBank:
        """The bank of the scene, files read."""
        return make_bank(self.tracks, BankOptions.plain())

    def compose_all(self, bank: SceneBank | None = None) -> int:
        """Every frame completed, files read; the number of points of all of them."""
        total = 0
        for index, frame in enumerate(self.tracks.frames):
            points = frame.read()
            total += len(compose(points, bank or self.bank, index, ring_column=4).cloud)
        return total

    def ours(self) -> int:
        """Both."""
        return self.compose_all(self.gather())

    def reference(self) -> int:
        """The authors' way; the number of points of all completed frames."""
        clouds = [self._object(number) for number in range(self.size.objects)]
        return sum(len(self._patched(index, clouds)) for index in range(self.size.frames))

    def _object(self, number: int) -> NDArray[np.float32]:
        """Points of one object in its box's frame, a frame loaded for each view."""
        whole = np.zeros((0, 4), dtype=np.float32)
        for index in range(self.size.frames):
            points = self._load(index)
            move(points, self.sensor)
            move(points, self.egos[index])
            box = self.boxes[index, number]
            found = points[in_box(points, box)]
            move(found, invert(upright_boxes(box[None])[0]))
            whole = np.concatenate([whole, found])
        return whole

    def _patched(self, index: int, clouds: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        points = self._load(index)
        for number, cloud in enumerate(clouds):
            box = self.boxes[index, number]
            placed = chain(
                invert(self.sensor), invert(self.egos[index]), upright_boxes(box[None])[0]
            )
            local = box.copy()
            local[:3] = placed[:3, 3]
            local[6] = np.arctan2(placed[1, 0], placed[0, 0])
            points = points[~in_box(points, local)]
            pasted = cloud.copy()
            move(pasted, upright_boxes(box[None])[0])
            move(pasted, invert(self.egos[index]))
            move(pasted, invert(self.sensor))
            points = np.concatenate([points, pasted])
        return points

    def _load(self, index: int) -> NDArray[np.float32]:
        path = Path(self.folder.name) / f"{index:03d}.bin"
        return np.fromfile(path, dtype=np.float32).reshape(-1, 5)[:, :4]


def move(points: NDArray[np.float32], transform: NDArray[np.float64]) -> None:
    """Rotate, then shift, in single precision and in place."""
    points[:, :3] = points[:, :3] @ transform[:3, :3].T.astype(np.float32)
    points[:, :3] += transform[:3, 3].astype(np.float32)


def in_box(points: NDArray[np.float32], box: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points lie in one box: projections onto its three edges, as the devkit tests it."""
    corners = boxes_to_corners(box[None])[0]
    origin = corners[0]
    inside = np.ones(len(points), dtype=bool)
    for other in (corners[1], corners[3], corners[4]):
        edge = other - origin
        along = (points[:, :3] - origin) @ edge
        inside &= (along >= 0) & (along <= edge @ edge)
    return inside
