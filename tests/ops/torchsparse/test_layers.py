# SPDX-License-Identifier: Apache-2.0
"""Tensors, norms and activations."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lidistill.ops.torchsparse as own
from lidistill.ops.torchsparse import PointTensor, SparseTensor, cat
from lidistill.ops.torchsparse.nn import BatchNorm, GroupNorm, LeakyReLU, ReLU
from lidistill.ops.torchsparse.nn.utils import fapply
from tests.ops.torchsparse.cases import random_tensor


@pytest.mark.parametrize(
    ("layer", "plain"),
    [
        (BatchNorm(6), nn.BatchNorm1d(6)),
        (ReLU(inplace=False), nn.ReLU()),
        (LeakyReLU(0.2), nn.LeakyReLU(0.2)),
    ],
    ids=["batch norm", "relu", "leaky relu"],
)
def test_layers_work_on_the_features(layer, plain) -> None:
    x = random_tensor(0, 6)
    out = layer.double()(x)
    assert torch.equal(out.feats, plain.double()(x.feats))
    assert (out.coords, out.stride) == (x.coords, x.stride)
    assert out.cmaps is x.cmaps
    assert out.kmaps is x.kmaps


def test_group_norm_sees_each_sample_alone() -> None:
    x = random_tensor(1, 6)
    layer = GroupNorm(2, 6).double()
    nn.init.normal_(layer.weight)
    out = layer(x)
    wanted = torch.zeros_like(x.feats)
    for sample in range(3):
        rows = x.coords[:, 3] == sample
        parts = x.feats[rows].T.reshape(2, -1)
        normed = F.layer_norm(parts, parts.shape[1:]).reshape(6, -1).T
        wanted[rows] = normed * layer.weight + layer.bias
    torch.testing.assert_close(out.feats, wanted, rtol=1e-12, atol=1e-12)
    shares = torch.randn_like(wanted)
    got, expected = (
        torch.autograd.grad((each * shares).sum(), [x.feats, layer.weight])
        for each in (out.feats, wanted)
    )
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layer", [BatchNorm(3), GroupNorm(1, 3), ReLU(), LeakyReLU()])
def test_no_voxels_pass_and_leave_statistics_alone(layer) -> None:
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    x = SparseTensor(torch.zeros(0, 3), torch.zeros((0, 4), dtype=torch.int32))
    assert layer(x).feats.shape == (0, 3)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_tensors_are_added_joined_and_renamed() -> None:
    x = random_tensor(2, 3, 2)
    x.cmaps[x.s] = x.C
    both = cat((x, fapply(x, torch.neg)))
    assert torch.equal(both.F, torch.cat([x.F, -x.F], 1))
    assert torch.equal((x + both.__class__(x.F, x.C, 2)).F, 2 * x.F)
    assert both.cmaps is x.cmaps
    both.F, both.C, both.s = x.F, x.C + 1, 4
    assert (both.feats, both.stride) == (x.feats, (4, 4, 4))
    assert x.to("cpu") is x
    assert not x.detach().F.requires_grad


def test_points_carry_what_was_looked_up() -> None:
    points = PointTensor(torch.ones(2, 3), torch.zeros(2, 4))
    points.idx_query[(1, 1, 1)] = torch.zeros(2, 8)
    points.additional_features["counts"][1] = torch.ones(2)
    total = points.to("cpu").detach() + points
    assert torch.equal(total.F, torch.full((2, 3), 2.0))
    assert total.idx_query is points.idx_query
    assert total.weights is points.weights
    assert total.additional_features is points.additional_features


def test_errors_say_what_to_do() -> None:
    x = random_tensor(0, 3)
    fewer = SparseTensor(x.feats[1:], x.coords[1:])
    with pytest.raises(ValueError, match=r"coordinates \(V, 4\) as \(x, y, z, batch\)"):
        SparseTensor(x.feats, x.coords[:, :3])
    with pytest.raises(ValueError, match="same voxels"):
        cat((x, fewer))
    with pytest.raises(ValueError, match=r"same voxels, got .* of stride \(1, 1, 1\)"):
        x + fewer
    for module in (own, own.nn, own.nn.functional):
        with pytest.raises(AttributeError, match=r"lidistill's own .* not installed"):
            module.GlobalAvgPool  # noqa: B018
