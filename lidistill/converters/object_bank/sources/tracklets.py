# SPDX-License-Identifier: Apache-2.0
"""KITTI's tracks: tracklets of raw drives (XML) and labels of the tracking benchmark (text)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.kitti.files import LABEL_FIELDS, is_dont_care, label_fault, numbers
from lidistill.geometry.boxes import kitti_to_lidar_boxes
from lidistill.geometry.plausible import MAX_TURN, boxes_fault
from lidistill.io import DataError, read_text

AGAIN = "extract this file again from its archive; one of your own: write it again."
MEND_LINE = (
    "write one object a line: frame track class (one word) truncated occluded alpha x1 y1 x2 y2 "
    "height width length x y z rotation_y, split by blanks; " + AGAIN
)
MAX_FRAME = 10_000_000
UPRIGHT = 0.02  # radians: tracklets have been upright in every drive


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
        DataError: the file is missing or no list of tracklets, another number of them than it says,
            or a box that cannot be one.
    """
    text = read_text(path)
    if "<!ENTITY" in text:
        raise DataError(
            "Expected plain tracklets, but this file defines entities.", path=path, fix=AGAIN
        )
    try:
        return [
            _tracklet(item, f"{number:04d}")
            for number, item in enumerate(_items(ElementTree.fromstring(text).find("tracklets")))
        ]
    except (ElementTree.ParseError, ValueError, TypeError) as error:
        raise DataError(
            f"Expected KITTI's tracklets, but they do not read as such: {error}.",
            path=path,
            fix=AGAIN,
        ) from error


def _items(parent: ElementTree.Element | None) -> list[ElementTree.Element]:
    """The items of a list, as many as its count says."""
    if parent is None:
        raise ValueError("a list of tracklets or poses is missing")
    items, count = parent.findall("item"), parent.findtext("count")
    if count is not None and int(count) != len(items):
        raise ValueError(f"its {parent.tag} are {len(items)}, but their count says {count.strip()}")
    if not items:
        raise ValueError(f"it has no {parent.tag}")
    return items


def _tracklet(item: ElementTree.Element, token: str) -> Track:
    name = (item.findtext("objectType") or "").strip()
    height, width, length = (float(item.findtext(key, "")) for key in "hwl")
    first = int(item.findtext("first_frame", ""))
    places = np.array(
        [
            [float(pose.findtext(key, "")) for key in ("tx", "ty", "tz", "rx", "ry", "rz")]
            for pose in _items(item.find("poses"))
        ]
    )
    boxes = np.empty((len(places), 7))
    boxes[:, :3] = places[:, :3] + [0.0, 0.0, height / 2]
    boxes[:, 3:6] = length, width, height
    boxes[:, 6] = places[:, 5]
    fault = boxes_fault(boxes)
    if fault is None and not name:
        fault = "it has no objectType"
    if fault is None and not 0 <= first <= MAX_FRAME:
        fault = f"expected a first_frame from 0 on, got {first}"
    if fault is None and not (np.abs(places[:, 3:5]) <= UPRIGHT).all():
        fault = "expected a box that stands upright (rx and ry 0)"
    if fault is None and np.abs(boxes[:, 6]).max() > MAX_TURN:
        fault = f"expected rz in radians, got {np.abs(boxes[:, 6]).max():g}"
    if fault:
        raise ValueError(f"tracklet {token}: {fault}")
    return Track(token, name, first + np.arange(len(places)), boxes)


def read_tracking_labels(path: Path, rectified_from_lidar: NDArray) -> list[Track]:
    """Tracks of the tracking benchmark's ``label_02/<sequence>.txt``; DontCare is left out.

    Args:
        path: of the file.
        rectified_from_lidar: (4, 4) of the sequence's calibration.

    Raises:
        DataError: the file is missing, a line is none of labels or cannot be meant, or a track is
            twice in a frame or of two classes; names the line.
    """
    frames: dict[int, dict[int, list[float]]] = defaultdict(dict)
    names: dict[int, str] = {}
    width = 0
    text = read_text(path)
    if not text.strip():
        raise DataError(
            "Expected tracks, but this file is empty.",
            path=path,
            fix="leave a sequence without objects out (--scenes); " + AGAIN,
        )
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            width = width or len(words)
            frame, track, name, values = _tracking_line(words, width, path, number)
            if is_dont_care(name):
                continue
            if name != names.setdefault(track, name):
                raise ValueError(f"track {track} was a {names[track]} before, here a {name}")
            if frame in frames[track]:
                raise ValueError(f"track {track} is twice in frame {frame}")
        except DataError:
            raise
        except ValueError as error:
            raise DataError(f"Line {number}: {error}.", path=path, fix=MEND_LINE) from error
        frames[track][frame] = values[7:14]  # h w l x y z rotation_y
    lidar_from_rectified = np.linalg.inv(rectified_from_lidar)
    return [
        Track(
            f"{track:04d}",
            names[track],
            np.array(list(found)),
            kitti_to_lidar_boxes(np.array(list(found.values())), lidar_from_rectified),
        )
        for track, found in sorted(frames.items())
    ]


def _tracking_line(
    words: list[str], width: int, path: Path, number: int
) -> tuple[int, int, str, list[float]]:
    """Frame, track, class and the numbers of KITTI's labels."""
    if len(words) != width and len(words) in (17, 18):
        raise ValueError(f"expected {width} fields as in the first line, got {len(words)}")
    if len(words) not in (17, 18):
        raise ValueError(f"expected 17 fields (18 with a score), got {len(words)}")
    frame, track = (_whole(word) for word in words[:2])
    name = words[2]
    values = numbers(words[3:], LABEL_FIELDS, path, None, number, MEND_LINE)
    cut = values[0] if values[0] != 2 else 1.0  # this benchmark has levels 0, 1 and 2
    fault = label_fault(name, [cut, *values[1:]])
    if fault:
        raise ValueError(fault)
    if not is_dont_care(name):
        if track < 0:
            raise ValueError(f"expected a track from 0 on, got {track}: which object is it?")
        if min(values[7:10]) <= 0:
            raise ValueError(f"expected a box with a size, got {values[7:10]}")
    return frame, track, name, values


def _whole(word: str) -> int:
    value = int(word)
    if not -1 <= value <= MAX_FRAME:
        raise ValueError(f"expected a number of a frame or track, got {word}")
    return value
