# SPDX-License-Identifier: Apache-2.0
"""Frames of LiDAR points without cameras: for fine-tuning, and for data sets that have none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lidistill.converters.info_paths import InfoPaths
from lidistill.converters.infos import load_infos
from lidistill.datasets.frame import Frame
from lidistill.datasets.labelled import Scenes, labelled_frames
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.registry import DATASETS


@DATASETS.register_module()
class LidarScans(ImageLidarPairs):
    """Dataset of `Frame` without cameras, of all frames or of a fraction.

    Args:
        scenes: labelled scenes: how many, a file of names, or names; None takes all. See
            :func:`lidistill.datasets.labelled.choose_scenes`.
        every_scan: of the frames left, every so many-th.
        kwargs: of :class:`~lidistill.datasets.pairs_dataset.ImageLidarPairs`: ``ann_file``,
            ``data_root``, ``pipeline``, ``data_prefix``, ``indices``.
    """

    def __init__(self, scenes: Scenes | None = None, every_scan: int = 1, **kwargs: Any) -> None:
        self.scenes, self.every_scan = scenes, every_scan
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the info file, check it, choose the frames."""
        infos = load_infos(self.ann_file, need=("lidar_points",))
        self._metainfo.update(infos.metainfo)
        self.locate = InfoPaths(self.root, infos.metainfo, self.prefix)
        return [dict(info) for info in labelled_frames(infos.frames, self.scenes, self.every_scan)]

    def frame(self, info: Mapping[str, Any], rng: np.random.Generator) -> Frame:
        """The record of one info entry, cameras left out."""
        return super().frame({**info, "images": {}}, rng)
