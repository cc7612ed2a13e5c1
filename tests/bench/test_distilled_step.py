# SPDX-License-Identifier: Apache-2.0
"""The bench of a distilled step measures what it says."""

from __future__ import annotations

import pytest

from lidistill import compat
from lidistill.bench import distilled_step

compat.apply()
from mmdet3d.models.dense_heads import Anchor3DHead  # noqa: E402

STEP = "distilled_step, SECOND, maps"
CACHED = "distilled_step, SECOND, teacher's boxes cached"
TEACHER = "teacher, SECOND, maps"
ACROSS = "distilled_step, UniDistill, cameras to LiDAR"


@pytest.fixture(scope="module")
def cases():
    return {case.name: case for case in distilled_step.cases("quick")}


def test_cases(cases):
    assert list(cases) == [STEP, TEACHER, CACHED, ACROSS]
    assert "reference: student alone" in cases[STEP].size


def test_steps_train_the_student(cases):
    alone, whole = cases[STEP].reference(), cases[STEP].ours()
    assert {"loss_stage1", "loss_stage2"} <= whole.keys() - alone.keys()
    losses = [float(cases[STEP].ours()["loss"]) for _ in range(5)]
    assert losses[-1] < losses[0]


def test_a_step_across_sensors_has_unidistills_terms(cases):
    alone, whole = cases[ACROSS].reference(), cases[ACROSS].ours()
    assert {"loss_feature", "loss_relation", "loss_response"} <= whole.keys() - alone.keys()


def test_teachers_stop_early_and_cached_ones_do_not_run(cases, monkeypatch):
    calls = []
    forward = Anchor3DHead.forward

    def counted(self, *arguments):
        calls.append(self)
        return forward(self, *arguments)

    monkeypatch.setattr(Anchor3DHead, "forward", counted)
    for case, heads in ((TEACHER, (1, 0)), (STEP, (1, 1)), (CACHED, (2, 1))):
        for work, expected in zip((cases[case].reference, cases[case].ours), heads, strict=True):
            calls.clear()
            work()
            assert len(calls) == expected, case
