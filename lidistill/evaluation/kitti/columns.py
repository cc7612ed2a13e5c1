# SPDX-License-Identifier: Apache-2.0
"""Labels of many frames in one table of columns, which is what the evaluator computes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.kitti.files import Labels

NOWHERE = -999.0  # KITTI writes -1000 where a box has no place


@dataclass(frozen=True)
class Columns:
    """Rows of F frames one after the other, M in all.

    Attributes:
        kinds: class names in lower case.
        kind: (M,) index into ``kinds``.
        starts: (F + 1,) first row of each frame, then M.
        truncated: (M,).
        occluded: (M,).
        alpha: (M,) radians, -10 unknown.
        bbox: (M, 4) x1 y1 x2 y2, pixels.
        boxes: (M, 7) x, y bottom, z, l, h, w, rotation_y; rectified camera frame, metres, radians.
        score: (M,).
    """

    kinds: tuple[str, ...]
    kind: NDArray[np.int64]
    starts: NDArray[np.int64]
    truncated: NDArray[np.float64]
    occluded: NDArray[np.float64]
    alpha: NDArray[np.float64]
    bbox: NDArray[np.float64]
    boxes: NDArray[np.float64]
    score: NDArray[np.float64]

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.starts) - 1

    @property
    def height(self) -> NDArray[np.float64]:
        """(M,) of the rectangle, pixels."""
        return np.asarray(self.bbox[:, 3] - self.bbox[:, 1])

    @property
    def frame(self) -> NDArray[np.int64]:
        """(M,) number of the frame of each row."""
        return np.repeat(np.arange(self.frames), np.diff(self.starts))

    @property
    def has_rectangle(self) -> NDArray[np.bool_]:
        """(M,) whether a row has a rectangle in the image: LiDAR programs write -1 or 0."""
        return np.asarray(((self.bbox[:, 2:] - self.bbox[:, :2]) > 0).all(axis=1))

    @property
    def has_box(self) -> NDArray[np.bool_]:
        """(M,) whether a row has a box in space: image programs write -1 and -1000."""
        return np.asarray((self.boxes[:, :3] > NOWHERE).all(1) & (self.boxes[:, 3:6] > 0).all(1))

    def of(self, name: str | None) -> NDArray[np.bool_]:
        """(M,) which rows are of a class, in any case."""
        if name is None or name.lower() not in self.kinds:
            return np.zeros(len(self.kind), dtype=bool)
        return np.asarray(self.kind == self.kinds.index(name.lower()))


def columns_of(
    kinds: tuple[str, ...],
    kind: NDArray[np.int64],
    counts: NDArray[np.int64],
    table: NDArray[np.float64],
) -> Columns:
    """Columns of rows as KITTI writes them.

    Args:
        kinds: class names in lower case.
        kind: (M,) index into ``kinds``.
        counts: (F,) rows of each frame.
        table: (M, 14 or 15) truncated occluded alpha x1 y1 x2 y2 height width length x y z
            rotation_y and, of detections, score.
    """
    score = table[:, 14] if table.shape[1] == 15 else np.zeros(len(table))
    return Columns(
        kinds=kinds,
        kind=kind,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        truncated=table[:, 0],
        occluded=table[:, 1],
        alpha=table[:, 2],
        bbox=np.ascontiguousarray(table[:, 3:7]),
        boxes=np.ascontiguousarray(_placed(table[:, [10, 11, 12, 9, 7, 8, 13]])),
        score=np.ascontiguousarray(score),
    )


def _placed(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """A size that is not positive is no size: such a box overlaps nothing."""
    sizes = boxes[:, 3:6]
    boxes[:, 3:6] = np.where((sizes > 0).all(axis=1, keepdims=True), sizes, 0.0)
    return boxes


def stack(frames: Sequence[Labels]) -> Columns:
    """One table of the labels of frames in their order."""
    names = [name.lower() for labels in frames for name in labels.names]
    kinds = tuple(sorted(set(names)))
    codes = {name: code for code, name in enumerate(kinds)}
    return columns_of(
        kinds,
        np.array([codes[name] for name in names], dtype=np.int64),
        np.array([len(one.names) for one in frames], dtype=np.int64),
        np.concatenate([np.zeros((0, 15)), *(one.table for one in frames)]),
    )
