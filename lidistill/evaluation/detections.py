# SPDX-License-Identifier: Apache-2.0
"""What a detector found, as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray


def boxes_of_sample(sample: Mapping[str, Any]) -> tuple[int, NDArray, NDArray, NDArray]:
    """``sample_idx``, boxes (M, 7+) with centre origin in float64, scores (M,), labels (M,)."""
    found = sample["pred_instances_3d"]
    boxes = found["bboxes_3d"].cpu()
    rows = boxes.tensor.double().numpy().copy()
    rows[:, :3] = boxes.gravity_center.double().numpy()
    return (
        int(sample["sample_idx"]),
        rows,
        found["scores_3d"].cpu().numpy(),
        found["labels_3d"].cpu().numpy(),
    )
