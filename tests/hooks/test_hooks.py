# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest

from lidistill.hooks import AuditHook, ScheduleHook
from tests.distill.toys import ToyMethod


def test_schedule_hook_sets_progress():
    model = ToyMethod()
    ScheduleHook().before_train_iter(SimpleNamespace(model=model, iter=5, max_iters=20), 5)
    assert model.progress == 0.25


def test_checkpoint_with_a_foreign_tensor_is_refused():
    model = ToyMethod()
    runner = SimpleNamespace(model=model)
    AuditHook().before_save_checkpoint(runner, {"state_dict": model.state_dict()})
    with pytest.raises(ValueError, match=r"this one has \['teacher.w'\]"):
        AuditHook().before_save_checkpoint(runner, {"state_dict": {"teacher.w": 0}})
