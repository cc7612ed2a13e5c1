# SPDX-License-Identifier: Apache-2.0
"""The points of each object, gathered frame by frame: one cloud in memory at a time.

Source: X-Ray Distillation (CVPR 2024), "object-complete frames"; the public patching tool.
Differs from the authors' release: every frame is read once and all its boxes are tested in one
pass; one composed transform in double precision takes a point from the sensor to its object (theirs
rounds to single precision three times); objects that stand are fused in the world; sweeps count;
points that disagree with the annotated number are reported, where theirs ends the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.object_bank.bank import FROM_SWEEP, MAX_METRES, STANDING
from lidistill.converters.object_bank.motion import stands
from lidistill.converters.object_bank.options import BankOptions
from lidistill.converters.object_bank.tracks import (
    UNKNOWN,
    Frame,
    SceneTracks,
    inverses,
    median_box,
    sweep_boxes,
)
from lidistill.geometry.frames import invert
from lidistill.io import DataError
from lidistill.ops.boxes.object_points import BoxPoints, points_by_box

FEW, ABOVE = 20, 0.01
"""Points of a frame that tell a scale; share of them that may lie above it."""
CLOUD_ARRAYS = {
    "xyz": np.int16,
    "intensity": np.uint8,
    "ring": np.uint8,
    "source": np.uint16,
    "flags": np.uint8,
}


@dataclass
class Placed:
    """How a scene's instances are fused.

    Attributes:
        standing: (I,) in the world's frame, with one box.
        world_from_object: (I, 4, 4) of those; identity for the others.
        sizes: (I, 3) median size.
    """

    standing: NDArray[np.bool_]
    world_from_object: NDArray[np.float64]
    sizes: NDArray[np.float64]


@dataclass
class FramePoints:
    """Objects' points of one frame.

    Attributes:
        frame: index.
        instances: (M,) of the boxes.
        found: their points, in the objects' frames.
        points: (N, C) the whole cloud.
    """

    frame: int
    instances: NDArray[np.int64]
    found: BoxPoints
    points: NDArray[np.float32]


@dataclass
class Tally:
    """What was counted on the way.

    Attributes:
        boxes: annotated boxes.
        empty: of them without a point.
        counted: boxes whose annotation says a number of points.
        differ: of them with another number.
        largest_difference: points.
        missing_sweeps: sweeps whose file is not there.
        cut: points outside of what the bank can hold.
    """

    boxes: int = 0
    empty: int = 0
    counted: int = 0
    differ: int = 0
    largest_difference: int = 0
    missing_sweeps: int = 0
    cut: int = 0


@dataclass
class Clouds:
    """Points of all instances as they are stored, instance by instance.

    Attributes:
        offsets: (I + 1,) rows of each.
        xyz: (K, 3) int16 millimetres.
        intensity: (K,) uint8.
        ring: (K,) uint8, or (0,).
        source: (K,) uint16 frame; ascending within an instance.
        flags: (K,) uint8.
    """

    offsets: NDArray[np.int64]
    xyz: NDArray[np.int16]
    intensity: NDArray[np.uint8]
    ring: NDArray[np.uint8]
    source: NDArray[np.uint16]
    flags: NDArray[np.uint8]


@dataclass
class Gathered:
    """All objects' points of a scene.

    Attributes:
        clouds: of the instances.
        placed: how they were fused.
        tally: what was counted.
    """

    clouds: Clouds
    placed: Placed
    tally: Tally


def place_instances(tracks: SceneTracks, fuse_static: bool) -> Placed:
    """Which instances stand, and where."""
    count = len(tracks.tokens)
    placed = Placed(
        np.zeros(count, dtype=bool), np.tile(np.eye(4), (count, 1, 1)), np.zeros((count, 3))
    )
    order = np.argsort(tracks.box_instance, kind="stable")
    edges = np.searchsorted(tracks.box_instance[order], np.arange(count + 1))
    for instance in range(count):
        rows = order[edges[instance] : edges[instance + 1]]
        pose, size = median_box(tracks.world_from_box[rows], tracks.sizes[rows])
        placed.sizes[instance] = size
        if fuse_static and stands(tracks, instance, rows):
            placed.standing[instance] = True
            placed.world_from_object[instance] = pose
    return placed


def object_points(
    tracks: SceneTracks, options: BankOptions, placed: Placed, tally: Tally
) -> Iterator[FramePoints]:
    """The objects' points of each frame, in the order of time; the frames are read one by one."""
    for index, frame in enumerate(tracks.frames):
        if frame.key:
            rows = tracks.boxes_of(index)
            instances = tracks.box_instance[rows]
            poses, sizes = tracks.world_from_box[rows], tracks.sizes[rows]
        elif options.sweeps:
            instances, poses, sizes = sweep_boxes(tracks, index)
            if len(instances) and not frame.path.is_file():
                tally.missing_sweeps += 1
                continue
        else:
            continue
        if len(instances) == 0:
            continue
        points = frame.read()
        box_from_sensor = inverses(poses) @ frame.world_from_sensor
        object_from_sensor = box_from_sensor.copy()
        stood = placed.standing[instances]
        if stood.any():
            world_from_object = placed.world_from_object[instances[stood]]
            object_from_sensor[stood] = invert(world_from_object) @ frame.world_from_sensor
        half = np.where((sizes > 0).all(axis=1, keepdims=True), sizes / 2, -1.0)
        found = points_by_box(
            points, box_from_sensor, half, options.ground_margin, object_from_sensor
        )
        if frame.key:
            _count(tally, tracks.counts[rows], found.counts, options)
        yield FramePoints(index, instances, found, points)


def gather(tracks: SceneTracks, options: BankOptions) -> Gathered:
    """All of them, as they are stored.

    Raises:
        DataError: more frames than a source number can name.
    """
    if len(tracks.frames) > np.iinfo(np.uint16).max:
        raise DataError(
            f"Expected at most 65,535 frames in a scene, {tracks.name} has {len(tracks.frames)}.",
            fix="cut the scene in parts.",
        )
    placed, tally = place_instances(tracks, options.fuse_static), Tally()
    seen = object_points(tracks, options, placed, tally)
    parts = [_compact(one, tracks, placed, tally) for one in seen]
    return Gathered(_by_instance(parts, len(tracks.tokens)), placed, tally)


def _compact(
    seen: FramePoints, tracks: SceneTracks, placed: Placed, tally: Tally
) -> dict[str, NDArray]:
    """One frame's points in the bank's types, box by box; the boxes' instances and counts."""
    frame, found, counts = tracks.frames[seen.frame], seen.found, seen.found.counts
    values = seen.points[found.rows, 3:]  # (K, C - 3)
    xyz = found.xyz
    if np.abs(xyz).max(initial=0.0) > MAX_METRES:
        fits = (np.abs(xyz) <= MAX_METRES).all(axis=1)
        tally.cut += int((~fits).sum())
        box = np.repeat(np.arange(len(counts)), counts)
        counts = np.bincount(box[fits], minlength=len(counts))
        values, xyz = values[fits], xyz[fits]
    level = values[:, 0] if values.shape[1] else np.zeros(len(xyz), dtype=np.float32)
    _check_scale(level, frame)
    ring = values[:, 1] if values.shape[1] > 1 else values[:0].reshape(-1)
    flags = np.where(placed.standing[seen.instances], STANDING, 0) | (
        0 if frame.key else FROM_SWEEP
    )
    return {
        "instances": seen.instances,
        "counts": counts,
        "xyz": np.rint(xyz * 1000.0).astype(np.int16),
        "intensity": _bytes(level * (255.0 / frame.intensity_max)),
        "ring": _bytes(ring),
        "source": np.full(len(xyz), seen.frame, dtype=np.uint16),
        "flags": np.repeat(flags.astype(np.uint8), counts),
    }


def _check_scale(level: NDArray, frame: Frame) -> None:
    """Refuse intensities of another scale than the sensor is said to have: all would be 0, or full.

    Raises:
        DataError: many lie above it, or all of them are fractions of one where it is larger.
    """
    full = frame.intensity_max
    if len(level) < FEW:
        return
    highest = float(level.max())
    fractions = full > 1 and highest <= 1 and bool((level != np.rint(level)).any())
    if fractions or (level > full).mean() > ABOVE:
        raise DataError(
            f"Intensities of {len(level)} points of objects go to {highest:g}, the sensor's full "
            f"scale is taken to be {full:g}.",
            path=frame.path,
            token=frame.token,
            fix="say the full scale with --intensity-max: 1 for 0..1, 255 for 0..255.",
        )


def _bytes(values: NDArray) -> NDArray[np.uint8]:
    if not np.isfinite(values.sum(dtype=np.float64)):
        values = np.nan_to_num(values)
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _by_instance(parts: list[dict[str, NDArray]], count: int) -> Clouds:
    """Every point to its instance, frame by frame; a frame's part is given up once it is there.

    An instance has one box in a frame at most, so the order of frames and points stays in it.
    """
    offsets = np.zeros(count + 1, dtype=np.int64)
    for part in parts:
        offsets[1 + part["instances"]] += part["counts"]
    offsets = np.cumsum(offsets)
    ringed = all(len(part["ring"]) == len(part["xyz"]) for part in parts)
    arrays = {}
    for name, kind in CLOUD_ARRAYS.items():
        rows = 0 if name == "ring" and not ringed else int(offsets[-1])
        arrays[name] = np.empty((rows, 3) if name == "xyz" else rows, dtype=kind)
    free = offsets[:-1].copy()
    parts.reverse()
    while parts:
        part = parts.pop()
        own, counts = part["instances"], part["counts"]
        first = np.cumsum(counts) - counts  # of each box, in this part
        place = np.repeat(free[own] - first, counts) + np.arange(len(part["xyz"]))
        free[own] += counts
        for name, array in arrays.items():
            if len(array):
                array[place] = part[name]
    return Clouds(offsets, **arrays)


def _count(
    tally: Tally, claimed: NDArray[np.int64], found: NDArray[np.int64], options: BankOptions
) -> None:
    tally.boxes += len(found)
    tally.empty += int((found == 0).sum())
    if options.ground_margin > 0:  # other points count here than there
        return
    known = claimed != UNKNOWN
    differ = np.abs(claimed[known] - found[known])
    tally.counted += int(known.sum())
    tally.differ += int((differ > 0).sum())
    tally.largest_difference = max(tally.largest_difference, int(differ.max(initial=0)))
