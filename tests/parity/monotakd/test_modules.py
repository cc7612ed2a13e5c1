# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD's modules against the authors' own, with their weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill.models.bev_blocks.alignment import FeatureFusion, SpatialAlignment
from lidistill.models.bev_blocks.collapse import HeightCollapse
from lidistill.models.bev_blocks.self_calibrated import SelfCalibratedBlock
from tests.conftest import parity_files

MODULES = {
    "bev_collapse": lambda x: HeightCollapse(x.shape[1] * x.shape[2], 128),
    "sam": lambda x: SpatialAlignment(x.shape[1]),
    "ffm": lambda x: FeatureFusion(x.shape[1]),
    "scnet_block": lambda x: SelfCalibratedBlock(x.shape[1]),
}


def loaded(data, make):
    """The module with the fixture's parameters; running statistics are mean 0 and variance 1."""
    module = make(data["x"])
    known = dict(module.named_parameters())
    for key in data:
        if key.startswith("q/"):
            scale, offset = data[f"so/{key[2:]}"]
            value = torch.from_numpy(data[key].astype(np.float32)) * float(scale) + float(offset)
            known.pop(key[2:]).data.copy_(value)
    assert not known
    return module


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    "path",
    [p for name in MODULES for p in parity_files("monotakd", f"{name}*.npz")],
)
def test_module(path, mode):
    data = np.load(path)
    name = next(name for name in MODULES if path.stem.startswith(name))
    module = loaded(data, MODULES[name]).train(mode == "train")
    maps = torch.from_numpy(data["x"]).requires_grad_()
    out = module(maps)
    (gradient,) = torch.autograd.grad((out * torch.from_numpy(data["cot"])).sum(), maps)
    for found, wanted in ((out.detach(), f"out_{mode}"), (gradient, f"grad_{mode}")):
        expected = data[wanted]
        close = np.isclose(found.numpy(), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
        assert close.mean() >= (0.999 if name == "sam" else 1.0), wanted
