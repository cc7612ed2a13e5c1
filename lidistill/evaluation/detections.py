# SPDX-License-Identifier: Apache-2.0
"""What a detector found, as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.info_paths import frame_token

Found = tuple[str, NDArray, NDArray, NDArray]


def boxes_of_sample(sample: Mapping[str, Any]) -> Found:
    """Point file's name, boxes (M, 7+) with centre origin in float64, scores (M,), labels (M,).

    A sample is known by its point file: mmengine puts its own position over ``sample_idx``.
    """
    found = sample["pred_instances_3d"]
    boxes = found["bboxes_3d"].cpu()
    rows = boxes.tensor.double().numpy().copy()
    rows[:, :3] = boxes.gravity_center.double().numpy()
    scores, labels = found["scores_3d"].cpu().numpy(), found["labels_3d"].cpu().numpy()
    name = PurePath(sample["lidar_path"]).name
    check_finite(rows, scores, f"{name} ({sample.get('token') or 'no token'})")
    return name, rows, scores, labels


def check_finite(boxes: NDArray, scores: NDArray, frame: str) -> None:
    """Refuses detections that are no numbers, which no metric can place.

    Args:
        boxes: (M, 7+).
        scores: (M,).
        frame: what to call the frame.

    Raises:
        ValueError: a score or a value of a box is NaN or infinite; names frame and detection.
    """
    wrong = ~(np.isfinite(scores) & np.isfinite(boxes).all(axis=1))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"keyframe {frame}: {int(wrong.sum())} of {len(boxes)} detections hold NaN or "
            f"infinity; the first, number {first}: score {scores[first]}, box "
            f"{boxes[first].tolist()}; look for NaN in the checkpoint and in this frame's points"
        )


def frame_of(frames: Mapping[str, Mapping[str, Any]], name: str, path: object) -> Mapping[str, Any]:
    """The entry of an info file for a point file.

    Raises:
        ValueError: there is none: the detections are of another split.
    """
    if name not in frames:
        raise ValueError(
            f"detections of {name}, but {path} has no such frame: name the info file of the split "
            "that was tested as the metric's ann_file"
        )
    return frames[name]


def frames_by_file(frames: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Entries of an info file by the name of their point file.

    Raises:
        ValueError: two frames have point files of one name: whose would a detection be?
    """
    found: dict[str, Mapping[str, Any]] = {}
    for frame in frames:
        path = PurePath(frame["lidar_points"]["lidar_path"])
        other = found.setdefault(path.name, frame)
        if other is not frame:
            raise ValueError(
                f"frames {frame_token(other)} and {frame_token(frame)} both have a point file "
                f"{path.name}; detections are known by it: give the files different names, or "
                "evaluate one drive at a time"
            )
    return found
