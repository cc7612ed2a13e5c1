# SPDX-License-Identifier: Apache-2.0
"""What is in your data: counted while it is converted, shown after, kept in the info files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from rich.table import Table

MIN_SHARE_IN_IMAGE = 0.1  # of the points in front of a camera; nuScenes has 0.3, KITTI 0.3 to 1
NEAR = 20.0
"""Metres within which a box is expected to hold points; of those farther away many hold none."""
_BOX_COUNTS = ("boxes", "without_points", "zero_size")


@dataclass
class Contents:
    """Counts over the frames of a split, or of a part of it; parts are merged.

    A worker process fills one for its frames and hands :meth:`to_dict` on; the parent merges with
    :meth:`from_dict` and :meth:`merge`. Counts and extremes only, so the order of the parts does
    not matter.

    Attributes:
        taught: the classes that labels index; one that no box bears is named in the warnings.
        frames: all.
        clouds: frames whose points were read; the others' sizes alone are known.
        points: of all frames.
        per_frame: fewest and most points in a frame.
        columns: name of a point's value -> smallest and largest, over the clouds that were read.
        boxes: class name as the data writes it -> ``class`` (what it is taught as, or None),
            ``boxes``, ``without_points``, ``zero_size``.
        point_labels: likewise for labels of points -> ``class``, ``points``.
        cameras: name -> points ``in_front`` of it and those of them ``inside`` its image.
        frames_with_boxes: with boxes of known points within :data:`NEAR`.
        frames_of_empty_boxes: of those, the ones in which most of these boxes hold no point.
    """

    taught: tuple[str, ...] = ()
    frames: int = 0
    clouds: int = 0
    points: int = 0
    per_frame: tuple[int, int] | None = None
    columns: dict[str, tuple[float, float]] = field(default_factory=dict)
    boxes: dict[str, dict[str, Any]] = field(default_factory=dict)
    point_labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    cameras: dict[str, dict[str, int]] = field(default_factory=dict)
    frames_with_boxes: int = 0
    frames_of_empty_boxes: int = 0

    def add_frame(
        self, count: int, points: NDArray | None = None, columns: Sequence[str] = ("x", "y", "z")
    ) -> None:
        """Count a frame.

        Args:
            count: its points.
            points: (N, F) the points themselves, where they were read.
            columns: names of the F values; further ones are called by their number.
        """
        self.frames += 1
        self.points += int(count)
        self.per_frame = _span(self.per_frame, (int(count), int(count)))
        if points is None or len(points) == 0:
            return
        self.clouds += 1
        low, high = points.min(axis=0), points.max(axis=0)
        for index in range(points.shape[1]):
            name = columns[index] if index < len(columns) else f"value {index + 1}"
            span = (float(low[index]), float(high[index]))
            self.columns[name] = _span(self.columns.get(name), span)

    def add_boxes(
        self,
        names: Sequence[str],
        classes: Sequence[str | None],
        num_points: ArrayLike,
        sizes: ArrayLike,
        distances: ArrayLike,
    ) -> None:
        """Count the boxes of one frame.

        Args:
            names: (M,) class of each as the data writes it.
            classes: (M,) what it is taught as; None: not at all.
            num_points: (M,) points in it; -1 where that is not known.
            sizes: (M, 3) metres.
            distances: (M,) metres from the sensor.
        """
        counts = np.asarray(num_points).reshape(-1)
        flat = ~(np.asarray(sizes, dtype=np.float64).reshape(-1, 3) > 0).all(axis=1)
        for name, kind, count, zero in zip(names, classes, counts, flat, strict=True):
            entry = self.boxes.setdefault(name, {"class": kind, **dict.fromkeys(_BOX_COUNTS, 0)})
            entry["boxes"] += 1
            entry["without_points"] += int(count == 0)
            entry["zero_size"] += int(zero)
        known = counts[(counts >= 0) & (np.asarray(distances).reshape(-1) <= NEAR)]
        self.frames_with_boxes += int(len(known) > 0)
        self.frames_of_empty_boxes += int((known == 0).sum() * 2 > len(known))

    def add_camera(self, name: str, in_front: int, inside: int) -> None:
        """Count one frame's points in front of a camera, and those of them inside its image."""
        entry = self.cameras.setdefault(name, {"in_front": 0, "inside": 0})
        entry["in_front"] += int(in_front)
        entry["inside"] += int(inside)

    def add_point_labels(self, name: str, kind: str | None, points: int) -> None:
        """Count the points that bear a label; ``kind`` is the class it is taught as, or None."""
        entry = self.point_labels.setdefault(name, {"class": kind, "points": 0})
        entry["points"] += int(points)

    def merge(self, other: Contents) -> None:
        """Add the counts of other frames."""
        self.taught = self.taught or other.taught
        for key in ("frames", "clouds", "points", "frames_with_boxes", "frames_of_empty_boxes"):
            setattr(self, key, getattr(self, key) + getattr(other, key))
        if other.per_frame is not None:
            self.per_frame = _span(self.per_frame, other.per_frame)
        for name, span in other.columns.items():
            self.columns[name] = _span(self.columns.get(name), span)
        for key in ("boxes", "point_labels", "cameras"):
            _add_counts(getattr(self, key), getattr(other, key))

    @classmethod
    def merged(cls, parts: Iterable[Mapping[str, Any]], taught: Sequence[str] = ()) -> Contents:
        """The sum of parts that :meth:`to_dict` made."""
        total = cls(tuple(taught))
        for part in parts:
            total.merge(cls.from_dict(part))
        return total

    @property
    def untaught(self) -> dict[str, int]:
        """Boxes of each class name that is not taught."""
        return {n: e["boxes"] for n, e in sorted(self.boxes.items()) if e["class"] is None}

    def to_dict(self) -> dict[str, Any]:
        """Plain values in one order, for an info file's ``metainfo``, a manifest, a part."""
        return {
            "taught": list(self.taught),
            "frames": self.frames,
            "clouds": self.clouds,
            "points": self.points,
            "per_frame": None if self.per_frame is None else list(self.per_frame),
            "columns": {name: list(span) for name, span in self.columns.items()},
            "boxes": {name: dict(self.boxes[name]) for name in sorted(self.boxes)},
            "point_labels": {n: dict(self.point_labels[n]) for n in sorted(self.point_labels)},
            "cameras": {name: dict(self.cameras[name]) for name in sorted(self.cameras)},
            "frames_with_boxes": self.frames_with_boxes,
            "frames_of_empty_boxes": self.frames_of_empty_boxes,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Contents:
        """What :meth:`to_dict` made, back again."""
        values = dict(content)
        values["taught"] = tuple(values["taught"])
        values["columns"] = {name: tuple(span) for name, span in values["columns"].items()}
        values["per_frame"] = None if values["per_frame"] is None else tuple(values["per_frame"])
        for key in ("boxes", "point_labels", "cameras"):
            values[key] = {name: dict(entry) for name, entry in values[key].items()}
        return cls(**values)

    def warnings(self) -> list[str]:
        """What a user should look at before training, in sentences; empty when all looks well."""
        return [*self._cameras_that_miss(), *self._empty_boxes(), *self._absent_classes()]

    def _cameras_that_miss(self) -> list[str]:
        found = []
        for name, entry in sorted(self.cameras.items()):
            if entry["in_front"] and entry["inside"] < MIN_SHARE_IN_IMAGE * entry["in_front"]:
                found.append(
                    f"{name}: only {entry['inside'] / entry['in_front']:.1%} of the LiDAR points "
                    "in front of this camera fall into its image; are axes swapped, or is a "
                    "transform inverted?"
                )
        return found

    def _empty_boxes(self) -> list[str]:
        found = []
        if self.frames_of_empty_boxes * 2 > self.frames_with_boxes:
            found.append(
                f"in {self.frames_of_empty_boxes} of {self.frames_with_boxes} frames with boxes "
                f"nearer than {NEAR:.0f} m most of these hold no point; are axes swapped, is a "
                "transform inverted, or are boxes placed by their bottom instead of their centre?"
            )
        flat = {n: e["zero_size"] for n, e in sorted(self.boxes.items()) if e["zero_size"]}
        if flat:
            found.append(f"boxes with a size of zero: {_counted(flat)}; no detector learns them")
        return found

    def _absent_classes(self) -> list[str]:
        there = {e["class"] for e in self.boxes.values() if e["boxes"]}
        there |= {e["class"] for e in self.point_labels.values() if e["points"]}
        absent = [name for name in self.taught if name not in there]
        if not absent or not there:  # a split without labels has no class that is absent
            return []
        return [f"no {'box' if self.boxes else 'point'} of class {', '.join(absent)}"]


def contents_tables(splits: Mapping[str, Contents]) -> list[Table]:
    """Tables for a terminal: the points of each split, then its classes."""
    from rich.table import Column, Table

    points = Table("split", "frames", "points a frame", "values", title="What is in your data")
    for split, found in splits.items():
        span = "" if found.per_frame is None else f"{found.per_frame[0]:,}..{found.per_frame[1]:,}"
        values = "\n".join(f"{n} {lo:.4g}..{hi:.4g}" for n, (lo, hi) in found.columns.items())
        if found.columns and found.clouds < found.frames:
            values += f"\n({found.clouds} of {found.frames} clouds read)"
        points.add_row(split, f"{found.frames:,}", span, values)
    tables = [points]
    if any(found.boxes for found in splits.values()):
        kinds = Column("class", overflow="fold")  # cut, kinds of one thing would look alike
        boxes = Table("split", kinds, "taught as", "boxes", "without points", "of size zero")
        for split, found in splits.items():
            for name, entry in sorted(found.boxes.items()):
                counts = [f"{entry[key]:,}" for key in _BOX_COUNTS]
                boxes.add_row(split, name, entry["class"] or "not taught", *counts)
        tables.append(boxes)
    if any(found.point_labels for found in splits.values()):
        labels = Table("split", "label", "taught as", "points")
        for split, found in splits.items():
            for name, entry in sorted(found.point_labels.items()):
                labels.add_row(split, name, entry["class"] or "not taught", f"{entry['points']:,}")
        tables.append(labels)
    return tables


def _span(known: tuple[Any, Any] | None, more: tuple[Any, Any]) -> tuple[Any, Any]:
    return more if known is None else (min(known[0], more[0]), max(known[1], more[1]))


def _add_counts(total: dict[str, dict[str, Any]], more: Mapping[str, Mapping[str, Any]]) -> None:
    for name, entry in more.items():
        known = total.setdefault(
            name, {key: value if key == "class" else 0 for key, value in entry.items()}
        )
        for key, value in entry.items():
            if key != "class":
                known[key] += value


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
