# SPDX-License-Identifier: Apache-2.0
"""Tracks from plain arrays: one folder a scene, for data sets that have no reader here.

``<scene>/boxes.npz`` holds ``frame`` (P,), ``instance`` (P,), ``name`` (P,) and ``box`` (P, 7) x,
y, z (centre), length, width, height in metres, yaw in radians, **in the frame of the sensor** (as
Waymo and ONCE give them); with poses also ``world_from_sensor`` (F, 4, 4); ``seconds`` (F,) where
frames are not 0.1 s apart. Clouds are ``<scene>/points/*.bin``, raw float32, in the order of their
names.
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
from lidistill.io import DataError

FORM = "docs/object_bank.md shows how these files are written."
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
        clouds = sorted((folder / "points").glob("*.bin"))
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
        if name not in ("instance", "name") and not np.isfinite(arrays[name]).all():
            return f"{name} holds NaN or infinity"
    frame = arrays["frame"]
    if frame.dtype.kind not in "iu" or (count and not 0 <= frame.min() <= frame.max() < frames):
        return "frame names others"
    return None
