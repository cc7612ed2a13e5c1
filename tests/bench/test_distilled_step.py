# SPDX-License-Identifier: Apache-2.0
"""The bench of a distilled step measures what it says."""

from __future__ import annotations

import pytest
import torch

from lidistill.bench import distilled_step

STEP = "distilled_step, SECOND, maps"
CACHED = "distilled_step, SECOND, teacher's boxes cached"
TEACHER = "teacher, SECOND, maps"


@pytest.fixture(scope="module")
def cases():
    return {case.name: case for case in distilled_step.cases("quick")}


def test_cases(cases):
    assert list(cases) == [STEP, TEACHER, CACHED]
    assert "reference: student alone" in cases[STEP].size


def test_steps_train_the_student(cases):
    alone, whole = cases[STEP].reference(), cases[STEP].ours()
    assert {"loss_stage1", "loss_stage2"} <= whole.keys() - alone.keys()
    losses = [float(cases[STEP].ours()["loss"]) for _ in range(5)]
    assert losses[-1] < losses[0]


def test_cached_boxes_are_the_teachers(cases):
    live, cached = cases[CACHED].reference(), cases[CACHED].ours()
    assert live.keys() == cached.keys()
    for name, value in live.items():
        torch.testing.assert_close(cached[name], value, msg=name)


def test_a_stopped_teacher_has_no_head(cases):
    assert hasattr(cases[TEACHER].reference(), "head")
    assert not hasattr(cases[TEACHER].ours(), "head")
