# SPDX-License-Identifier: Apache-2.0
"""The step that is timed as the authors' is SLidR: same loss, same weights after it."""

import torch

from lidistill import compat
from lidistill.bench import slidr_step

compat.apply()
TEACHER = {"depth": 18, "base_channels": 8}


def test_authors_form_is_our_dense_form():
    batch = slidr_step.make_batch((64, 96), 2, 60)
    assert len(batch.pair_point) > 100
    theirs = slidr_step.authors_step(batch, TEACHER, slidr_step.DEMO)
    model = slidr_step.make_slidr(TEACHER, slidr_step.DEMO, upsample=4)
    ours = slidr_step._trained(model, lambda: model(batch, mode="loss")["loss_infonce"])
    for _ in range(2):  # the second step sees what the first one changed
        torch.testing.assert_close(ours(), theirs(), rtol=1e-3, atol=1e-3)


def test_cases_run_and_the_cache_changes_little():
    made = {case.name: case for case in slidr_step.cases("quick")}
    assert list(made) == [
        "slidr_step_defaults",
        "slidr_step_authors_teacher",
        "slidr_step_cache_on",
    ]
    for case in made.values():
        assert torch.isfinite(case.ours())
    cache = made["slidr_step_cache_on"]  # live: second step; cached: second step, first from disk
    torch.testing.assert_close(cache.ours(), cache.reference(), rtol=1e-2, atol=1e-2)
