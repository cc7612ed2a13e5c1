# SPDX-License-Identifier: Apache-2.0
"""How far a training is, where nobody sees a bar."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lidistill import progress
from lidistill.hooks import ProgressBarHook


@pytest.mark.parametrize("quiet", [True, False])
def test_a_quiet_training_says_now_and_then_where_it_is(
    quiet: bool, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    hook = ProgressBarHook()
    hook.lines = quiet
    runner = SimpleNamespace(work_dir="work_dirs/one", max_iters=10, iter=2)  # goes on after 2
    hook.before_train(runner)
    for runner.iter in range(2, 10):
        now[0] += 10.0
        hook.after_train_iter(runner, 0, outputs={"loss": 1.0})
    hook.after_train(runner)
    said = capsys.readouterr().err.splitlines()
    if quiet:
        assert said == [
            "Training work_dirs/one: 5 of 10, about 50 s left",
            "Training work_dirs/one: 8 of 10, about 20 s left",
        ]
    else:
        assert said == []  # mmengine's own lines tell
