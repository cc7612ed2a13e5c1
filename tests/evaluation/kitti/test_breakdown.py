# SPDX-License-Identifier: Apache-2.0
"""AP by distance and occlusion, and the reasons of misses and false detections."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lidistill.bench.kitti.evaluator import made_up
from lidistill.evaluation.kitti._match import COUNTS, IGNORED
from lidistill.evaluation.kitti.ap import kitti_ap
from lidistill.evaluation.kitti.breakdown import (
    FAULTS,
    MISSES,
    by_distance,
    by_occlusion,
    what_was_missed,
)
from lidistill.evaluation.kitti.columns import stack
from tests.evaluation.kitti.test_ap import plain, shuffled


def scored(truth, found, names=("Car",)):
    tables = stack(truth), stack(found)
    return (*tables, kitti_ap(*tables, names))


def away_from(limit, labels):
    """Without what is near a limit, where an object and its detection may be on two sides."""
    reach = np.hypot(labels.location[:, 0], labels.location[:, 2])
    return shuffled(labels, np.flatnonzero(np.abs(reach - limit) > 2))


def test_distances_are_the_objects_alone():
    """A group's AP is that of frames in which only its objects and detections near them are."""
    truth, found = ([away_from(30, one) for one in frames] for frames in made_up(60, seed=3))
    columns = scored(truth, found)
    for group in by_distance(*columns, limits=(0, 30, math.inf)):
        low, high = (0, 30) if "to" in group.name else (30, math.inf)

        def inside(labels, low=low, high=high):
            reach = np.hypot(labels.location[:, 0], labels.location[:, 2])
            return np.flatnonzero((reach >= low) & (reach < high))

        alone = [[shuffled(one, inside(one)) for one in frames] for frames in (truth, found)]
        expected = kitti_ap(*alone, ("Car",))
        assert group.objects == expected.objects["Car"][2]
        assert group.ap == pytest.approx(expected.ap["Car"]["3d"]["R40"][2], rel=1e-12)
    whole = by_distance(*columns, limits=(0, math.inf))
    assert whole[0].ap == pytest.approx(columns[2].ap["Car"]["3d"]["R40"][2])


def without_boxes(labels):
    """As an image detector writes its detections."""
    nowhere = {"size": np.full_like(labels.size, -1.0)}
    nowhere["location"] = np.full_like(labels.location, -1000.0)
    return replace(labels, **nowhere, rotation_y=np.full_like(labels.rotation_y, -10.0))


def test_detections_without_a_place_count_at_every_distance():
    """False ones were all put beyond the last limit, as if they stood 1,400 m away."""
    truth, found = made_up(60, seed=3)
    columns = scored(truth, list(map(without_boxes, found)))
    groups = by_distance(*columns, "bbox", limits=(0, 30, math.inf))
    for group, inside in zip(groups, (lambda d: d < 30, lambda d: d >= 30), strict=True):
        table = columns[2].tables["Car"]
        reach = np.hypot(columns[0].boxes[:, 0], columns[0].boxes[:, 2])[table.truth_rows]
        roles = table.truth_roles[2].copy()
        roles[(roles == COUNTS) & ~inside(reach)] = IGNORED
        expected = table.curve("bbox", roles, table.found_roles[2]).precision[1:].mean()
        assert 0 < group.ap == pytest.approx(100 * expected)


def test_what_cannot_be_scored_has_no_groups_and_no_reasons():
    truth, found = made_up(20, seed=3)
    columns = scored(truth, list(map(without_boxes, found)))
    assert math.isnan(columns[2].ap["Car"]["3d"]["R40"][2])
    groups = by_distance(*columns) + by_occlusion(columns[0], columns[2])
    assert sum(group.objects for group in groups) > 0
    assert all(math.isnan(group.ap) for group in groups)
    assert what_was_missed(*columns) == []
    assert what_was_missed(*columns, "bbox")[0].hits > 0


def test_occlusions_add_up():
    truth, found = made_up(60, seed=4)
    columns = scored(truth, found)
    groups = by_occlusion(columns[0], columns[2])
    assert sum(g.objects for g in groups) == columns[2].objects["Car"][2]
    assert [g.name for g in groups] == ["visible", "partly occluded", "largely occluded"]


def test_empty_groups_have_no_ap():
    columns = scored([plain(["Car"])], [plain(["Car"])])
    groups = by_distance(*columns)
    assert [g.objects for g in groups] == [0, 1, 0, 0]
    assert math.isnan(groups[0].ap)
    assert groups[1].ap == pytest.approx(0.0)  # R40 leaves the first of 41 recalls out


@pytest.mark.parametrize("count", [1, 5, 41, 60])
def test_a_perfect_result_misses_nothing(count):
    """Of few objects the sampled recalls are not 0, 1/40, ..: the last one found counts, too."""
    truth = plain(["Car"] * count)
    truth.location[:, 0] = 10.0 * np.arange(count)
    found = replace(truth, score=np.linspace(0.9, 0.5, count))
    (one,) = what_was_missed(*scored([truth], [found]))
    assert (one.objects, one.hits) == (count, count)
    assert one.score == found.score[-1]


def test_each_reason_once():
    """Six cars: found, at a low score, badly placed, called otherwise, unseen, found twice."""
    truth = plain(["Car"] * 6 + ["DontCare"])
    truth.location[:, 0] = 10.0 * np.arange(7)
    truth.bbox[6] = (5000, 0, 5100, 60)
    rows = [0, 1, 2, 3, 5, 5, 0, 0]
    names = ["Car", "Car", "Car", "Pedestrian", "Car", "Car", "Car", "Car"]
    found = replace(shuffled(truth, rows), names=tuple(names), score=np.full(8, 0.9))
    found.score[1] = 0.1
    found.location[2, 2] += 6  # too far, in the right place of the image
    found.location[6, 0], found.bbox[6] = 200, (3000, 0, 3090, 50)  # nothing is there
    found.location[7, 0], found.bbox[7] = 300, (5010, 0, 5090, 50)  # in a DontCare rectangle
    columns = scored([truth], [found], ("Car", "Pedestrian"))
    # six objects: the sampled scores reach 0.9 only where the low one does not pay
    car = what_was_missed(*columns, level=1)[0]
    assert car.objects == 6
    expected = {"class": 1, "low score": 1, "localisation": 1, "unseen": 1}
    if car.score < 0.5:
        expected["low score"] = 0
    assert car.misses == expected
    assert car.hits + sum(car.misses.values()) == 6
    assert car.faults == {
        "duplicate": 1, "class": 0, "localisation": 1, "unlabelled": 1, "background": 1,
    }  # fmt: skip
    person = what_was_missed(*columns, level=1)[1]
    assert (person.objects, person.faults["class"]) == (0, 1)


def test_counts_add_up():
    truth, found = made_up(80, seed=1)
    columns = scored(truth, found, ("Car", "Pedestrian", "Cyclist"))
    for metric in ("bbox", "bev", "3d"):
        for one in what_was_missed(*columns, metric=metric):
            assert one.objects == columns[2].objects[one.kind][1]
            ignored = one.objects - one.hits - sum(one.misses.values())
            assert 0 <= ignored <= 0.1 * one.objects  # taken by a detection that does not count
            assert tuple(one.misses) == MISSES
            assert tuple(one.faults) == FAULTS


def test_nothing_found_and_nothing_there():
    columns = scored([plain(["Car"])], [plain([])])
    one = what_was_missed(*columns)[0]
    assert (one.hits, one.misses["unseen"], sum(one.faults.values())) == (0, 1, 0)
    columns = scored([], [])
    assert what_was_missed(*columns)[0].objects == 0
