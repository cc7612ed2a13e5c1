# SPDX-License-Identifier: Apache-2.0
"""The objects and detections of one class: who overlaps with whom, and who takes part how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.kitti.files import DONT_CARE, UNKNOWN_ALPHA
from lidistill.evaluation.kitti._match import (
    BBOX,
    BEV,
    COUNTS,
    IGNORED,
    OTHER,
    SAMPLES,
    VOLUME,
    candidates,
    curve,
    excused,
)
from lidistill.evaluation.kitti.columns import Columns

DIFFICULTIES = ("easy", "moderate", "hard")
MIN_HEIGHT, MAX_OCCLUSION, MAX_TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.3, 0.5)
NEIGHBOURS = {"Car": "van", "Pedestrian": "person_sitting"}
"""Of which class an object neither helps nor hurts."""
OVERLAP_KINDS = {"bbox": BBOX, "bev": BEV, "3d": VOLUME}
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True)
class Curve:
    """What one metric, class and difficulty comes to.

    Attributes:
        precision: (41,) at recalls 0, 1/40, .. 1, made monotone.
        similarity: (41,) orientation similarity, likewise.
        scores: (S,) the score behind each sample that is reached, S <= 41.
        raw: (41,) precision as it is at these scores.
        recall: (41,) as it is there: of fewer than 41 objects not 0, 1/40, .. 1.
    """

    precision: NDArray[np.float64]
    similarity: NDArray[np.float64]
    scores: NDArray[np.float64]
    raw: NDArray[np.float64]
    recall: NDArray[np.float64]


@dataclass(frozen=True)
class ClassTable:
    """One class over all frames; only rows that can take part.

    Attributes:
        name: of the class.
        truth_rows: (G,) rows in the table of labels.
        found_rows: (D,) rows in the table of detections.
        pairs: metric -> pairs that overlap enough.
        minimum: metric -> overlap that a match must exceed.
        excused: (D,) inside a DontCare rectangle.
        scores: (D,).
        alphas: (G,) and (D,) radians.
        truth_roles: (3, G) by difficulty: COUNTS, IGNORED or OTHER.
        found_roles: (3, D).
    """

    name: str
    truth_rows: NDArray[np.int64]
    found_rows: NDArray[np.int64]
    pairs: Mapping[str, Pairs]
    minimum: Mapping[str, float]
    excused: NDArray[np.bool_]
    scores: NDArray[np.float64]
    alphas: tuple[NDArray[np.float64], NDArray[np.float64]]
    truth_roles: NDArray[np.int64]
    found_roles: NDArray[np.int64]

    @property
    def objects(self) -> tuple[int, ...]:
        """Objects that count, by difficulty."""
        return tuple(int(n) for n in (self.truth_roles == COUNTS).sum(axis=1))

    @property
    def alpha_known(self) -> bool:
        """Whether everything that counts has an observation angle."""
        counting = ((self.truth_roles == COUNTS).any(0), (self.found_roles == COUNTS).any(0))
        return not any(
            (alpha[counts] == UNKNOWN_ALPHA).any()
            for alpha, counts in zip(self.alphas, counting, strict=True)
        )

    def curve(
        self, metric: str, truth_role: NDArray[np.int64], found_role: NDArray[np.int64]
    ) -> Curve:
        """Precision over recall for given parts; NaN where no object counts.

        Args:
            metric: ``bbox``, ``bev`` or ``3d``.
            truth_role: (G,).
            found_role: (D,).
        """
        if not (truth_role == COUNTS).any():
            nothing = np.full(SAMPLES, np.nan)
            return Curve(nothing, nothing, np.zeros(0), nothing, nothing)
        no_fault = self.excused if metric == "bbox" else np.zeros_like(self.excused)
        raw, similarity, recall, scores = curve(
            self.pairs[metric], self.scores, truth_role, found_role, no_fault, self.alphas
        )
        return Curve(_falling(raw), _falling(similarity), scores, raw, recall)

    def level(self, metric: str, level: int) -> Curve:
        """Precision over recall of one difficulty (0 easy, 1 moderate, 2 hard)."""
        return self.curve(metric, self.truth_roles[level], self.found_roles[level])


def class_table(
    truth: Columns,
    found: Columns,
    name: str,
    minimum: Mapping[str, float],
    heights_known: tuple[bool, bool] = (True, True),
) -> ClassTable:
    """Who overlaps with whom within the frames, and who takes part how.

    Args:
        truth: labels, DontCare included.
        found: detections of the same frames.
        name: of the class.
        minimum: ``bbox``, ``bev``, ``3d`` -> overlap that a match must exceed.
        heights_known: whether rectangles of labels and of detections mean something; where they do
            not, nothing is too low in the image.
    """
    truth_roles = _truth_roles(truth, name, heights_known[0])
    found_roles = _found_roles(found, name, heights_known[1])
    truth_rows = np.flatnonzero((truth_roles != OTHER).any(axis=0))
    found_rows = np.flatnonzero((found_roles != OTHER).any(axis=0))
    truth_starts = np.searchsorted(truth_rows, truth.starts)
    found_starts = np.searchsorted(found_rows, found.starts)
    areas = np.flatnonzero(truth.of(DONT_CARE))
    pairs = {}
    for metric, kind in OVERLAP_KINDS.items():
        objects, detections = (
            (truth.bbox, found.bbox) if kind == BBOX else (truth.boxes, found.boxes)
        )
        pairs[metric] = candidates(
            objects[truth_rows], truth_starts, detections[found_rows], found_starts, kind,
            float(minimum[metric]),
        )  # fmt: skip
    return ClassTable(
        name=name,
        truth_rows=truth_rows,
        found_rows=found_rows,
        pairs=pairs,
        minimum=dict(minimum),
        excused=excused(
            found.bbox[found_rows], found_starts, truth.bbox[areas],
            np.searchsorted(areas, truth.starts), float(minimum["bbox"]),
        ),
        scores=found.score[found_rows],
        alphas=(truth.alpha[truth_rows], found.alpha[found_rows]),
        truth_roles=np.ascontiguousarray(truth_roles[:, truth_rows]),
        found_roles=np.ascontiguousarray(found_roles[:, found_rows]),
    )  # fmt: skip


def _truth_roles(truth: Columns, name: str, heights_known: bool) -> NDArray[np.int64]:
    """(3, M)."""
    same, near = truth.of(name), truth.of(NEIGHBOURS.get(name))
    roles = []
    for level in range(3):
        hard = (truth.occluded > MAX_OCCLUSION[level]) | (truth.truncated > MAX_TRUNCATION[level])
        if heights_known:
            hard |= truth.height <= MIN_HEIGHT[level]
        roles.append(np.where(same & ~hard, COUNTS, np.where(near | (same & hard), IGNORED, OTHER)))
    return np.stack(roles)


def _found_roles(found: Columns, name: str, heights_known: bool) -> NDArray[np.int64]:
    """(3, M): officially, a detection too low in the image is ignored whatever its class."""
    same = np.where(found.of(name), COUNTS, OTHER)
    if not heights_known:
        return np.stack([same] * 3)
    return np.stack([np.where(np.abs(found.height) < low, IGNORED, same) for low in MIN_HEIGHT])


def _falling(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum.accumulate(values[::-1])[::-1])
