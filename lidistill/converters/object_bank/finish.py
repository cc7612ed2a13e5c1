# SPDX-License-Identifier: Apache-2.0
"""Gathered points to a scene's bank: registered, mirrored, thinned, capped."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.object_bank.accumulate import CLOUD_ARRAYS, Clouds, Gathered, gather
from lidistill.converters.object_bank.bank import CELL, MIRRORED, REFINED, SceneBank
from lidistill.converters.object_bank.options import MIRRORED as MIRRORED_CLASSES
from lidistill.converters.object_bank.options import BankOptions
from lidistill.converters.object_bank.tracks import SceneTracks
from lidistill.geometry.frames import invert


def make_bank(tracks: SceneTracks, options: BankOptions) -> SceneBank:
    """The bank of one scene."""
    gathered = gather(tracks, options)
    before, views = len(gathered.clouds.xyz), view_counts(gathered.clouds)
    clouds, moved = _finished(gathered, tracks, options)
    bank = _bank(tracks, options, replace(gathered, clouds=clouds), before, moved)
    bank.views, bank.view_points, bank.view_cells = views
    return bank


def view_counts(
    clouds: Clouds,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """What single frames see of each instance, before points are thinned.

    Returns:
        (I,) frames with a point of it; points, and cells of 0.3 m that hold one, in the mean frame.
    """
    count = len(clouds.offsets) - 1
    views, cells = np.zeros(count, dtype=np.int64), np.zeros(count)
    for instance in range(count):  # not all at once: that would take more memory than the bank
        rows = slice(*clouds.offsets[instance : instance + 2])
        cell = np.floor_divide(clouds.xyz[rows], np.int16(CELL * 1000)).astype(np.int64) + 128
        key = clouds.source[rows].astype(np.int64)
        views[instance] = np.count_nonzero(np.diff(key, prepend=-1))
        for axis in range(3):  # 8 bits each
            key = key << 8 | cell[:, axis]
        cells[instance] = len(np.unique(key))
    some = np.maximum(views, 1)
    return views, np.diff(clouds.offsets) / some, cells / some


def _finished(gathered: Gathered, tracks: SceneTracks, options: BankOptions) -> tuple[Clouds, int]:
    """Instance by instance; without anything to do the clouds as they are."""
    clouds = gathered.clouds
    if not (options.refine or options.mirror or options.voxel or options.caps is not None):
        return clouds, 0
    parts: dict[str, list[NDArray]] = {name: [] for name in CLOUD_ARRAYS}
    counts, moved = [], 0
    for instance, cloud in enumerate(instances_of(clouds)):
        own, name = cloud, tracks.names[instance]
        if options.refine and len(own.xyz):
            from lidistill.converters.object_bank.refine import refine_views

            own, shifted = refine_views(own)
            moved += shifted
        if options.mirror and name.lower() in MIRRORED_CLASSES:
            own = mirrored(own)
        rows = kept_rows(own, options.voxel, options.cap(name), _seed(options, tracks, instance))
        own = chosen(own, rows)
        counts.append(len(own.xyz))
        for field in CLOUD_ARRAYS:
            parts[field].append(getattr(own, field))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if not counts:
        return clouds, 0
    return Clouds(offsets, **{name: np.concatenate(part) for name, part in parts.items()}), moved


def instances_of(clouds: Clouds) -> Iterator[Clouds]:
    """Views of the points of each instance."""
    for start, end in zip(clouds.offsets, clouds.offsets[1:], strict=False):
        yield chosen(clouds, slice(int(start), int(end)))


def chosen(cloud: Clouds, rows: NDArray[np.int64] | slice) -> Clouds:
    """Some points of one instance."""
    arrays = {name: getattr(cloud, name) for name in CLOUD_ARRAYS}
    ringless = len(cloud.ring) == 0
    kept = {n: a if n == "ring" and ringless else a[rows] for n, a in arrays.items()}
    return Clouds(np.array([0, len(kept["xyz"])], dtype=np.int64), **kept)


def mirrored(cloud: Clouds) -> Clouds:
    """A cloud and its image in the plane y = 0 of the object, each view beside its image."""
    image = replace(
        cloud,
        xyz=cloud.xyz * np.array([1, -1, 1], dtype=np.int16),
        flags=cloud.flags | np.uint8(MIRRORED),
    )
    both = {n: np.concatenate([getattr(cloud, n), getattr(image, n)]) for n in CLOUD_ARRAYS}
    order = np.argsort(both["source"], kind="stable")
    both = {n: a[order] if len(a) == len(order) else a for n, a in both.items()}
    return Clouds(np.array([0, len(order)], dtype=np.int64), **both)


def kept_rows(cloud: Clouds, voxel: float, cap: int | None, seed: int) -> NDArray[np.int64]:
    """Rows that stay: the first point of each cell, seen points before mirrored ones; then a draw.

    Args:
        cloud: of one instance.
        voxel: metres; 0 keeps all.
        cap: most points; None for any number.
        seed: of the draw.

    Returns:
        (k,) ascending, so the order of source frames stays.
    """
    rows = np.arange(len(cloud.xyz))
    if voxel > 0 and len(rows):
        size = max(1, round(voxel * 1000))
        cells = np.floor_divide(cloud.xyz.astype(np.int64), size) + 40_000
        key = (cells[:, 0] * 80_001 + cells[:, 1]) * 80_001 + cells[:, 2]
        real_first = np.argsort(cloud.flags & MIRRORED, kind="stable")
        _, first = np.unique(key[real_first], return_index=True)
        rows = np.sort(real_first[first])
    if cap is not None and len(rows) > cap:
        drawn = np.random.default_rng(seed).permutation(len(rows))[:cap]
        rows = rows[np.sort(drawn)]
    return rows


def _seed(options: BankOptions, tracks: SceneTracks, instance: int) -> int:
    """Of the instance, not of its place in the scene or of the process that works on it."""
    text = f"{options.seed}/{tracks.name}/{tracks.tokens[instance]}"
    return zlib.crc32(text.encode())


def _bank(
    tracks: SceneTracks, options: BankOptions, gathered: Gathered, before: int, moved: int
) -> SceneBank:
    clouds, placed = gathered.clouds, gathered.placed
    sensor_from_world = np.array(
        [invert(frame.world_from_sensor) for frame in tracks.frames]
    ).reshape(-1, 4, 4)[tracks.box_frame]
    sensor_from_box = sensor_from_world @ tracks.world_from_box
    standing = placed.standing[tracks.box_instance][:, None, None]
    fused = sensor_from_world @ placed.world_from_object[tracks.box_instance]
    report = {
        **asdict(gathered.tally),
        "instances": len(tracks.tokens),
        "standing": int(placed.standing.sum()),
        "gathered_points": before,
        "stored_points": len(clouds.xyz),
        "refined_points": int((clouds.flags & REFINED > 0).sum()),
        "refined_views": moved,
        "notes": tracks.notes,
        "tracks": tracks.digest(),
    }
    scale = {frame.intensity_max for frame in tracks.frames} or {255.0}
    return SceneBank(
        tokens=np.array(tracks.tokens, dtype=np.str_),
        names=np.array(tracks.names, dtype=np.str_),
        sizes=placed.sizes,
        standing=placed.standing,
        views=np.zeros(len(tracks.tokens), dtype=np.int64),
        view_points=np.zeros(len(tracks.tokens)),
        view_cells=np.zeros(len(tracks.tokens)),
        offsets=clouds.offsets,
        xyz=clouds.xyz,
        intensity=clouds.intensity,
        ring=clouds.ring,
        source=clouds.source,
        flags=clouds.flags,
        frame_tokens=np.array([frame.token for frame in tracks.frames], dtype=np.str_),
        frame_seconds=np.array([frame.seconds for frame in tracks.frames], dtype=np.float64),
        frame_key=np.array([frame.key for frame in tracks.frames], dtype=bool),
        box_frame=tracks.box_frame,
        box_instance=tracks.box_instance,
        box_sizes=tracks.sizes,
        sensor_from_box=sensor_from_box,
        sensor_from_object=np.where(standing, fused, sensor_from_box),
        intensity_max=np.array([max(scale)], dtype=np.float64),
        ground_margin=np.array([options.ground_margin], dtype=np.float64),
        report=np.array([json.dumps(report, sort_keys=True)], dtype=np.str_),
    )
