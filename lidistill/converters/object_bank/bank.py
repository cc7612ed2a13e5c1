# SPDX-License-Identifier: Apache-2.0
"""The bank of one scene: compact clouds of its objects, and where they stand in each frame.

One uncompressed ``.npz`` a scene, read without pickle. Eight bytes a point and one more with a
ring: int16 millimetres in the object's frame, uint8 intensity, uint16 source frame, uint8 flags
(see :data:`MIRRORED`, :data:`FROM_SWEEP`, :data:`STANDING`, :data:`REFINED`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.plausible import rotation_fault
from lidistill.io import DataError, atomic_write

MIRRORED, FROM_SWEEP, STANDING, REFINED = 1, 2, 4, 8
MILLIMETRE = 1e-3
CELL = 0.3  # metres, in which surfaces are counted
MAX_METRES = 32.767  # of a coordinate in the object's frame
POINT_ARRAYS = ("xyz", "intensity", "ring", "source", "flags")
MAX_INTENSITY = 1e6
MAX_COUNT = 1e9
FAR_METRES = 1e4  # no box stands so far from a sensor
TURN_TOLERANCE = 1e-2  # of products of rotations
_KINDS = {
    "xyz": "int16",
    "intensity": "uint8",
    "ring": "uint8",
    "source": "uint16",
    "flags": "uint8",
    "standing": "b",
    "frame_key": "b",
    **dict.fromkeys(("tokens", "names", "frame_tokens", "report"), "U"),
    **dict.fromkeys(("offsets", "views", "box_frame", "box_instance"), "i/u"),
    **dict.fromkeys(("sizes", "box_sizes", "sensor_from_box", "sensor_from_object"), "f"),
    **dict.fromkeys(("frame_seconds", "view_points", "view_cells"), "f"),
    **dict.fromkeys(("intensity_max", "ground_margin"), "f"),
}
"""Type of each array: numpy's name, or the letters of its kind."""
_FINITE = ("sensor_from_object", "sizes", "box_sizes", "view_points", "view_cells")
AGAIN = "make the bank again: delete this file and run lidistill object_bank with the same words."


@dataclass
class SceneBank:
    """See the module.

    Attributes:
        tokens: (I,) instance tokens.
        names: (I,) classes.
        sizes: (I, 3) median length, width, height.
        standing: (I,) fused in the world's frame.
        views: (I,) frames that see it, before thinning.
        view_points: (I,) its points in one of them, mean.
        view_cells: (I,) cells of 0.3 m that hold a point in one of them, mean.
        offsets: (I + 1,) rows of each instance's points, in the order of their source frames.
        xyz: (K, 3) int16 millimetres in the object's frame.
        intensity: (K,) uint8, of ``intensity_max``.
        ring: (K,) uint8; (0,) where the sensor's files have none.
        source: (K,) uint16 frame that a point is from.
        flags: (K,) uint8.
        frame_tokens: (F,) keyframes and sweeps.
        frame_seconds: (F,) float64.
        frame_key: (F,) bool.
        box_frame: (P,) frame of each annotated box, ascending.
        box_instance: (P,) its instance.
        box_sizes: (P, 3) its own length, width, height.
        sensor_from_box: (P, 4, 4) the annotated box: what is taken out.
        sensor_from_object: (P, 4, 4) the object's frame: where the cloud is put.
        intensity_max: (1,) the sensor's full scale.
        ground_margin: (1,) metres above a box's bottom that are ground.
        report: JSON: counts and notes.
    """

    tokens: NDArray[np.str_]
    names: NDArray[np.str_]
    sizes: NDArray[np.float64]
    standing: NDArray[np.bool_]
    views: NDArray[np.int64]
    view_points: NDArray[np.float64]
    view_cells: NDArray[np.float64]
    offsets: NDArray[np.int64]
    xyz: NDArray[np.int16]
    intensity: NDArray[np.uint8]
    ring: NDArray[np.uint8]
    source: NDArray[np.uint16]
    flags: NDArray[np.uint8]
    frame_tokens: NDArray[np.str_]
    frame_seconds: NDArray[np.float64]
    frame_key: NDArray[np.bool_]
    box_frame: NDArray[np.int64]
    box_instance: NDArray[np.int64]
    box_sizes: NDArray[np.float64]
    sensor_from_box: NDArray[np.float64]
    sensor_from_object: NDArray[np.float64]
    intensity_max: NDArray[np.float64]
    ground_margin: NDArray[np.float64]
    report: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def notes(self) -> dict[str, Any]:
        """The report, read."""
        found: dict[str, Any] = json.loads(str(self.report[0]))
        return found

    def boxes_of(self, frame: int) -> slice:
        """Rows of the boxes of a frame."""
        first, last = np.searchsorted(self.box_frame, [frame, frame + 1])
        return slice(int(first), int(last))

    def cloud(self, instance: int) -> NDArray[np.float64]:
        """(k, 3) metres in the object's frame."""
        rows = slice(*self.offsets[instance : instance + 2])
        return np.asarray(self.xyz[rows] * 1e-3)

    def point_bytes(self) -> int:
        """Bytes of the points alone."""
        return sum(getattr(self, name).nbytes for name in POINT_ARRAYS)


def write_bank(path: Path, bank: SceneBank) -> None:
    """Write a scene whole or not at all; the same bank gives the same bytes."""
    arrays = {field.name: getattr(bank, field.name) for field in fields(SceneBank)}
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def read_bank(path: str | Path) -> SceneBank:
    """Read and check a scene.

    Raises:
        DataError: it is missing, damaged, or its arrays do not belong together.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError("No bank of this scene there.", path=source, fix=AGAIN)
    try:
        with np.load(source, allow_pickle=False) as archive:
            arrays = {field.name: archive[field.name] for field in fields(SceneBank)}
        bank = SceneBank(**arrays)
        fault = _fault(bank)
    except Exception as error:  # a damaged archive raises nearly anything
        raise DataError(
            f"Expected the bank of a scene, but it does not read as one: {error}.",
            path=source,
            fix=AGAIN,
        ) from error
    if fault:
        raise DataError(f"Expected the bank of a scene, but {fault}.", path=source, fix=AGAIN)
    return bank


def frame_tokens(path: Path) -> list[str]:
    """Tokens of a scene's frames, without reading the rest.

    Raises:
        DataError: the file is no bank of a scene.
    """
    return [str(token) for token in _one_array(path, "frame_tokens")]


def tracks_digest(path: Path) -> str | None:
    """What the tracks of a scene were, without reading the rest; None in banks of before 2026-12.

    Raises:
        DataError: the file is no bank of a scene.
    """
    report = str(_one_array(path, "report")[0])
    try:
        found: str | None = json.loads(report).get("tracks")
    except (ValueError, AttributeError) as error:
        raise DataError("The report of this scene does not read.", path=path, fix=AGAIN) from error
    return found


def _one_array(path: Path, name: str) -> NDArray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[name])
    except Exception as error:  # a damaged archive raises nearly anything
        raise DataError(
            f"Expected the bank of a scene, but it does not read as one: {error}.",
            path=path,
            fix=AGAIN,
        ) from error


def _fault(bank: SceneBank) -> str | None:
    """What does not fit together; None where all does."""
    instances, points = len(bank.tokens), len(bank.xyz)
    boxes, frames = len(bank.box_frame), len(bank.frame_tokens)
    shapes = {
        "names": (instances,),
        "sizes": (instances, 3),
        "standing": (instances,),
        "views": (instances,),
        "view_points": (instances,),
        "view_cells": (instances,),
        "offsets": (instances + 1,),
        "xyz": (points, 3),
        "intensity": (points,),
        "source": (points,),
        "flags": (points,),
        "frame_seconds": (frames,),
        "frame_key": (frames,),
        "box_frame": (boxes,),
        "box_instance": (boxes,),
        "box_sizes": (boxes, 3),
        "sensor_from_box": (boxes, 4, 4),
        "sensor_from_object": (boxes, 4, 4),
        "intensity_max": (1,),
        "ground_margin": (1,),
        "report": (1,),
    }
    for name, shape in shapes.items():
        if getattr(bank, name).shape != shape:
            return f"{name} is {getattr(bank, name).shape}, expected {shape}"
    if bank.ring.shape not in ((0,), (points,)):
        return f"ring is {bank.ring.shape}, expected {(points,)}"
    offsets = bank.offsets
    if offsets[0] != 0 or offsets[-1] != points or (np.diff(offsets) < 0).any():
        return "the offsets are no rising rows of its points"
    for name, kind in _KINDS.items():
        dtype = getattr(bank, name).dtype
        if dtype.name != kind and dtype.kind not in kind.split("/"):
            return f"{name} is {dtype}, expected {kind}"
    inside = (
        _below(bank.box_instance, instances)
        and _below(bank.box_frame, frames)
        and _below(bank.source, frames)
        and bool((np.diff(bank.box_frame) >= 0).all())
    )
    if not inside:
        return "it names frames or instances that it does not have"
    return _implausible(bank)


def _implausible(bank: SceneBank) -> str | None:
    """Values that none of ours has."""
    if not all(np.isfinite(getattr(bank, name)).all() for name in ("sensor_from_box", *_FINITE)):
        return "a box stands nowhere, or has no size (NaN or infinity)"
    for name in ("sizes", "box_sizes", "sensor_from_box", "sensor_from_object"):
        if np.abs(getattr(bank, name)).max(initial=0.0) > FAR_METRES:
            return f"{name} goes to {np.abs(getattr(bank, name)).max():g} m"
    for name in ("sensor_from_box", "sensor_from_object"):
        turns = getattr(bank, name)[:, :3, :3]
        off = np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).reshape(-1, 9).max(1, initial=0)
        if (off > TURN_TOLERANCE).any():
            return f"{name}: {rotation_fault(turns[off.argmax()])}"
    if not (0 < bank.intensity_max[0] <= MAX_INTENSITY and 0 <= bank.ground_margin[0] < MAX_METRES):
        return f"its intensity goes to {bank.intensity_max[0]:g}, ground {bank.ground_margin[0]:g}"
    counts = np.concatenate([bank.views, bank.view_points, bank.view_cells])
    if counts.size and not 0 <= counts.min() <= counts.max() <= MAX_COUNT:
        return f"it counts from {counts.min():g} to {counts.max():g} of views, points and cells"
    if not isinstance(json.loads(str(bank.report[0])), dict):
        return "its report is none"
    return _disorder(bank)


def _disorder(bank: SceneBank) -> str | None:
    """What is not in the order of time."""
    if not (np.isfinite(bank.frame_seconds).all() and (np.diff(bank.frame_seconds) > 0).all()):
        return "its frames do not follow one another in time"
    if bank.views.max(initial=0) > len(bank.frame_tokens):
        return "an object is seen in more frames than there are"
    later = np.diff(bank.source.astype(np.int64)) >= 0
    inner = bank.offsets[(bank.offsets > 0) & (bank.offsets < len(bank.xyz))]
    later[inner - 1] = True  # another instance begins
    return None if later.all() else "points of an instance are not in the order of their frames"


def _below(values: NDArray, limit: int) -> bool:
    return len(values) == 0 or (int(values.min()) >= 0 and int(values.max()) < limit)
