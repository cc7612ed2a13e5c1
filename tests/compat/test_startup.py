# SPDX-License-Identifier: Apache-2.0
"""What is put off until somebody asks is there when somebody asks, and computes the same."""

from __future__ import annotations

import copy
import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lidistill import compat
from lidistill.compat.imports import import_without

compat.apply()

OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9},
    "AdamW": {"lr": 0.1},
    "Adam": {"lr": 0.1, "amsgrad": True},
    "RMSprop": {"lr": 0.1},
    "Adagrad": {"lr": 0.1},
}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_step_is_torchs_own(name):
    kind = getattr(torch.optim, name)
    torch.manual_seed(0)
    ours = nn.Linear(5, 3)
    theirs = copy.deepcopy(ours)
    first, second = (kind(m.parameters(), **OPTIMIZERS[name]) for m in (ours, theirs))
    plain = type(first).step
    while hasattr(plain, "__wrapped__") and plain.__code__.co_name != "_use_grad":
        plain = plain.__wrapped__
    assert plain.__code__.co_name == "_use_grad"  # torch's own, with its hints to the compiler
    x = torch.randn(4, 5)
    for _ in range(3):
        for model in (ours, theirs):
            model(x).square().sum().backward()
        first.step()
        plain(second)
        first.zero_grad()
        second.zero_grad()
        assert torch.is_grad_enabled()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    second.load_state_dict(first.state_dict())


def test_a_step_that_fails_leaves_gradients_on():
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def closure():
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        optimizer.step(closure)
    assert torch.is_grad_enabled()


def fresh(script):
    done = subprocess.run(
        [sys.executable, "-c", "from lidistill import compat; compat.apply()\n" + script],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_compiler_is_asked_as_soon_as_it_is_there():
    script = """
import json, sys, torch
weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.AdamW([weight], lr=0.1)
weight.grad = torch.ones(2)
optimizer.step()
found = ["torch._dynamo" in sys.modules]
model = torch.compile(torch.nn.Linear(2, 1), backend="eager")
model(torch.ones(1, 2)).sum().backward()
optimizer.add_param_group({"params": list(model.parameters())})
optimizer.step()
optimizer.zero_grad()
inner = torch.optim.Optimizer.add_param_group.__wrapped__
found += ["torch._dynamo" in sys.modules, "dynamo" in getattr(inner, "__dynamo_disable").__module__]
print(json.dumps(found))
"""
    assert fresh(script) == [False, True, True]


def test_adafactor_of_transformers_is_built_when_it_is_named():
    pytest.importorskip("transformers")
    script = """
import json, sys, torch
from mmengine.optim.optimizer import builder
from mmengine.registry import OPTIMIZERS
found = ["transformers" in sys.modules]
weight = torch.nn.Parameter(torch.ones(2))
made = OPTIMIZERS.build(dict(type="Adafactor", params=[weight]))
found += [type(made).__module__.split(".")[0], builder.TRANSFORMERS_OPTIMIZERS]
print(json.dumps(found))
"""
    assert fresh(script) == [False, "transformers", ["Adafactor"]]


def test_a_hidden_module_is_hidden_from_that_importer_alone(tmp_path, monkeypatch):
    (tmp_path / "toy_asks.py").write_text(
        "try:\n    import wave\nexcept ImportError:\n    wave = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    import_without("toy_asks", "wave")
    assert importlib.import_module("toy_asks").wave is None
    assert hasattr(importlib.import_module("wave"), "open")


def test_a_visualizer_draws_on_a_figure_made_late():
    from mmengine.visualization import Visualizer

    image = np.full((20, 30, 3), 200, dtype=np.uint8)
    late, early = Visualizer(), Visualizer(image=image)
    assert "fig_save" not in vars(late)
    late.set_image(image)
    for one in (late, early):
        one.draw_bboxes(torch.tensor([[2.0, 2.0, 12.0, 9.0]]))
    assert late.dpi == early.dpi
    assert np.array_equal(late.get_image(), early.get_image())
    assert (late.get_image() != 200).any()
    with pytest.raises(AttributeError, match="no attribute 'fig_other'"):
        late.fig_other  # noqa: B018


def test_bridges_are_in_place_before_mmengine_whoever_imports_it_first():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import lidistill, sys\n"
            "light = 'torch' not in sys.modules\n"
            "import lidistill.hooks\n"
            "from mmengine.runner import Runner\n"
            "heavy = ('transformers', 'torch.distributed.fsdp')\n"
            "print([light, *(name in sys.modules for name in heavy)])",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "[True, False, False]", done.stderr[-2000:]
