# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's nuScenes data set with the keyframes before each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmdet3d.datasets import NuScenesDataset
from numpy.typing import NDArray

from lidistill.geometry.frames import compose, invert
from lidistill.registry import DATASETS

MAX_GAP = 1.5  # seconds; as nuScenes' velocities allow


@DATASETS.register_module()
class NuScenesFrames(NuScenesDataset):
    """Adds ``history`` to a sample: images of earlier keyframes and how the LiDAR moved since.

    Works on info files of ours and of mmdet3d (which name no scenes: there a gap in time ends one).
    The first keyframes of a scene see themselves in place of those that are missing.

    Args:
        history: earlier keyframes of each sample.
        options: of mmdet3d's ``NuScenesDataset``.
    """

    def __init__(self, history: int = 0, **options: Any) -> None:
        self.history = history
        super().__init__(**options)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The sample's info, and ``history``, the nearest moment first.

        Each has ``images`` and ``from_present``, the (4, 4) transform from the present LiDAR frame.
        """
        info: dict[str, Any] = super().get_data_info(idx)
        if not self.history:
            return info
        row = info["sample_idx"] if idx < 0 else idx
        moments: list[dict[str, Any]] = []
        now, earlier = info, info
        for step in range(1, self.history + 1):
            candidate = super().get_data_info(row - step) if row >= step else None
            if candidate is None or not _follows(candidate, earlier):
                break
            earlier = candidate
            moments.append(_moment(earlier, now))
        last = moments[-1] if moments else _moment(now, now)
        moments += [last] * (self.history - len(moments))
        info["history"] = moments
        return info


def _follows(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> bool:
    """Whether two infos that follow one another in the file are of one scene."""
    if earlier.get("scene_name") != later.get("scene_name"):
        return False
    return 0 < later["timestamp"] - earlier["timestamp"] <= MAX_GAP


def _moment(info: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    return {"images": info["images"], "from_present": compose(invert(_pose(info)), _pose(now))}


def _pose(info: Mapping[str, Any]) -> NDArray[np.float64]:
    return compose(np.array(info["ego2global"]), np.array(info["lidar_points"]["lidar2ego"]))
