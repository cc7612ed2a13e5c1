# SPDX-License-Identifier: Apache-2.0
"""What a report shows, on disk: a folder that a run fills and ``lidistill report`` turns to a page.

::

    work_dir/report/
        results.json    everything but pictures and curves
        curves.json     training curves
        pictures/*.png  (or .jpg)

A run may write it piece by piece: make a :class:`ReportData`, add pictures and curves as they come,
``save`` at the end of each stage. Saving again replaces what was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lidistill.evaluation.results import ResultRow
from lidistill.io import DataError, atomic_write, inside, read_json, write_json
from lidistill.visualization.curves import Curve
from lidistill.visualization.report_check import (
    CURVE,
    PICTURE,
    RECORD,
    ROW,
    all_checked,
    checked,
    picture_bytes,
    with_nan,
)

FIX = "run `make demo` (or the training that writes the report) again"
SECTIONS: dict[str, tuple[str, str]] = {
    "superpixels": (
        "What the image says",
        "Each image is cut into superpixels: patches that keep to edges. They are the units that "
        "are compared; no label is used.",
    ),
    "teacher": (
        "What the teacher sees",
        "Features of the image network, their three main directions as red, green and blue.",
    ),
    "pairs": (
        "What reaches the LiDAR",
        "Points projected into the cameras take the superpixel they fall on. The points of one "
        "colour form one region; its mean LiDAR feature learns to match its mean image feature. "
        "Grey points are seen by no camera.",
    ),
    "features": (
        "What the student learned",
        "Point features from above, their three main directions as colours, on a frame that was "
        "not trained on. The network sees the LiDAR alone.",
    ),
    "detections": (
        "What it finds",
        "Frames that were not trained on: truth, then each detector.",
    ),
    "regions": (
        "Where the student learned",
        "How far the student's map is from its teacher's at each true box: blue is near, red far.",
    ),
}
"""Known sections of pictures, in the page's order: key -> (title, lead)."""


@dataclass
class Picture:
    """One picture of the page.

    Attributes:
        file: name in ``pictures/``.
        section: key of :data:`SECTIONS`.
        title: a few words, shown in bold before the caption.
        caption: what is to be seen.
        span: columns of the page's grid that it takes: 1 (a third), 2, or 3 (full width).
    """

    file: str
    section: str
    title: str
    caption: str = ""
    span: int = 1


@dataclass
class ReportData:
    """Everything a report shows.

    Attributes:
        folder: where it lies on disk.
        title: of the page.
        lead: one or two sentences: what was done.
        dataset: in words, with seed and layout; always shown beside the numbers.
        metric: of the table, for instance ``linear-probe mIoU``.
        method: name of the row that the page is about; its twin is the row it is compared with.
        rows: of the table, in order: baseline, method, controls.
        protocol: of the metric, in words.
        beside: what the method is compared with, in words.
        commands: exact, in order; run again, they make this page.
        facts: label -> value: seeds, commit, hardware, wall time, versions.
        notes: what a reader must know, for instance limits of what is shown.
        class_colours: class name -> (r, g, b) as in the pictures.
        pictures: in order.
        curves: of training.
    """

    folder: Path
    title: str
    lead: str = ""
    dataset: str = ""
    metric: str = "linear-probe mIoU"
    method: str = ""
    rows: list[ResultRow] = field(default_factory=list)
    protocol: str = ""
    beside: str = "what the same network gives without pretraining and beside the controls"
    commands: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    class_colours: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def add_picture(
        self,
        image: NDArray[np.uint8],
        name: str,
        section: str,
        title: str,
        caption: str = "",
        span: int = 1,
    ) -> Picture:
        """Write a picture and list it; one of the same name is replaced.

        Args:
            image: (H, W, 3) uint8 RGB.
            name: file name without suffix.
            section: key of :data:`SECTIONS`.
            title: a few words.
            caption: what is to be seen.
            span: 1, 2 or 3 columns of three.
        """
        if span not in (1, 2, 3):
            raise ValueError(f"span must be 1, 2 or 3 columns of three, got {span}")
        if section not in SECTIONS:
            raise ValueError(f"unknown section {section!r}; known: {', '.join(SECTIONS)}")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        picture = Picture(f"{name}.png", section, title, caption, span)
        made, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
        if not made:
            raise OSError("expected OpenCV to encode .png, got an error; is it built with it?")
        with atomic_write(self.picture_path(picture)) as path:
            path.write_bytes(data.tobytes())
        self.pictures = [old for old in self.pictures if old.file != picture.file] + [picture]
        return picture

    def add_curve(
        self,
        chart: str,
        name: str,
        x: Sequence[float],
        y: Sequence[float],
        x_label: str = "iteration",
    ) -> None:
        """List a training curve; one of the same chart and name is replaced."""
        curve = Curve(chart, name, [float(v) for v in x], [float(v) for v in y], x_label)
        self.curves = [c for c in self.curves if (c.chart, c.name) != (chart, name)] + [curve]

    def picture_path(self, picture: Picture) -> Path:
        """Where a picture lies.

        Raises:
            DataError: its name leads out of the folder.
        """
        return inside(self.folder / "pictures", picture.file, "picture")

    def save(self) -> Path:
        """Write ``results.json`` and ``curves.json``.

        Returns:
            The folder.
        """
        record = asdict(self)
        del record["folder"]
        write_json(self.folder / "curves.json", record.pop("curves"))
        write_json(self.folder / "results.json", record)
        return self.folder

    @classmethod
    def load(cls, folder: Path) -> ReportData:
        """Read what :meth:`save` wrote.

        Args:
            folder: the report's folder, or a work dir that has it as ``report/``.

        Raises:
            DataError: no such folder, another schema, or a listed picture is missing, outside of
                the folder or no picture; names the file.
        """
        if not (folder / "results.json").is_file() and (folder / "report").is_dir():
            folder = folder / "report"
        results, lines = folder / "results.json", folder / "curves.json"
        record = checked(read_json(results, FIX), RECORD, results, "the report", FIX)
        made: dict[str, list[Any]] = {}
        for key, schema, build in (("rows", ROW, ResultRow), ("pictures", PICTURE, Picture)):
            found = all_checked(record.get(key, []), schema, results, key.removesuffix("s"), FIX)
            made[key] = [build(**entry) for entry in map(with_nan, found)]
        for row in made["rows"]:
            for values in (row.values, *row.per_class.values(), *row.per_group.values()):
                if len(values) != len(row.seeds):
                    raise DataError(
                        f"expected one value a seed, got {len(values)} values and "
                        f"{len(row.seeds)} seeds",
                        path=results,
                        token=f"row {row.name[:40]}",
                        fix=FIX,
                    )
        curves = all_checked(read_json(lines, FIX), CURVE, lines, "curve", FIX)
        for place, curve in enumerate(curves):
            if len(curve["x"]) != len(curve["y"]):
                raise DataError(
                    f"expected one y an x, got {len(curve['x'])} x and {len(curve['y'])} y",
                    path=lines,
                    token=f"curve {place}",
                    fix=FIX,
                )
        colours = {name: tuple(c) for name, c in record.get("class_colours", {}).items()}
        made["curves"] = [Curve(**curve) for curve in map(with_nan, curves)]
        data = cls(folder=folder, **{**record, **made, "class_colours": colours})
        for picture in data.pictures:
            picture_bytes(folder / "pictures", picture.file, FIX)
        return data
