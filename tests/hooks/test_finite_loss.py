# SPDX-License-Identifier: Apache-2.0
"""A loss that is no number: stopped before the step, named, and nothing of it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData

from lidistill.hooks import FiniteLossHook
from lidistill.hooks.batch_words import first_not_finite, sample_names
from lidistill.hooks.finite_loss import broken_weights
from tests.ranks import run_ranks

NAN, INF = float("nan"), float("inf")


class Line(BaseModel):
    """One weight; the loss is weight * input, and the norm's statistics see the input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.norm = torch.nn.BatchNorm1d(1)
        self.register_buffer("mask", torch.tensor(-INF))

    def forward(self, inputs, data_samples=None, mode="tensor"):
        value = self.weight * torch.stack(inputs["points"]).sum()
        return {"loss_a": value, "loss_b": [torch.ones(())], "raw_a": value.detach() * NAN}


class Training:
    """The runner's part of a training, one call of :meth:`step` an iteration."""

    def __init__(self, accumulate: int = 1) -> None:
        self.model = Line()
        self.optim_wrapper = OptimWrapper(
            torch.optim.SGD(self.model.parameters(), lr=0.1), accumulative_counts=accumulate
        )
        self.optim_wrapper.initialize_count_status(self.model, 0, 100)
        self.hook, self.iter, self.work_dir = FiniteLossHook(), 0, "work"
        self.hook.before_train(self)

    def step(self, batch):
        self.hook.before_train_iter(self, self.iter, data_batch=batch)
        outputs = self.model.train_step(batch, self.optim_wrapper)
        self.hook.after_train_iter(self, self.iter, data_batch=batch, outputs=outputs)
        self.iter += 1


def batch_of(*values):
    samples = [SimpleNamespace(metainfo={"sample_idx": f"{n:06}"}) for n in range(len(values))]
    points = [torch.tensor([[1.0, value]]) for value in values]
    return {"inputs": {"points": points}, "data_samples": samples}


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_first_bad_loss_ends_the_training_before_the_step(bad, before, accumulate):
    training = Training(accumulate)
    for _ in range(before):
        training.step(batch_of(1.0, 2.0))
    kept = training.model.weight.detach().clone()
    with pytest.raises(ValueError, match=r"loss_a not finite; stopped before") as caught:
        training.step(batch_of(1.0, bad))
    said = str(caught.value)
    assert f"iteration {before + 1}:" in said
    assert "000000, 000001" in said
    assert f"inputs.points[1][0, 1] is {bad} (sample 000001)" in said
    assert torch.equal(training.model.weight, kept)


def test_every_part_of_a_list_of_losses_counts(monkeypatch):
    """One loss a level, as heads give them: the last one hid the others."""
    plain = Line.forward

    def levels(self, *args, **kwargs):
        found = plain(self, *args, **kwargs)
        return {"loss_b": [found["loss_a"], *found["loss_b"]]}

    monkeypatch.setattr(Line, "forward", levels)
    training = Training()
    training.step(batch_of(1.0))
    kept = training.model.weight.item()
    with pytest.raises(ValueError, match="loss_b not finite; stopped before"):
        training.step(batch_of(NAN))
    assert training.model.weight.item() == kept


def test_finite_inputs_and_broken_weights_are_told_apart():
    training = Training()
    with pytest.raises(ValueError, match=r"inputs \(points, images, boxes\) are finite: lower"):
        training.step(batch_of(3e38, 3e38))
    training = Training()
    training.model.weight.data.fill_(NAN)
    with pytest.raises(ValueError, match=r"1 tensors of the model are not \(weight\)"):
        training.step(batch_of(1.0, 2.0))


def test_no_checkpoint_of_broken_weights():
    training = Training()
    state = training.model.state_dict()
    training.hook.before_save_checkpoint(training, {"state_dict": state})  # -inf is a mask's
    training.model.weight.data.fill_(NAN)
    training.model.norm.running_var.fill_(INF)
    assert broken_weights(training.model, state) == ["weight", "norm.running_var"]
    with pytest.raises(ValueError, match=r"no checkpoint was written.*weight, norm.running_var"):
        training.hook.before_save_checkpoint(training, {"state_dict": state})


class Scaled(OptimWrapper):
    """As a GradScaler on an overflow: gradients are infinite, the step is skipped."""

    def backward(self, loss, **kwargs):
        super().backward(loss, **kwargs)
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.fill_(INF)

    def step(self, **kwargs):
        pass


def test_an_overflow_that_the_scaler_skips_is_no_error():
    training = Training()
    training.optim_wrapper = Scaled(torch.optim.SGD(training.model.parameters(), lr=0.1))
    training.optim_wrapper.initialize_count_status(training.model, 0, 100)
    training.step(batch_of(1.0, 2.0))
    assert training.iter == 1
    with pytest.raises(ValueError, match="not finite"):
        training.step(batch_of(NAN, 2.0))


def one_rank_breaks():
    training = Training()
    good, bad = batch_of(1.0, 2.0), batch_of(1.0, NAN)
    training.step(good)
    try:
        training.step(bad if torch.distributed.get_rank() == 1 else good)
    except ValueError as error:
        return str(error)
    return "went on"


def test_all_ranks_stop(tmp_path):
    other, broken = run_ranks(one_rank_breaks, tmp_path)
    assert "iteration 2: stopped, because the loss of rank 1 is not finite" in other
    assert "loss_a not finite" in broken


class Boxes(list):
    """As mmdet3d's: a sequence around a tensor."""

    @property
    def tensor(self):
        return torch.tensor([list(self)])


@dataclass
class Cloud:
    points: torch.Tensor
    tokens: list


def test_batches_of_every_kind():
    cloud = Cloud(torch.tensor([[0.0, 1.0], [2.0, NAN]]), ["a"])
    assert sample_names({"inputs": cloud}) == ["a"]
    assert first_not_finite({"inputs": cloud}) == "inputs.points[1, 1] is nan"
    boxes = InstanceData(bboxes_3d=Boxes([INF]))
    batch = {
        "inputs": {"img": [torch.zeros(3)]},
        "data_samples": [InstanceData(gt=torch.ones(1)), boxes],
    }
    assert sample_names(batch) == ["number 0", "number 1"]
    assert first_not_finite(batch) == ("data_samples[1].bboxes_3d[0, 0] is inf (sample number 1)")
    assert first_not_finite({"inputs": torch.ones(2), "labels": torch.tensor([1])}) is None
    assert first_not_finite(torch.tensor(NAN)) == " is nan"
