# SPDX-License-Identifier: Apache-2.0
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from lidistill.distill.audit import AuditError
from lidistill.hooks import AuditHook, ScheduleHook
from lidistill.hooks.audit import PATIENCE
from tests.distill.toys import ToyMethod, toy_batch
from tests.ranks import run_ranks


class Sometimes(ToyMethod):
    """A term that has nothing to compare in small batches."""

    def distill_losses(self, student, teachers, batch):
        terms = super().distill_losses(student, teachers, batch)
        return {"mse": terms["mse"] * float(len(batch.rows) > 4)}


def train(hook, model, batches):
    """What the hook logs before these batches."""
    said = []
    runner = SimpleNamespace(
        model=model,
        iter=0,
        optim_wrapper=SimpleNamespace(optim_context=lambda _model: nullcontext()),
        logger=SimpleNamespace(info=said.append, warning=said.append),
    )
    for batch in batches:
        hook.before_train_iter(runner, runner.iter, {"inputs": batch})
        runner.iter += 1
    return said


def test_the_audit_waits_for_a_batch_with_something_to_compare():
    few, many = toy_batch(2), toy_batch(8)
    said = train(AuditHook(), Sometimes().train(), [few, few, many, many, few])
    assert len(said) == 3
    assert "batch 2 of 20" in said[1]
    assert said[2].startswith("audit of the first batch")
    with pytest.raises(AuditError, match="no gradient"):
        train(AuditHook(), Sometimes().train(), [few] * PATIENCE)
    with pytest.raises(AuditError, match="'dead' gives"):
        train(AuditHook(), ToyMethod(dead=True).train(), [many])


def one_rank_has_nothing():
    """Words that an audit logs where rank 0's first batch has nothing, and how often it looks."""
    few, many = toy_batch(2), toy_batch(8)
    first = few if torch.distributed.get_rank() == 0 else many
    hook = AuditHook()
    said = train(hook, Sometimes().train(), [first, many, many])
    return len(said), hook._looked


def test_all_ranks_look_at_as_many_batches(tmp_path):
    """Rank 0 audited its second batch alone, and its sums over ranks met those of a training."""
    alone, other = run_ranks(one_rank_has_nothing, tmp_path)
    assert (alone, other) == ((0, 1), (1, 1))


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
