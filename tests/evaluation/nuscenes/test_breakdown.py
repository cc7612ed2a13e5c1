# SPDX-License-Identifier: Apache-2.0
"""AP by distance and by points: naive loops, and the devkit where a group is everything."""

from __future__ import annotations

import math

import numpy as np
import pytest
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.utils import center_distance
from nuscenes.eval.detection.algo import accumulate, calc_ap
from nuscenes.eval.detection.data_classes import DetectionBox

from lidistill.evaluation.nuscenes.breakdown import (
    MATCHES,
    Boxes,
    Group,
    by_points,
    by_range,
    mean_over,
)

CLASSES = ("car", "pedestrian")


def made_up(seed=0, frames=8, objects=15, ties=False):
    """Objects, and detections around them and elsewhere, as the devkit holds them."""
    rng = np.random.default_rng(seed)
    truth, found = EvalBoxes(), EvalBoxes()
    for frame in range(frames):
        places = rng.uniform(-40, 40, (objects, 2))
        kinds = rng.choice(CLASSES, objects)
        own = [box(frame, *at) for at in zip(places, kinds, strict=True)]
        for one in own:
            one.num_pts = int(np.exp(rng.uniform(0, np.log(400))))
        guesses = [
            box(frame, place + rng.normal(0, 1.5, 2), kind, float(rng.uniform()))
            for place, kind in zip(places, kinds, strict=True)
            for _ in range(rng.integers(0, 4))
        ]
        guesses += [
            box(frame, rng.uniform(-40, 40, 2), "car", float(rng.uniform())) for _ in range(3)
        ]
        if ties:
            for one in guesses:
                one.detection_score = round(one.detection_score, 1)
        truth.add_boxes(f"frame{frame}", own)
        found.add_boxes(f"frame{frame}", guesses)
    return truth, found


def box(frame, place, kind, score=-1.0):
    place = (*map(float, place), 0.0)
    return DetectionBox(
        f"frame{frame}",
        place,
        size=(1.0, 1.0, 1.0),
        rotation=(1.0, 0.0, 0.0, 0.0),
        velocity=(0.0, 0.0),
        ego_translation=place,
        detection_name=str(kind),
        detection_score=score,
        attribute_name="",
    )


def naive(truth, found, kind, inside_truth, inside_found):
    """AP of the objects for which a predicate holds, with loops."""
    objects = [(token, n) for token in truth.sample_tokens for n, b in enumerate(truth[token])
               if b.detection_name == kind]  # fmt: skip
    own = {key for key in objects if inside_truth(truth[key[0]][key[1]])}
    if not own:
        return math.nan
    guesses = [b for b in found.all if b.detection_name == kind]
    order = sorted(range(len(guesses)), key=lambda n: (guesses[n].detection_score, n))[::-1]
    aps = []
    for limit in MATCHES:
        taken, outcomes = set(), []
        for guess in (guesses[n] for n in order):
            free = [key for key in objects if key[0] == guess.sample_token and key not in taken]
            near = [(center_distance(truth[token][n], guess), n) for token, n in free]
            distance, row = min(near, default=(math.inf, -1))
            if distance < limit:
                taken.add((guess.sample_token, row))
                if (guess.sample_token, row) in own:
                    outcomes.append(1)
            elif inside_found(guess):
                outcomes.append(0)
        hits, precision, recall = 0, [], []
        for number, outcome in enumerate(outcomes, 1):
            hits += outcome
            precision.append(hits / number)
            recall.append(hits / len(own))
        curve = np.zeros(101)
        if hits:
            curve = np.interp(np.linspace(0, 1, 101), recall, precision, right=0)
        aps.append(sum(max(value - 0.1, 0.0) for value in curve[11:]) / 90 / 0.9)
    return sum(aps) / len(aps)


@pytest.mark.parametrize("ties", [False, True])
def test_groups_are_those_of_loops(ties):
    truth, found = made_up(1, ties=ties)
    both = Boxes.of(truth, CLASSES), Boxes.of(found, CLASSES)
    limits = {
        "0 to 15 m": (0, 15), "15 to 30 m": (15, 30), "30 m on": (30, math.inf),
        "1 to 5 points": (1, 5), "6 to 20 points": (6, 20), "21 to 100 points": (21, 100),
        "101 points on": (101, math.inf),
    }  # fmt: skip
    groups = by_range(*both, CLASSES) + by_points(*both, CLASSES)
    assert [group.name for group in groups if group.kind == "car"] == list(limits)
    for group in groups:
        low, high = limits[group.name]
        near = lambda b, low=low, high=high: low <= b.ego_dist < high  # noqa: E731
        dense = lambda b, low=low, high=high: low <= b.num_pts <= high  # noqa: E731
        inside = (near, near) if group.by == "range" else (dense, lambda b: True)
        own = [b for b in truth.all if b.detection_name == group.kind and inside[0](b)]
        assert group.objects == len(own) > 0
        assert group.ap == pytest.approx(naive(truth, found, group.kind, *inside), abs=1e-12)
    assert len({round(group.ap, 3) for group in groups}) > 8


@pytest.mark.parametrize("seed", [2, 3])
def test_everything_as_one_group_is_the_devkits_ap(seed):
    truth, found = made_up(seed, ties=True)
    both = Boxes.of(truth, CLASSES), Boxes.of(found, CLASSES)
    wholes = by_range(*both, CLASSES, (0, math.inf)) + by_points(*both, CLASSES, (1, math.inf))
    for group in wholes:
        curves = [accumulate(truth, found, group.kind, center_distance, d) for d in MATCHES]
        expected = np.mean([calc_ap(curve, 0.1, 0.1) for curve in curves])
        assert 0 < group.ap == pytest.approx(expected, abs=1e-12)


def test_detections_come_in_any_order_of_keyframes():
    """A results file has an order of its own, which says nothing of where its boxes belong."""
    truth, found = made_up(6)
    other = EvalBoxes()
    for token in reversed(found.sample_tokens):
        other.add_boxes(token, found[token])
    groups, same = (
        by_range(Boxes.of(truth, CLASSES), Boxes.of(part, CLASSES), CLASSES)
        for part in (found, other)
    )
    assert [group.ap for group in same] == pytest.approx([group.ap for group in groups])
    assert min(group.ap for group in groups) > 0


def test_nothing_there_and_nothing_found():
    truth, found = made_up(4, frames=2)
    nothing = EvalBoxes()
    for token in truth.sample_tokens:
        nothing.add_boxes(token, [])
    columns = [Boxes.of(part, CLASSES) for part in (truth, found, nothing)]
    blind = by_range(columns[0], columns[2], CLASSES)
    assert {group.ap for group in blind if group.objects} == {0.0}
    empty = by_points(columns[2], columns[1], CLASSES)
    assert all(math.isnan(group.ap) and group.objects == 0 for group in empty)
    assert math.isnan(mean_over(empty, CLASSES)["1 to 5 points (0 objects)"])


def test_mean_over_classes_that_have_objects():
    groups = [
        Group("car", "range", "near", 3, 0.5),
        Group("pedestrian", "range", "near", 1, 0.25),
        Group("bus", "range", "near", 0, math.nan),
        Group("truck", "range", "near", 9, 1.0),
    ]
    assert mean_over(groups, ["car", "pedestrian", "bus"]) == {"near (4 objects)": 0.375}
