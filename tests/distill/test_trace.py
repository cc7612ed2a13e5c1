# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch import nn

from lidistill.distill.trace import gradients_of_parts, without_trace


def draws() -> tuple:
    return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002


def look(model: nn.Module) -> None:
    with without_trace(model):
        model.train()
        model(torch.randn(5, 3))
        draws()
        assert model[1].running_mean.abs().sum() > 0
        raise KeyError


def test_random_states_buffers_and_modes_come_back():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout()).train()
    model[1].eval()  # a frozen norm inside a model in training
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    expected = draws()
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    random.setstate(states[2])
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with pytest.raises(KeyError):
        look(model)
    assert draws() == expected
    assert [module.training for module in model] == [True, False, True]
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name])


def test_gradients_go_through_reentrant_checkpoints():
    """mmdet's ``with_cp`` made the audit fail."""
    layer, x = nn.Linear(3, 3), torch.randn(2, 3, requires_grad=True)

    def losses():
        hidden = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=True)
        return hidden.square().mean(), hidden.abs().mean()

    expected = [torch.autograd.grad(f(layer(x)), layer.weight)[0] for f in (square, size)]
    with gradients_of_parts():
        for value, wanted in zip(losses(), expected, strict=True):
            found = torch.autograd.grad(value, layer.weight, retain_graph=True)[0]
            torch.testing.assert_close(found, wanted)
    with pytest.raises(RuntimeError, match="use_reentrant"):
        torch.autograd.grad(losses()[0], x)


def square(values):
    return values.square().mean()


def size(values):
    return values.abs().mean()
