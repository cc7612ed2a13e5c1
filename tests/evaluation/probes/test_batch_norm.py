# SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch
from torch import nn

from lidistill.evaluation.probes.batch_norm import calibrate_batch_norm


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 6),
        nn.BatchNorm1d(6, momentum=0.05),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(6, 4),
        nn.BatchNorm1d(4),
    )


def batches(count=4):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(50, 3, generator=generator) * 3 + 1 for _ in range(count)]


def naive_statistics(model, data):
    """Mean over batches of each batch's mean and unbiased variance, layer after layer."""
    first, second = [], []
    for x in data:
        h = model[0](x)
        first.append((h.mean(0), h.var(0)))
        h = (h - h.mean(0)) / (h.var(0, unbiased=False) + model[1].eps).sqrt()
        h = model[4](torch.relu(h * model[1].weight + model[1].bias))
        second.append((h.mean(0), h.var(0)))
    return [
        tuple(sum(part[i] for part in parts) / len(parts) for i in range(2))
        for parts in (first, second)
    ]


def test_equals_naive_statistics_and_touches_nothing_else():
    model = network().eval()
    model[1].running_mean.fill_(9.0)
    before = copy.deepcopy(model)
    assert calibrate_batch_norm(model, batches()) == 2
    for layer, (mean, var) in zip(
        (model[1], model[5]), naive_statistics(model, batches()), strict=True
    ):
        torch.testing.assert_close(layer.running_mean, mean)
        torch.testing.assert_close(layer.running_var, var)
        assert int(layer.num_batches_tracked) == 4
    for (name, a), (_, b) in zip(model.named_parameters(), before.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    assert (model[1].momentum, model[5].momentum) == (0.05, 0.1)
    assert not any(module.training for module in model.modules())


def test_modes_come_back():
    model = network().train()
    model[3].eval()
    calibrate_batch_norm(model, batches())
    assert [m.training for m in model] == [True, True, True, False, True, True]


def test_own_forward_and_no_batch_norm():
    model = network()
    seen = []
    calibrate_batch_norm(model, batches(2), lambda m, b: seen.append(m(b).requires_grad))
    assert seen == [False, False]
    assert calibrate_batch_norm(nn.Linear(3, 3), iter([])) == 0


def test_failure_leaves_the_model_as_it_was():
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="no batches to calibrate"):
        calibrate_batch_norm(model, [])
    with pytest.raises(RuntimeError):
        calibrate_batch_norm(model, [batches()[0], torch.zeros(5, 7)])
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert model[1].momentum == 0.05
    assert model.training
