# SPDX-License-Identifier: Apache-2.0
"""Pillar layers on points alone, against mmdet3d's own on all slots."""

from __future__ import annotations

import copy

import pytest
import torch

from lidistill import compat

compat.apply()
pytest.importorskip("mmdet3d")
from mmdet3d.models.voxel_encoders import PillarFeatureNet  # noqa: E402
from mmdet3d.models.voxel_encoders import utils as module  # noqa: E402

SLOTS = 8


def network(widths=(16,), **options):
    torch.manual_seed(0)
    net = PillarFeatureNet(feat_channels=widths, voxel_size=(0.5, 0.5, 4.0), **options)
    for layer in net.pfn_layers:
        torch.nn.init.normal_(layer.norm.weight, 1.0, 0.5)
        torch.nn.init.normal_(layer.norm.bias, 0.0, 0.5)
    return net


def pillars(seed, count=60, double=True):
    made = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, SLOTS + 1, (count,), generator=made)
    counts[0], counts[1] = 1, SLOTS
    points = torch.randn(count, SLOTS, 4, generator=made)
    points[torch.arange(SLOTS) >= counts[:, None]] = 0
    coords = torch.randint(0, 50, (count, 4), generator=made)
    return points.double() if double else points, counts, coords


def run(net, batch, own, monkeypatch):
    points, counts, coords = batch
    layer = module.PFNLayer
    with monkeypatch.context() as patch:
        if not own:
            patch.setattr(layer, "forward", layer.forward.__wrapped__)
        out = net(points.clone(), counts, coords)
    net.zero_grad()
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    return [out, *(p.grad for p in net.parameters()), *net.buffers()]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_values_gradients_and_running_statistics(training, legacy, seed, monkeypatch):
    net = network(legacy=legacy).double().train(training)
    other = copy.deepcopy(net)
    ours = run(net, pillars(seed), True, monkeypatch)
    theirs = run(other, pillars(seed), False, monkeypatch)
    assert net.pfn_layers[0]._zero_padded
    assert len(ours) == len(theirs) == 1 + 3 + 3
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_single_precision(monkeypatch):
    net = network()
    other = copy.deepcopy(net)
    batch = pillars(0, 500, double=False)
    for a, b in zip(
        run(net, batch, True, monkeypatch), run(other, batch, False, monkeypatch), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("case", ["two layers", "average", "autocast", "no pillars"])
def test_everything_else_is_mmdet3ds_own(case, monkeypatch):
    net = network(widths=(16, 16)) if case == "two layers" else network()
    if case == "average":
        net = network(mode="avg")
    batch = pillars(0, double=False)
    if case == "no pillars":
        net.eval()
        batch = tuple(part[:0] for part in batch)

    def refuse(*_):
        raise AssertionError("taken")

    monkeypatch.setattr("lidistill.compat.pillars._highest", refuse)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        assert len(net(*batch)) == len(batch[0])
