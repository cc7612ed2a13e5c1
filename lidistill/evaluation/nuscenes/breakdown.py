# SPDX-License-Identifier: Apache-2.0
"""nuScenes' AP by distance and by the number of points in the box.

Detections are matched once to all objects, as nuScenes does. A group then counts its own objects:
those elsewhere are neutral, and so is a detection of one of them. One group of everything has the
official AP.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.jit import njit

RANGES = (0.0, 15.0, 30.0, math.inf)
"""Metres on the ground from the vehicle, where one group ends and the next begins."""
POINTS = (1, 6, 21, 101, math.inf)
"""Points in a true box, where one group ends and the next begins."""
MATCHES = (0.5, 1.0, 2.0, 4.0)
"""Metres between centres below which a detection is right; AP is the mean over them."""
MIN_RECALL, MIN_PRECISION = 0.1, 0.1
RECALLS = np.linspace(0, 1, 101)
BY = ("range", "points")


@dataclass(frozen=True)
class Boxes:
    """Boxes of a split, frame by frame.

    Attributes:
        kind: (M,) int64 index into the classes.
        frame: (M,) int64 number of the keyframe, by the order of the tokens.
        centre: (M, 2) metres on the ground; any frame that truth and detections share.
        distance: (M,) metres on the ground from the vehicle.
        score: (M,) of a detection.
        points: (M,) int64 in a true box.
    """

    kind: NDArray[np.int64]
    frame: NDArray[np.int64]
    centre: NDArray[np.float64]
    distance: NDArray[np.float64]
    score: NDArray[np.float64]
    points: NDArray[np.int64]

    @classmethod
    def of(cls, boxes: Any, classes: Iterable[str]) -> Boxes:
        """From the devkit's ``EvalBoxes``, as its evaluation leaves them: in range, with points.

        Args:
            boxes: with distances from the vehicle; of every keyframe, maybe none.
            classes: that count; boxes of others are left out.
        """
        kinds = {name: kind for kind, name in enumerate(classes)}
        # truth comes in the order of the tables, detections in that of their file
        frames = {token: frame for frame, token in enumerate(sorted(boxes.sample_tokens))}
        rows = [
            (kinds[b.detection_name], frames[token], *b.translation[:2], b.ego_dist,
             b.detection_score)
            for token in boxes.sample_tokens
            for b in boxes[token]
            if b.detection_name in kinds
        ]  # fmt: skip
        points = [b.num_pts for b in boxes.all if b.detection_name in kinds]
        table = np.array(rows, dtype=np.float64).reshape(-1, 6)
        kind, frame = table[:, :2].astype(np.int64).T
        distance, score = table[:, 4:].T
        return cls(kind, frame, table[:, 2:4], distance, score, np.array(points, dtype=np.int64))

    def rows(self, rows: NDArray[Any]) -> Boxes:
        """Some of them."""
        return Boxes(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Group:
    """AP of the objects of one distance or number of points.

    Attributes:
        kind: class name.
        by: ``range`` or ``points``.
        name: of the group.
        objects: that count.
        ap: 0..1; NaN without objects.
    """

    kind: str
    by: str
    name: str
    objects: int
    ap: float


def by_range(
    truth: Boxes, found: Boxes, classes: Sequence[str], limits: Sequence[float] = RANGES
) -> list[Group]:
    """AP of the objects between two distances.

    A detection is where its object is, if it has one, else where itself is.

    Args:
        truth: objects that count.
        found: detections that count.
        classes: in the order of ``kind``.
        limits: rising, metres.
    """
    parts = [
        (
            f"{low:g} m on" if math.isinf(high) else f"{low:g} to {high:g} m",
            (truth.distance >= low) & (truth.distance < high),
            (found.distance >= low) & (found.distance < high),
        )
        for low, high in pairwise(limits)
    ]
    return _groups(truth, found, classes, "range", parts)


def by_points(
    truth: Boxes, found: Boxes, classes: Sequence[str], limits: Sequence[float] = POINTS
) -> list[Group]:
    """AP of the objects with so many points; a false positive counts in every group.

    So the AP of a small group is low for what has nothing to do with it: compare detectors within
    a group, not groups with each other.

    Args:
        truth: objects that count.
        found: detections that count.
        classes: in the order of ``kind``.
        limits: rising numbers of points.
    """
    everywhere = np.ones(len(found.kind), dtype=bool)
    parts = [
        (
            f"{low:g} points on" if math.isinf(high) else f"{low:g} to {high - 1:g} points",
            (truth.points >= low) & (truth.points < high),
            everywhere,
        )
        for low, high in pairwise(limits)
    ]
    return _groups(truth, found, classes, "points", parts)


def matched(truth: Boxes, found: Boxes, limit: float) -> NDArray[np.int64]:
    """Each detection's object: the nearest that none before it took, nearer than ``limit``.

    Args:
        truth: objects of one class.
        found: detections of that class, best first.
        limit: metres between centres.

    Returns:
        (P,) row of ``truth``, -1 for none.

    Source: nuscenes-devkit, ``nuscenes.eval.detection.algo.accumulate``.
    """
    order = np.argsort(truth.frame, kind="stable")
    frames = 1 + max(truth.frame.max(initial=-1), found.frame.max(initial=-1))
    starts = np.searchsorted(truth.frame[order], np.arange(frames + 1))
    taken = _nearest_free(truth.centre[order], starts, found.centre, found.frame, limit)
    return np.where(taken < 0, -1, np.append(order, -1)[taken])


def average_precision(right: NDArray[np.bool_], objects: int) -> float:
    """nuScenes' AP: mean precision over recalls above 0.1, what is above 0.1 of it, scaled to 1.

    Args:
        right: (P,) whether each detection has an object, best first.
        objects: to be found; at least one.

    Source: nuscenes-devkit, ``nuscenes.eval.detection.algo``, ``accumulate`` and ``calc_ap``.
    """
    if not right.any():
        return 0.0
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    curve = np.interp(RECALLS, hits / objects, precision, right=0)
    above = curve[round(100 * MIN_RECALL) + 1 :] - MIN_PRECISION
    return float(above.clip(min=0).mean() / (1 - MIN_PRECISION))


def mean_over(groups: Sequence[Group], classes: Sequence[str]) -> dict[str, float]:
    """Mean AP over classes of each group, those without objects left out.

    Args:
        groups: of any kind.
        classes: that count.

    Returns:
        Group's name with its number of objects -> mean AP, NaN where no class has an object.
    """
    found: dict[str, float] = {}
    for name in dict.fromkeys(group.name for group in groups):
        here = [group for group in groups if group.name == name and group.kind in classes]
        known = [group.ap for group in here if group.objects]
        words = f"{name} ({sum(group.objects for group in here)} objects)"
        found[words] = float(np.mean(known)) if known else math.nan
    return found


Part = tuple[str, NDArray[np.bool_], NDArray[np.bool_]]
"""Name of a group, which objects are in it, which detections without an object are."""


def _groups(
    truth: Boxes, found: Boxes, classes: Sequence[str], by: str, parts: Sequence[Part]
) -> list[Group]:
    groups = []
    for kind, name in enumerate(classes):
        objects = np.flatnonzero(truth.kind == kind)
        guesses = np.flatnonzero(found.kind == kind)
        guesses = guesses[np.argsort(found.score[guesses], kind="stable")[::-1]]
        own, theirs = truth.rows(objects), found.rows(guesses)
        matches = [matched(own, theirs, limit) for limit in MATCHES]
        for words, inside_truth, inside_found in parts:
            inside, number = inside_truth[objects], int(inside_truth[objects].sum())
            values = []
            for match in matches if number else ():
                hit = match >= 0
                counts = np.where(hit, inside[match], inside_found[guesses])
                values.append(average_precision(hit[counts], number))
            groups.append(Group(name, by, words, number, float(np.mean(values or [math.nan]))))
    return groups


@njit
def _nearest_free(
    truth: NDArray[Any],
    starts: NDArray[Any],
    found: NDArray[Any],
    frames: NDArray[Any],
    limit: float,
) -> NDArray[Any]:
    """Greedy matching; ``starts`` (F + 1,) says where each frame's objects begin."""
    taken = np.zeros(len(truth), dtype=np.bool_)
    rows = np.full(len(found), -1, dtype=np.int64)
    for one in range(len(found)):
        best, nearest = np.inf, -1
        for other in range(starts[frames[one]], starts[frames[one] + 1]):
            if not taken[other]:
                aside = found[one, 0] - truth[other, 0]
                ahead = found[one, 1] - truth[other, 1]
                distance = math.sqrt(aside * aside + ahead * ahead)
                if distance < best:
                    best, nearest = distance, other
        if best < limit:
            taken[nearest] = True
            rows[one] = nearest
    return rows
