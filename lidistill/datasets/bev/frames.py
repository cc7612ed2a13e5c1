# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's nuScenes data set with the keyframes before each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.frames import compose, invert
from lidistill.registry import DATASETS

MAX_GAP = 1.5  # seconds; as nuScenes' velocities allow


@DATASETS.register_module()
def nuscenes_frames(history: int = 0, **options: Any) -> Any:
    """mmdet3d's ``NuScenesDataset`` whose samples have ``history``, the nearest moment first.

    Each moment has ``images`` and ``from_present``, the (4, 4) transform from the present LiDAR
    frame to that one. Works on info files of ours and of mmdet3d (which name no scenes: there a gap
    in time ends one). The first keyframes of a scene see themselves, or the earliest there is, in
    place of those that are missing.

    Args:
        history: earlier keyframes of each sample.
        options: of ``NuScenesDataset``.
    """
    from mmdet3d.datasets import NuScenesDataset

    frames = NuScenesDataset(**options)
    if history:  # an attribute of the object, not a class of its own: workers can pickle it
        frames.get_data_info = _WithHistory(frames, history)
    return frames


class _WithHistory:
    """``get_data_info`` of a data set that looks back."""

    def __init__(self, frames: Any, history: int) -> None:
        self.frames, self.history = frames, history

    def __call__(self, idx: int) -> dict[str, Any]:
        now = self._info(idx)
        row, earlier = int(now["sample_idx"]) if idx < 0 else idx, now
        moments: list[dict[str, Any]] = []
        for step in range(1, self.history + 1):
            candidate = self._info(row - step) if row >= step else None
            if candidate is None or not _follows(candidate, earlier):
                break
            earlier = candidate
            moments.append(_moment(earlier, now))
        last = moments[-1] if moments else _moment(now, now)
        moments += [last] * (self.history - len(moments))
        now["history"] = moments
        return now

    def _info(self, idx: int) -> dict[str, Any]:
        info: dict[str, Any] = type(self.frames).get_data_info(self.frames, idx)
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
