# SPDX-License-Identifier: Apache-2.0
"""What KITTI's own evaluation does not tell: AP by distance and occlusion, and what was missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.kitti.files import DONT_CARE
from lidistill.evaluation.kitti._match import BBOX, COUNTS, IGNORED, assign
from lidistill.evaluation.kitti._missed import why_missed, why_wrong
from lidistill.evaluation.kitti.ap import RECALLS, KittiScores
from lidistill.evaluation.kitti.class_table import DIFFICULTIES, OVERLAP_KINDS, ClassTable
from lidistill.evaluation.kitti.columns import NOWHERE, Columns

DISTANCES = (0.0, 15.0, 30.0, 45.0, math.inf)
"""Metres on the ground from the camera, where one group ends and the next begins."""
OCCLUSIONS = ("visible", "partly occluded", "largely occluded")
MISSES = ("class", "low score", "localisation", "unseen")
FAULTS = ("duplicate", "class", "localisation", "unlabelled", "background")


@dataclass(frozen=True)
class Group:
    """AP of the objects of one distance or occlusion.

    Attributes:
        kind: class name.
        by: ``distance`` or ``occlusion``.
        name: of the group.
        metric: ``bbox``, ``bev`` or ``3d``.
        objects: that count.
        ap: R40, percent; NaN without objects, and where the metric is NaN.
    """

    kind: str
    by: str
    name: str
    metric: str
    objects: int
    ap: float


@dataclass(frozen=True)
class Missed:
    """One class at the score at which precision and recall are best together (F1).

    Attributes:
        kind: class name.
        metric: ``bbox``, ``bev`` or ``3d``.
        difficulty: of the objects.
        score: detections below do not exist.
        objects: that count.
        hits: of them found.
        misses: reason (:data:`MISSES`) -> objects that were not found.
        faults: reason (:data:`FAULTS`) -> detections that are wrong.
    """

    kind: str
    metric: str
    difficulty: str
    score: float
    objects: int
    hits: int
    misses: dict[str, int]
    faults: dict[str, int]


def by_distance(
    truth: Columns,
    found: Columns,
    scores: KittiScores,
    metric: str = "3d",
    limits: Sequence[float] = DISTANCES,
    level: int = 2,
) -> list[Group]:
    """AP of the objects between two distances, of one difficulty (0 easy, 1 moderate, 2 hard).

    Objects elsewhere are neutral. A detection is where its own object is, if it has one, else where
    itself is; one elsewhere is neutral, too, and one without a place (an image detector's) is in
    every group. An object without a place is in none.
    """
    groups = []
    for name, table in scores.tables.items():
        where_truth = _distance(truth)[table.truth_rows]
        where_found = _distance(found)[table.found_rows]
        rows, counting = _own_objects(table, metric, table.truth_roles[level])
        where_found[rows] = where_truth[counting]
        for low, high in pairwise(limits):
            inside = (where_truth >= low) & (where_truth < high)
            outside = (where_found < low) | (where_found >= high)
            roles = [
                _neutral(table.truth_roles[level], inside),
                _neutral(table.found_roles[level], ~outside),
            ]
            words = f"{low:g} m on" if math.isinf(high) else f"{low:g} to {high:g} m"
            groups.append(_group(scores, name, "distance", words, metric, roles))
    return groups


def by_occlusion(
    truth: Columns, scores: KittiScores, metric: str = "3d", level: int = 2
) -> list[Group]:
    """AP of the objects of each occlusion; objects of another are neutral, false positives are all.

    Args:
        truth: labels.
        scores: of :func:`kitti_ap`.
        metric: ``bbox``, ``bev`` or ``3d``.
        level: difficulty (2 hard).
    """
    groups = []
    for name, table in scores.tables.items():
        occluded = truth.occluded[table.truth_rows]
        for value, words in enumerate(OCCLUSIONS):
            role = _neutral(table.truth_roles[level], occluded == value)
            roles = [role, table.found_roles[level]]
            groups.append(_group(scores, name, "occlusion", words, metric, roles))
    return groups


def what_was_missed(
    truth: Columns, found: Columns, scores: KittiScores, metric: str = "3d", level: int = 1
) -> list[Missed]:
    """Why objects were not found and detections are wrong, each class at its best score.

    Missed objects, first reason that holds: a detection of another class is there (``class``); one
    of its own has a ``low score``; one of its own is near: ``localisation``; else ``unseen``. False
    detections: the object is taken (``duplicate``); an object of another class is there
    (``class``); one of its own is near (``localisation``); it lies in a DontCare rectangle
    (``unlabelled``); else ``background``. Near is an overlap above 0.1, or above 0.5 in the image:
    a car placed 5 m too far is seen, and badly localised. Nothing is told where the metric cannot
    be scored, without boxes in space or rectangles.

    Args:
        truth: labels, DontCare included.
        found: detections.
        scores: of :func:`kitti_ap` for both.
        metric: ``bbox``, ``bev`` or ``3d``.
        level: difficulty (1 moderate).
    """
    which = OVERLAP_KINDS[metric]
    areas = truth.of(DONT_CARE)
    all_truth = (truth.bbox, truth.boxes, truth.starts)
    all_found = (found.bbox, found.boxes, found.starts)
    out = []
    for name, table in scores.tables.items():
        if not _known(scores, name, metric):
            continue
        truth_role, found_role = table.truth_roles[level], table.found_roles[level]
        minimum, score = table.minimum[metric], best_score(table, metric, level)
        match, taken = assign(table.pairs[metric], table.scores, truth_role, found_role, score)
        counts = truth_role == COUNTS
        hit = counts & (match >= 0)
        hit[hit] = found_role[match[hit]] == COUNTS
        missed = np.zeros(len(truth.kind), dtype=bool)
        missed[table.truth_rows[counts & ~hit & (match < 0)]] = True
        wrong_here = (found_role == COUNTS) & ~taken & (table.scores >= score)
        if which == BBOX:
            wrong_here &= ~table.excused
        wrong = np.zeros(len(found.kind), dtype=bool)
        wrong[table.found_rows[wrong_here]] = True
        misses = why_missed(
            which, minimum, score, all_truth, all_found, missed, found.of(name), found.score
        )
        faults = why_wrong(which, minimum, all_truth, all_found, wrong, truth.of(name), areas)
        out.append(
            Missed(
                kind=name,
                metric=metric,
                difficulty=DIFFICULTIES[level],
                score=score,
                objects=int(counts.sum()),
                hits=int(hit.sum()),
                misses=dict(zip(MISSES, misses.tolist(), strict=True)),
                faults=dict(zip(FAULTS, faults.tolist(), strict=True)),
            )
        )
    return out


def best_score(table: ClassTable, metric: str, level: int) -> float:
    """The sampled score of the best F1; the lowest score there is where nothing is right."""
    curve = table.level(metric, level)
    if not len(curve.scores):
        return float(table.scores.min(initial=0.0))
    precision, recall = (part[: len(curve.scores)] for part in (curve.raw, curve.recall))
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(curve.scores[int(f1.argmax())])


def _known(scores: KittiScores, name: str, metric: str) -> bool:
    """Whether a metric can be scored at all: some need boxes in space, some rectangles."""
    return not (any(scores.objects[name]) and np.isnan(scores.precision[name][metric]).all())


def _distance(columns: Columns) -> NDArray[np.float64]:
    """(M,) metres on the ground from the camera; NaN without a place."""
    placed = (columns.boxes[:, :3] > NOWHERE).all(axis=1)
    return np.where(placed, np.hypot(columns.boxes[:, 0], columns.boxes[:, 2]), math.nan)


def _own_objects(
    table: ClassTable, metric: str, role: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Detections that overlap with objects that count, and for each the object it covers most."""
    begins, rows, overlaps = table.pairs[metric]
    objects = np.repeat(np.arange(len(role)), np.diff(begins))
    kept = role[objects] == COUNTS
    objects, rows, overlaps = objects[kept], rows[kept], overlaps[kept]
    order = np.argsort(overlaps, kind="stable")  # of equal rows the last assignment holds
    best = np.full(len(table.scores), -1, dtype=np.int64)
    best[rows[order]] = objects[order]
    chosen = np.flatnonzero(best >= 0)
    return chosen, best[chosen]


def _neutral(role: NDArray[np.int64], inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.where((role == COUNTS) & ~inside, IGNORED, role)


def _group(
    scores: KittiScores,
    name: str,
    by: str,
    words: str,
    metric: str,
    roles: Sequence[NDArray[np.int64]],
) -> Group:
    curve = scores.tables[name].curve(metric, *roles)
    known = _known(scores, name, metric)
    ap = float(100 * curve.precision[RECALLS["R40"]].mean()) if known else math.nan
    return Group(name, by, words, metric, int((roles[0] == COUNTS).sum()), ap)
