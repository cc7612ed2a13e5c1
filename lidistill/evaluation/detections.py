# SPDX-License-Identifier: Apache-2.0
"""What a detector found, as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from numpy.typing import NDArray

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
    return PurePath(sample["lidar_path"]).name, rows, scores, labels


def frames_by_file(frames: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Entries of an info file by the name of their point file."""
    return {PurePath(frame["lidar_points"]["lidar_path"]).name: frame for frame in frames}
