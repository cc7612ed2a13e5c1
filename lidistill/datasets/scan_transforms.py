# SPDX-License-Identifier: Apache-2.0
"""Transforms of labelled scans: classes of points, and intensity between data sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lidistill import io
from lidistill.converters.semantic_kitti.labels import UNKNOWN, semantic_kitti_label_table
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
class LoadSemanticKittiLabels:
    """Read the class of each point from a ``.label`` file: 19 classes, 0 is ignored.

    A file holds 32 bits a point: the label in the lower 16, the instance in the upper.

    Args:
        table: ``table[stored label] = class``; None takes the benchmark's,
            :func:`lidistill.converters.semantic_kitti.labels.semantic_kitti_label_table`.
    """

    def __init__(self, table: Sequence[int] | None = None) -> None:
        chosen = semantic_kitti_label_table() if table is None else table
        self.table = np.asarray(chosen, dtype=np.uint8)

    def __call__(self, frame: Frame) -> Frame:
        """Fill ``point_labels`` (N,) uint8."""
        path = frame.labels_path
        fix = (
            "put one 4-byte label a point there (SemanticKITTI: extract data_odometry_labels.zip) "
            "and run lidistill create_data semantickitti again."
        )
        if path is None or not path.is_file():
            problem = "the info file names none" if path is None else "file not found"
            raise io.DataError(
                f"No labels for this scan: {problem}.", path=path, token=frame.token, fix=fix
            )
        data = io.read_bytes(path, frame.token, fix)
        stored = np.frombuffer(data[: len(data) // 4 * 4], dtype="<u4") & 0xFFFF
        expected = frame.lidar_path.stat().st_size // (4 * frame.num_point_features)
        if len(data) != 4 * expected:
            raise io.DataError(
                f"Expected a 4-byte label for each of {expected} points, got {len(data)} bytes.",
                path=path,
                token=frame.token,
                fix=fix,
            )
        known = stored < len(self.table)
        known[known] = self.table[stored[known]] != UNKNOWN
        if not known.all():
            values = ", ".join(map(str, np.unique(stored[~known])[:5]))
            raise io.DataError(
                f"Labels that the table does not know: {values}.",
                path=path,
                token=frame.token,
                fix="give LoadSemanticKittiLabels(table=...) this data set's own map.",
            )
        labels = self.table[stored]
        frame.point_labels = labels if frame.point_index is None else labels[frame.point_index]
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
