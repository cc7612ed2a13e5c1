# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds against loops over places and kernel offsets."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from lidistill import compat
from lidistill.distill.cost import counted, median_time, parameters, sparse_pairs


def total(model: nn.Module, *inputs) -> int:
    with counted(model) as costs:
        model(*inputs)
    return sum(costs.values())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), (2, 3, 7, 6)),
        (nn.Conv2d(4, 6, 1, groups=2), (1, 4, 5, 5)),
        (nn.ConvTranspose2d(3, 5, 2, stride=2), (2, 3, 4, 3)),
        (nn.Conv1d(3, 2, 3), (1, 3, 9)),
        (nn.Linear(3, 7), (4, 2, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_dense_layers_by_ones(layer, shape):
    """With weights and inputs of one and no border, each multiply-add adds one to the output."""
    if getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.bias)
    nn.init.ones_(layer.weight)
    inputs = torch.ones(shape)
    border = getattr(layer, "padding", (0,))
    found = total(layer, inputs)
    if any(border):  # what is padded counts as well: convolutions do multiply it
        inputs = nn.functional.pad(inputs, (1, 1, 1, 1), value=1.0)
        layer.padding = (0, 0)
    assert found == int(layer(inputs).sum())


def voxels(shape=(4, 6, 5), batch=2) -> torch.Tensor:
    made = torch.Generator().manual_seed(0)
    full = torch.rand(batch, *shape, generator=made) < 0.3
    return full.nonzero().int()


@pytest.mark.parametrize("kind", ["subm", "strided", "thin"])
def test_sparse_layers_by_loops(kind):
    compat.apply()
    import spconv.pytorch as spconv

    layer = {
        "subm": spconv.SubMConv3d(2, 3, 3, padding=1, indice_key="a"),
        "strided": spconv.SparseConv3d(2, 3, 3, stride=2, padding=1),
        "thin": spconv.SparseConv3d(2, 3, (3, 1, 1), stride=(2, 1, 1), padding=0),
    }[kind]
    coords = voxels()
    x = spconv.SparseConvTensor(torch.rand(len(coords), 2), coords, [4, 6, 5], 2)
    out = layer(x)
    known = {tuple(row) for row in coords.tolist()}
    stride = (1, 1, 1) if kind == "subm" else layer.stride
    pairs = 0
    for batch, *cell in out.indices.tolist():
        for offset in itertools.product(*(range(n) for n in layer.kernel_size)):
            axes = zip(cell, stride, layer.padding, offset, strict=True)
            at = [c * s - p + k for c, s, p, k in axes]
            pairs += (batch, *at) in known
    assert total(layer, x) == pairs * 2 * 3
    assert pairs > len(coords) / 2


@pytest.mark.parametrize("kind", ["inverse", "inverse_thin", "transposed", "pointwise"])
def test_sparse_layers_that_run_the_other_way(kind):
    """By ones, through the layer itself; and the inverse has its strided layer's pairs."""
    compat.apply()
    import spconv.pytorch as spconv

    sizes = {"inverse": (3, 2, 1), "inverse_thin": ((3, 1, 2), (2, 1, 2), 0)}
    key = "down" if "inverse" in kind else None
    size, stride, padding = sizes.get(kind, (3, 2, 1))
    down = spconv.SparseConv3d(
        2, 3, size, stride=stride, padding=padding, bias=False, indice_key=key
    )
    up = {
        "transposed": spconv.SparseConvTranspose3d(3, 4, 3, stride=2, padding=1, bias=False),
        "pointwise": spconv.SparseConv3d(3, 4, 1, bias=False),
    }.get(kind) or spconv.SparseInverseConv3d(3, 4, size, bias=False, indice_key=key)
    coords = voxels(shape=(6, 7, 9))
    with torch.no_grad():
        start = spconv.SparseConvTensor(torch.rand(len(coords), 2), coords, [6, 7, 9], 2)
        x = down(start)
        up.weight.fill_(1.0)
        ones = x.replace_feature(torch.ones(len(x.indices), 3))
        found = total(up, ones)
        assert found == int(up(ones).features.sum())
        assert found > 3 * 4 * len(x.indices) / 2
        if key is not None:
            there = total(down, start)
            assert found / (3 * 4) == there / (2 * 3)


def test_an_inverse_without_its_strided_layer_is_an_error():
    compat.apply()
    import spconv.pytorch as spconv

    coords = voxels()
    x = spconv.SparseConvTensor(torch.rand(len(coords), 2), coords, [4, 6, 5], 2)
    layer = spconv.SparseInverseConv3d(2, 3, 3, indice_key="down")
    with pytest.raises(ValueError, match=r"strided layer with its indice_key 'down'; known: \[\]"):
        sparse_pairs(layer, x, x)


def test_modules_are_named_and_hooks_removed():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with counted(model) as costs:
        model(torch.rand(4, 2))
        model(torch.rand(1, 2))
    assert costs == {"0": 30, "2": 15}
    assert not any(module._forward_hooks for module in model.modules())
    assert parameters(model) == 13
    calls: list[int] = []
    assert median_time(lambda: calls.append(1), repeats=3) >= 0
    assert len(calls) == 4
