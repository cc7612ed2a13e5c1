# SPDX-License-Identifier: Apache-2.0
"""Reading curves: where they bend, their best point, who is ahead of it."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidistill.evidence.curves import bent, best_of, gain, points_of, refusal, verdicts
from lidistill.evidence.record import MORE_STEPS, Evidence, EvidenceRow


def point(steps: float, values: list[float], curve: str = "student", twin: str | None = None):
    name = curve if steps == 1 else f"{curve}, {steps:g}x steps"
    seeds = list(range(len(values)))
    return EvidenceRow(
        name, twin, "AP", values, seeds, 9, "c", 1.0, curve=curve, steps=steps, config_hash="x"
    )


@given(
    before=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    after=st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_a_curve_bends_where_a_doubling_adds_less_than_the_spread(before, after):
    spread = ((statistics.variance(before) + statistics.variance(after)) / 2) ** 0.5
    added = statistics.fmean(after) - statistics.fmean(before)
    found = bent([point(1, before), point(2, after)])
    risen = statistics.fmean(after) - spread
    if abs(added - spread) > 1e-9 and abs(risen) > 1e-9:
        assert found == (added < spread and risen > 0)


def test_a_curve_on_the_ground_has_no_plateau():
    ground, sprout = [0.0, 0.0, 0.0], [0.0, 1.9, 0.3]
    assert not bent([point(1, ground), point(2, ground)])
    assert not bent([point(1, ground), point(2, sprout)])
    assert bent([point(2, [50.0, 51.0, 52.0]), point(4, [50.5, 51.0, 52.0])])


def test_one_point_or_one_seed_does_not_bend():
    assert not bent([point(1, [0.1, 0.2])])
    assert not bent([point(1, [0.5]), point(2, [0.4])])


def test_points_in_order_and_the_best_of_them():
    rows = [point(4, [0.3, 0.5]), point(1, [0.1, 0.1]), point(2, [0.4, 0.4]), point(1, [1.0], "x")]
    points = points_of(rows, "student")
    assert [row.steps for row in points] == [1, 2, 4]
    assert best_of(points).steps == 2  # as good as the one after it, for half of the steps


@pytest.mark.parametrize(
    ("teacher", "ahead"), [([0.5, 0.52, 0.54], True), ([0.39, 0.41, 0.43], False), ([0.9], True)]
)
def test_a_teacher_must_be_ahead_by_more_than_the_spread(teacher, ahead):
    points = [point(1, [0.1, 0.1, 0.1]), point(2, [0.38, 0.40, 0.42])]
    row = EvidenceRow("big", None, "AP", teacher, list(range(len(teacher))), 9, "c", 1.0)
    assert (refusal(row, points) == "") == ahead


def test_a_gain_is_above_the_best_point_in_every_seed():
    twin = [point(1, [0.1, 0.2, 0.3]), point(2, [0.2, 0.3, 0.4])]
    better = [point(1, [0.25, 0.36, 0.44], "taught")]
    text = gain("taught", better, "student", twin)
    assert "a gain of +0.050 ± 0.010 above the best point of the twin's curve" in text
    mixed = [point(1, [0.19, 0.36, 0.44], "taught")]
    assert "not beyond the spread, so no gain" in gain("taught", mixed, "student", twin)
    equal = [point(1, [0.2, 0.3, 0.4], "taught")]
    assert gain("taught", equal, "student", twin).endswith("+0.000 ± 0.000, no gain.")


def test_a_gain_is_above_a_student_that_trained_on_where_its_curve_ended():
    """A curve may bend by chance where its spread is large."""
    twin = [point(1, [0.1, 0.2, 0.3]), point(2, [0.2, 0.3, 0.4])]
    better = point(1, [0.25, 0.36, 0.44], "taught", twin="student")
    longer = EvidenceRow("for long", None, "AP", [0.3, 0.32, 0.46], [0, 1, 2], 9, "c", 1.0)
    longer.note = MORE_STEPS
    found = verdicts(Evidence("m", "d", "c", "h", "c", [*twin, better, longer]))[1]
    assert "(2x), for long 0.360 ± 0.087: -0.010 ± 0.046, no gain." in found
    longer.values = [0.2, 0.31, 0.41]
    found = verdicts(Evidence("m", "d", "c", "h", "c", [*twin, better, longer]))[1]
    assert found.endswith("a gain of +0.043 ± 0.012 above 'for long'.")
    longer.values = [0.0, 0.0, 0.0]
    found = verdicts(Evidence("m", "d", "c", "h", "c", [*twin, better, longer]))[1]
    assert found.endswith("a gain of +0.050 ± 0.010 above the best point of the twin's curve.")


def test_verdicts_name_the_cap_and_the_refusal():
    rows = [point(1, [0.1, 0.11]), point(2, [0.3, 0.31])]
    evidence = Evidence("m", "d", "c", "h", "c", rows, caps={"student": 2}, refused="it is weak")
    first, second = verdicts(evidence)
    assert first.endswith("it still rose at its cap of 2x, so its plateau is not known.")
    assert second == "Refused: it is weak. Such a table says nothing about teaching."
    evidence.caps["student"] = 8
    assert verdicts(evidence)[0].endswith("it ends at 2x, before its cap of 8x.")
