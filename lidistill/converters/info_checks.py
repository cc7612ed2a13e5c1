# SPDX-License-Identifier: Apache-2.0
"""Whether the frames of an info file can be meant: asked once, when it is read, whoever reads it.

mmdet3d's data sets take any numbers: a box of NaN, an angle in degrees or a camera that mirrors
trains another detector in silence. What each frame has is checked by its form; what is many
(cameras, poses, boxes, sweeps) all at once, and the first that cannot be is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.class_names import check_order
from lidistill.geometry.plausible import (
    MAX_BOX_METRES,
    MAX_MAP_METRES,
    MAX_METRES,
    MAX_PIXELS,
    MAX_SPEED,
    MAX_TURN,
    ROTATION_TOLERANCE,
    boxes_fault,
    intrinsics_fault,
    transform_fault,
)
from lidistill.io import DataError, fields
from lidistill.io.records import NAME, NOTHING, NUMBER, SIZE, Schema, either, matrix, whole

INFO_VERSION = "1.1"
"""Of the schema whose frames are checked."""
MAX_LAG = 60.0  # seconds of a sweep before (or behind) its frame; in microseconds it is far more

_NAME_OR_NOTHING = either(NAME, NOTHING)
_TRANSFORM = matrix((4, 4))
_FRAME: Schema = {
    "timestamp?": either(NUMBER, NOTHING),
    "ego2global?": _TRANSFORM,
    "first_from_lidar?": _TRANSFORM,
    "instances?": list,
    "lidar_sweeps?": list,
    "cam_instances?": dict,
}
_LIDAR: Schema = {
    "lidar_path?": NAME,
    "num_pts_feats?": whole(3, 64),
    "lidar2ego?": _TRANSFORM,
}
_CLOUD: Schema = {**_LIDAR, "lidar_path": NAME, "num_pts_feats": whole(3, 64)}
_IMAGE: Schema = {
    "img_path?": _NAME_OR_NOTHING,
    "height?": SIZE,
    "width?": SIZE,
    "cam2img?": matrix((3, 3), (3, 4), (4, 4)),
    "lidar2cam?": matrix((3, 4), (4, 4)),
    "lidar2img?": matrix((3, 4), (4, 4)),
    "cam2ego?": _TRANSFORM,
    "sample_data_token?": NAME,
    "superpixels_path?": _NAME_OR_NOTHING,
}
_SWEEP: Schema = {"lidar_points": dict, "timestamp": NUMBER, "ego2global?": _TRANSFORM}
_SWEEP_CLOUD: Schema = {
    "lidar_path": NAME,
    "lidar2sensor?": _TRANSFORM,
    "lidar2ego?": _TRANSFORM,
}

Frame = Mapping[str, Any]
Found = list[tuple[Frame, str, Any]]
"""Frame, place in it and value of many values of a kind."""


def check_frames(
    content: Mapping[str, Any], path: str | Path, fix: str, need: Sequence[str] = ()
) -> None:
    """Check what readers take from frames; what ours needs not, other tools may leave out.

    Args:
        content: of an info file of schema 1.1: ``metainfo`` and ``data_list``.
        path: for the error message.
        fix: for the error message.
        need: keys that each frame must have; ``lidar_points`` with path and columns of its file.

    Raises:
        DataError: a frame lacks a key, or a value cannot be meant; names file, sample and place.
    """
    check_order(content.get("metainfo", {}), path, fix)
    check = _Check(content, Path(path), fix)
    for frame in check.frames:
        check.form(frame, need)
    check.names()
    check.cameras()
    check.poses()
    check.boxes()
    check.velocities()


class _Check:
    def __init__(self, content: Mapping[str, Any], path: Path, fix: str) -> None:
        self.frames: Sequence[Frame] = content["data_list"]
        categories = content.get("metainfo", {}).get("categories")
        self.classes = categories if isinstance(categories, Mapping) else {}
        self.labels = {label for label in self.classes.values() if type(label) is int}
        self.path, self.fix = path, fix

    def form(self, frame: Frame, need: Sequence[str]) -> None:
        """Keys and types of a frame."""
        token = _token(frame)
        lacking = [key for key in need if key not in frame]
        if lacking:
            self.refuse(
                frame,
                f"Expected frames with {', '.join(need)}; this one lacks {', '.join(lacking)}.",
            )
        place = (self.path, token, self.fix)
        fields(frame, _FRAME, *place)
        if "lidar_points" in frame:
            cloud = _CLOUD if "lidar_points" in need else _LIDAR
            fields(frame["lidar_points"], cloud, *place, "lidar_points.")
        if "images" in frame:
            for name, image in fields(frame, {"images": dict}, *place)["images"].items():
                if isinstance(image, dict):  # KITTI keeps R0_rect, a matrix, among its images
                    fields(image, _IMAGE, *place, f"images.{name}.")
        cameras = frame.get("cam_instances", {})
        fields(cameras, dict.fromkeys(cameras, list), *place, "cam_instances.")
        for number, sweep in enumerate(frame.get("lidar_sweeps", ())):
            inner = f"lidar_sweeps[{number}]."
            cloud = fields(sweep, _SWEEP, *place, inner)["lidar_points"]
            lag = (frame.get("timestamp") or sweep["timestamp"]) - sweep["timestamp"]
            if abs(lag) > MAX_LAG:
                words = f"expected within {MAX_LAG:g} s of the frame's, got {lag:g} s before it"
                self.refuse(frame, f"{inner}timestamp: {words}.")
            fields(cloud, _SWEEP_CLOUD, *place, f"{inner}lidar_points.")

    def names(self) -> None:
        """Frames are known by their tokens; one that is there twice (repeated) is the same."""
        known: dict[str, str] = {}
        for frame in self.frames:
            token, path = frame.get("token"), frame.get("lidar_points", {}).get("lidar_path")
            if token and path and known.setdefault(str(token), path) != path:
                other = known[str(token)]
                self.refuse(frame, f"Two frames have this token: {other} and {path}.")

    def cameras(self) -> None:
        """Matrices that are none pair points with other pixels."""
        images = [(frame, name, image) for frame in self.frames for name, image in _images(frame)]
        self.rigid(
            [(f, f"images.{n}.lidar2cam", i["lidar2cam"]) for f, n, i in images if "lidar2cam" in i]
        )
        matrices: Found = [
            (f, f"images.{n}.cam2img", i["cam2img"]) for f, n, i in images if "cam2img" in i
        ]
        if not matrices:
            return
        rows = np.array([np.asarray(value, dtype=np.float64)[:3, :3] for *_, value in matrices])
        fine = (rows[:, [0, 1], [0, 1]] > 0).all(axis=1) & (rows[:, 2] == (0, 0, 1)).all(axis=1)
        fine &= (np.abs(rows).max(axis=(1, 2)) <= MAX_PIXELS) & (rows[:, 1, 0] == 0)
        for index in np.flatnonzero(~fine).tolist():
            frame, place, value = matrices[index]
            fault = intrinsics_fault(value)
            if fault:
                self.refuse(frame, f"{place}: {fault}.")

    def poses(self) -> None:
        """Where the vehicle stood, its LiDAR sits and turned: other frames' boxes follow it."""
        for key in ("ego2global", "first_from_lidar"):
            self.rigid([(f, key, f[key]) for f in self.frames if key in f], MAX_MAP_METRES)
        clouds = [(frame, place, cloud) for frame in self.frames for place, cloud in _clouds(frame)]
        for key in ("lidar2ego", "lidar2sensor"):
            self.rigid([(f, f"{place}.{key}", one[key]) for f, place, one in clouds if key in one])

    def rigid(self, found: Found, max_metres: float = MAX_METRES) -> None:
        """Refuse the first transform that does not turn and shift."""
        if not found:
            return
        values = np.array([np.asarray(value, dtype=np.float64)[:3] for *_, value in found])
        turn, shift = values[:, :, :3], values[:, :, 3]
        off = np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        fine = (off < ROTATION_TOLERANCE) & (np.linalg.det(turn) > 0)
        fine &= np.abs(shift).max(axis=1) <= max_metres
        for index in np.flatnonzero(~fine).tolist():
            frame, place, value = found[index]
            fault = transform_fault(value, max_metres)
            if fault:
                self.refuse(frame, f"{place}: {fault}.")

    def boxes(self) -> None:
        """Places, sizes, angles and classes of all boxes that are taught."""
        found = [box for frame in self.frames for box in self.taught(frame)]
        if not found:
            return
        rows = _box_rows([value for *_, value in found])
        fine = (np.abs(rows[:, :3]) <= MAX_METRES).all(axis=1) & (np.abs(rows[:, 6]) <= MAX_TURN)
        fine &= ((rows[:, 3:6] > 0) & (rows[:, 3:6] < MAX_BOX_METRES)).all(axis=1)
        for index in np.flatnonzero(~fine).tolist():
            frame, place, value = found[index]
            fault = _box_fault(value)
            if fault:
                self.refuse(frame, f"{place}: {fault}.")

    def velocities(self) -> None:
        """Of each box, in metres a second, or unknown: then all parts of it are NaN."""
        found: Found = [
            (frame, f"instances[{number}].velocity", instance["velocity"])
            for frame in self.frames
            for number, instance in enumerate(frame.get("instances", ()))
            if "velocity" in instance  # a camera's are -1 in KITTI
        ]
        if _are_velocities([value for *_, value in found]):
            return
        for frame, place, value in found:
            if not _are_velocities([value]):
                words = f"metres a second (at most {MAX_SPEED:g}), or NaN throughout where unknown"
                self.refuse(frame, f"{place}: expected {words}, got {value!r:.60}.")

    def taught(self, frame: Frame) -> Iterator[tuple[Frame, str, Any]]:
        """A frame's boxes in space with a class; DontCare has none, and stands nowhere."""
        for place, instance in _instances(frame):
            if type(instance) is not dict and not isinstance(instance, Mapping):
                self.refuse(frame, f"{place}: expected a record, got {instance!r:.60}.")
            label, box = instance.get("bbox_label_3d", 0), instance.get("bbox_3d")
            points = instance.get("num_lidar_pts", 0)
            if not _is_whole(points):
                words = "num_lidar_pts: expected a whole number (boxes without points are left out)"
                self.refuse(frame, f"{place}.{words}, got {points!r:.60}.")
            if not _is_whole(label) or (label >= 0 and self.labels and label not in self.labels):
                words = f"-1 or a label of the file's categories {dict(self.classes)}"
                self.refuse(frame, f"{place}.bbox_label_3d: expected {words}, got {label!r:.60}.")
            if label >= 0 and box is not None:
                yield frame, f"{place}.bbox_3d", box

    def refuse(self, frame: Frame, what: str) -> NoReturn:
        raise DataError(what, path=self.path, token=_token(frame), fix=self.fix)


def _is_whole(value: object) -> bool:
    return type(value) is int or isinstance(value, np.integer)


def _token(frame: Frame) -> str:
    return str(frame.get("token", frame.get("sample_idx")))


def _images(frame: Frame) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, image in frame.get("images", {}).items():
        if isinstance(image, Mapping):
            yield name, image


def _clouds(frame: Frame) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and record of a frame's cloud and of its sweeps'."""
    yield "lidar_points", frame.get("lidar_points", {})
    for number, sweep in enumerate(frame.get("lidar_sweeps", ())):
        yield f"lidar_sweeps[{number}].lidar_points", sweep["lidar_points"]


def _instances(frame: Frame) -> Iterator[tuple[str, Any]]:
    """Place and record of each box, also of those seen from a camera."""
    for number, instance in enumerate(frame.get("instances", ())):
        yield f"instances[{number}]", instance
    for name, instances in frame.get("cam_instances", {}).items():
        for number, instance in enumerate(instances):
            yield f"cam_instances.{name}[{number}]", instance


def _box_rows(boxes: Sequence[Any]) -> NDArray[np.float64]:
    """(M, 7), without an angle 0; NaN where one is none: each is looked at then."""
    try:
        rows = np.array([value[:7] for value in boxes], dtype=np.float64)
    except (TypeError, ValueError, OverflowError, KeyError):
        rows = np.zeros((0, 0))
    if rows.shape == (len(boxes), 6):  # rooms: boxes along the axes
        rows = np.pad(rows, ((0, 0), (0, 1)))
    return rows if rows.shape == (len(boxes), 7) else np.full((len(boxes), 7), np.nan)


def _are_velocities(values: Sequence[Any]) -> bool:
    """Whether all are rows of two or three numbers, told at once where they are as many."""
    try:
        rows = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return False
    if not len(rows):
        return True
    if rows.ndim != 2 or rows.shape[1] not in (2, 3):
        return False
    fine = np.isnan(rows).all(axis=1) | (np.abs(rows) <= MAX_SPEED).all(axis=1)
    return bool(fine.all())


def _box_fault(box: Any) -> str | None:
    row = _box_rows([box])[0]
    if np.isnan(row).all():
        return f"expected 7 finite numbers, got {box!r:.60}"
    if abs(row[6]) > MAX_TURN:
        return f"expected its angle, the last one, in radians, got {row[6]:g}"
    return boxes_fault(row[None])
