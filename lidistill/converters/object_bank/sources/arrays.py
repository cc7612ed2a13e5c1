# SPDX-License-Identifier: Apache-2.0
"""Tracks from plain arrays: one folder a scene, for data sets that have no reader here.

``<scene>/boxes.npz`` holds ``frame`` (P,), ``instance`` (P,), ``name`` (P,) and ``box`` (P, 7) x,
y, z (centre), length, width, height in metres, yaw in radians, **in the frame of the sensor** (as
Waymo and ONCE give them); with poses also ``world_from_sensor`` (F, 4, 4); ``seconds`` (F,) where
frames are not 0.1 s apart. Clouds are ``<scene>/points/*.bin``, raw float32, in the order of their
names, numbers in them counting as numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.object_bank.tracks import (
    UNKNOWN,
    Frame,
    SceneTracks,
    scene_tracks,
    upright_boxes,
)
from lidistill.geometry.plausible import MAX_MAP_METRES, boxes_fault, transform_fault
from lidistill.io import DataError, ordered_files

FORM = (
    "write SCENE/points/*.bin and SCENE/boxes.npz with the arrays frame, instance, name and box, "
    "as docs/object_bank.md shows."
)
PERIOD = 0.1


class ArraySource:
    """Scenes of a folder.

    Args:
        root: holds one folder a scene.
        columns: float32 values a point.
        intensity_max: the sensor's full scale.
    """

    def __init__(self, root: Path, columns: int = 4, intensity_max: float = 1.0) -> None:
        self.root, self.columns, self.intensity_max = root, columns, intensity_max
        self._scenes = sorted(path.parent.name for path in root.glob("*/boxes.npz"))
        if not self._scenes:
            raise DataError("No scene there (SCENE/boxes.npz).", path=root, fix=FORM)

    def scenes(self) -> list[str]:
        """Names of the folders."""
        return self._scenes

    def recorded(self) -> dict[str, object]:
        """What changes the content."""
        return {
            "layout": "arrays",
            "columns": self.columns,
            "intensity_max": self.intensity_max,
        }

    def read(self, scene: str) -> SceneTracks:
        """One folder."""
        folder = self.root / scene
        clouds = ordered_files(folder / "points", ".bin")
        if not clouds:
            raise DataError(
                "Expected clouds (*.bin), found none.", path=folder / "points", fix=FORM
            )
        arrays = _arrays(folder / "boxes.npz", len(clouds))
        poses, notes = arrays.get("world_from_sensor"), []
        if poses is None:
            notes.append("no poses: every object is fused in the frame of its boxes")
            poses = np.tile(np.eye(4), (len(clouds), 1, 1))
        seconds = arrays.get("seconds", PERIOD * np.arange(len(clouds)))
        frames = [
            Frame(
                f"{scene}/{path.stem}",
                float(seconds[k]),
                poses[k],
                path,
                self.columns,
                intensity_max=self.intensity_max,
            )
            for k, path in enumerate(clouds)
        ]
        placed = upright_boxes(arrays["box"])
        rows: list[tuple[Any, ...]] = [
            (
                int(frame),
                str(arrays["instance"][k]),
                str(arrays["name"][k]),
                poses[int(frame)] @ placed[k],
                arrays["box"][k, 3:6],
                UNKNOWN,
            )
            for k, frame in enumerate(arrays["frame"])
        ]
        moving = None if "world_from_sensor" in arrays else {row[1]: True for row in rows}
        return scene_tracks(scene, frames, rows, moving, notes)


def _arrays(path: Path, frames: int) -> dict[str, NDArray]:
    """The file, checked."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive raises nearly anything
        raise DataError(
            f"Expected plain arrays, but they do not load: {error}.", path=path, fix=FORM
        ) from error
    fault = _fault(arrays, frames)
    if fault:
        raise DataError(f"Expected boxes of {frames} frames, but {fault}.", path=path, fix=FORM)
    return arrays


def _fault(arrays: dict[str, NDArray], frames: int) -> str | None:
    lacking = {"frame", "instance", "name", "box"} - arrays.keys()
    if lacking:
        return f"{', '.join(sorted(lacking))} is missing"
    count = len(arrays["frame"])
    shapes = {"instance": (count,), "name": (count,), "box": (count, 7)}
    if "world_from_sensor" in arrays:
        shapes["world_from_sensor"] = (frames, 4, 4)
    if "seconds" in arrays:
        shapes["seconds"] = (frames,)
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            return f"{name} is {arrays[name].shape}, expected {shape}"
        if name in ("instance", "name"):
            continue
        if arrays[name].dtype.kind not in "iuf" or not np.isfinite(arrays[name]).all():
            return f"{name} holds NaN, infinity or no numbers"
    frame = arrays["frame"]
    if frame.dtype.kind not in "iu" or (count and not 0 <= frame.min() <= frame.max() < frames):
        return "frame names others"
    return _implausible(arrays)


def _implausible(arrays: dict[str, NDArray]) -> str | None:
    """Values that no box, pose or object has."""
    fault = boxes_fault(arrays["box"])
    if fault:
        return f"box: {fault}"
    for number, pose in enumerate(arrays.get("world_from_sensor", ())):
        fault = transform_fault(pose, MAX_MAP_METRES)
        if fault:
            return f"world_from_sensor of frame {number}: {fault}"
    names: dict[str, str] = {}
    for instance, name in zip(arrays["instance"].tolist(), arrays["name"].tolist(), strict=True):
        if not str(name).strip():
            return f"the name of instance {instance} is empty"
        if names.setdefault(str(instance), str(name)) != str(name):
            return f"instance {instance} is a {names[str(instance)]} and a {name}"
    return None
