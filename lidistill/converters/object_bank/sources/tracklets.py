# SPDX-License-Identifier: Apache-2.0
"""KITTI's tracks: tracklets of raw drives (XML) and labels of the tracking benchmark (text)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.kitti.files import is_dont_care
from lidistill.geometry.boxes import kitti_to_lidar_boxes
from lidistill.io import DataError, read_text

AGAIN = "extract this file again from its archive."


@dataclass(frozen=True)
class Track:
    """Boxes of one object.

    Attributes:
        token: unique in its drive.
        name: class.
        frames: (T,) frame numbers.
        boxes: (T, 7) x, y, z (centre), l, w, h, yaw in the LiDAR frame.
    """

    token: str
    name: str
    frames: NDArray[np.int64]
    boxes: NDArray[np.float64]


def read_tracklets(path: Path) -> list[Track]:
    """Tracks of ``tracklet_labels.xml``; its boxes stand on their bottom centre.

    Raises:
        DataError: the file is missing or no list of tracklets.
    """
    text = read_text(path)
    if "<!ENTITY" in text:
        raise DataError(
            "Expected plain tracklets, but this file defines entities.", path=path, fix=AGAIN
        )
    try:
        root = ElementTree.fromstring(text)
        items = root.findall("./tracklets/item")
        return [_tracklet(item, number) for number, item in enumerate(items)]
    except (ElementTree.ParseError, ValueError, TypeError) as error:
        raise DataError(
            f"Expected KITTI's tracklets, but they do not read as such: {error}.",
            path=path,
            fix=AGAIN,
        ) from error


def _tracklet(item: ElementTree.Element, number: int) -> Track:
    height, width, length = (float(item.findtext(key, "")) for key in "hwl")
    first = int(item.findtext("first_frame", ""))
    places = np.array(
        [
            [float(pose.findtext(key, "")) for key in ("tx", "ty", "tz", "rz")]
            for pose in item.findall("./poses/item")
        ]
    ).reshape(-1, 4)
    if not np.isfinite(places).all():
        raise ValueError(f"tracklet {number} stands nowhere (NaN or infinity)")
    boxes = np.empty((len(places), 7))
    boxes[:, :3] = places[:, :3] + [0.0, 0.0, height / 2]
    boxes[:, 3:6] = length, width, height
    boxes[:, 6] = places[:, 3]
    frames = first + np.arange(len(places))
    return Track(f"{number:04d}", item.findtext("objectType", "unknown"), frames, boxes)


def read_tracking_labels(path: Path, rectified_from_lidar: NDArray) -> list[Track]:
    """Tracks of the tracking benchmark's ``label_02/<sequence>.txt``; DontCare is left out.

    Args:
        path: of the file.
        rectified_from_lidar: (4, 4) of the sequence's calibration.

    Raises:
        DataError: the file is missing, or a line is none of labels.
    """
    found: dict[int, tuple[str, list[int], list[list[float]]]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            frame, track, name = int(words[0]), int(words[1]), words[2]
            values = [float(word) for word in words[10:17]]  # h w l x y z rotation_y
            if len(values) != 7 or frame < 0 or not np.isfinite(values).all():
                raise ValueError(f"{len(words)} words")
        except (ValueError, IndexError) as error:
            raise DataError(
                f"Line {number}: expected frame, track, class and fourteen numbers of KITTI's "
                f"tracking labels, got {line[:60]!r}.",
                path=path,
                fix=AGAIN,
            ) from error
        if not is_dont_care(name):
            _, frames, boxes = found.setdefault(track, (name, [], []))
            frames.append(frame)
            boxes.append(values)
    lidar_from_rectified = np.linalg.inv(rectified_from_lidar)
    return [
        Track(
            f"{track:04d}",
            name,
            np.array(frames),
            kitti_to_lidar_boxes(np.array(boxes), lidar_from_rectified),
        )
        for track, (name, frames, boxes) in sorted(found.items())
    ]
