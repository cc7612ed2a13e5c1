# SPDX-License-Identifier: Apache-2.0
"""Transforms of labelled scans: classes of points, and intensity between data sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lidistill import io
from lidistill.datasets.frame import Frame
from lidistill.registry import TRANSFORMS


@TRANSFORMS.register_module()
class MapPointLabels:
    """Replace each stored label by its class; put it behind the transform that loads labels.

    Args:
        table: ``table[stored label] = class``, e.g.
            :data:`lidistill.evaluation.label_maps.NUSCENES_LABEL_TABLE`.
    """

    def __init__(self, table: Sequence[int]) -> None:
        self.table = np.asarray(table, dtype=np.uint8)
        if self.table.ndim != 1 or not len(self.table):
            raise ValueError(f"table: expected one class a stored label, got {table!r}")

    def __call__(self, frame: Frame) -> Frame:
        """Change ``point_labels`` (N,)."""
        labels = frame.point_labels
        if labels is None:
            raise ValueError(f"frame {frame.token} has no labels; put LoadPointLabels() before")
        if labels.size and int(labels.max()) >= len(self.table):
            raise io.DataError(
                f"Expected labels in 0..{len(self.table) - 1}, got {int(labels.max())}.",
                path=frame.labels_path,
                token=frame.token,
                fix="these are labels of another data set, or mapped already: check the pipeline.",
            )
        frame.point_labels = self.table[labels]
        return frame


@TRANSFORMS.register_module()
class OffsetIntensity:
    """Add a number to the intensity of each point.

    Args:
        offset: the SLidR authors fine-tune on SemanticKITTI with intensity + 1.

    Source: valeoai/SLidR @ 14729d0, ``downstream/dataloader_kitti.py``.
    """

    def __init__(self, offset: float = 1.0) -> None:
        self.offset = np.float32(offset)

    def __call__(self, frame: Frame) -> Frame:
        """Change the fourth column of ``points`` (N, 4+)."""
        points = frame.points.copy()
        points[:, 3] += self.offset
        frame.points = points
        return frame
