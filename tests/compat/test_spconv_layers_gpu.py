# SPDX-License-Identifier: Apache-2.0
"""Sparse convolutions on a CUDA device, which are spconv's own, against ours on the CPU."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lidistill import compat
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.backbones.voxelnet import VoxelNet
from tests.on_gpu import DEVICE, MARKS, exact_float32, weights_like  # noqa: F401

compat.apply()
spconv = pytest.importorskip("spconv.pytorch")
pytestmark = MARKS
SHAPE = (40, 24, 24)  # z y x; VoxelNet needs 40 along z


def voxels(channels: int, count: int = 5000) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and coordinates of two samples, in mixed order."""
    random = torch.Generator().manual_seed(0)
    cells = torch.randperm(2 * 40 * 24 * 24, generator=random)[:count]
    columns = [cells // 23040, cells // 576 % 40, cells // 24 % 24, cells % 24]
    features = torch.randn(count, channels, generator=random)
    return features, torch.stack(columns, 1).int()


def loud(layers: nn.Module) -> nn.Module:
    """Weights so large that outputs stay of order 1: spconv's own start is small for half."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in layers.parameters():
            nn.init.normal_(
                weight, std=(0.1 * weight[0].numel()) ** -0.5 if weight.dim() > 1 else 1
            )
    return layers


def in_order(out) -> torch.Tensor:
    """Rows of a sparse tensor by coordinates: a strided layer on the GPU gives any order."""
    keys = out.indices[:, 0].long()
    for axis, size in enumerate(out.spatial_shape):
        keys = keys * size + out.indices[:, axis + 1]
    return out.features[keys.argsort()]


def run(layers: nn.Module, device: str, train: bool = True, autocast=None) -> list[torch.Tensor]:
    """Output rows, gradient of the features and of the weights."""
    layers = copy.deepcopy(layers).to(device).train(train)
    features, coords = voxels(next(layers.parameters()).shape[-1])
    features = features.to(device).requires_grad_()
    with torch.autocast(device, autocast or torch.bfloat16, enabled=autocast is not None):
        out = layers(spconv.SparseConvTensor(features, coords.to(device), list(SHAPE), 2))
    rows = in_order(out).float()
    (rows * weights_like(rows)).sum().backward()
    found = [rows, features.grad, *(p.grad for p in layers.parameters())]
    return [part.detach().float().cpu() for part in found]


def chain(channels: int, bias: bool = False) -> nn.Module:
    layers = spconv.SparseSequential(
        spconv.SubMConv3d(channels, 16, 3, bias=bias, indice_key="fine"),
        nn.ReLU(),
        spconv.SparseConv3d(16, 24, 3, stride=2, padding=1, bias=bias, indice_key="down"),
        nn.ReLU(),
        spconv.SubMConv3d(24, 24, 3, bias=bias, indice_key="coarse"),
        spconv.SparseInverseConv3d(24, 16, 3, bias=bias, indice_key="down"),
        spconv.SparseConv3d(16, 8, (3, 1, 1), stride=(2, 1, 1), bias=bias, indice_key="flat"),
    )
    return loud(layers)


def compare(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float) -> None:
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape
        assert float((got - want).norm()) <= tolerance * float(want.norm())


@pytest.mark.parametrize("channels", [1, 2, 4, 16])
@pytest.mark.parametrize("train", [True, False])
def test_chain_equals_the_cpu(channels, train):
    """Also in eval mode, where spconv alone gives no gradient."""
    layers = chain(channels, bias=channels == 4)
    compare(run(layers, DEVICE, train), run(layers, "cpu", train), 1e-4)


def test_large_kernel_equals_the_cpu():
    layers = spconv.SparseSequential(spconv.SubMConv3d(8, 16, 5, bias=False, indice_key="wide"))
    loud(layers)
    compare(run(layers, DEVICE), run(layers, "cpu"), 1e-4)


def test_pointwise_equals_the_cpu():
    layers = spconv.SparseSequential(
        spconv.SubMConv3d(8, 16, 1, bias=True), spconv.SparseConv3d(16, 4, 1, bias=False)
    )
    compare(run(layers, DEVICE), run(layers, "cpu"), 1e-4)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16], ids=str)
def test_half_is_near_float32(train, autocast):
    layers = chain(4)
    compare(run(layers, DEVICE, train, autocast), run(layers, "cpu", train), 6e-2)


@pytest.mark.parametrize("train", [True, False])
def test_eval_takes_bfloat16_inputs(train):
    """What a linear layer before it gives under autocast."""
    layer = spconv.SubMConv3d(8, 16, 3, bias=False).to(DEVICE).train(train)
    features, coords = (part.to(DEVICE) for part in voxels(8))
    with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16):
        given = spconv.SparseConvTensor(features.bfloat16(), coords, list(SHAPE), 2)
        found = layer(given).features
    with torch.no_grad():
        expected = layer(spconv.SparseConvTensor(features, coords, list(SHAPE), 2)).features
    compare([found.float()], [expected], 3e-2)


def network_run(
    network: nn.Module, device: str, autocast: bool = False
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    network = copy.deepcopy(network).to(device)
    features, coords = (part.to(device) for part in voxels(4))
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        out = network(features, coords, SHAPE, 2)
    (out.float() * weights_like(out.float())).sum().backward()
    return out.detach().float().cpu(), {n: p.grad.cpu() for n, p in network.named_parameters()}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("kind", ["unet", "voxelnet"])
def test_networks_equal_the_cpu(kind, train):
    torch.manual_seed(0)
    widths = dict(stem=8, planes=(8, 16, 16, 8), blocks=(1, 1, 1, 1))
    network = VoxelNet() if kind == "voxelnet" else SparseUNet(4, 12, normalize=True, **widths)
    network.train(train)
    (expected, wanted), (found, got) = (network_run(network, d) for d in ("cpu", DEVICE))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    largest = max(float(gradient.norm()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        gap = float((got[name] - gradient).norm())
        assert gap <= 1e-2 * float(gradient.norm()) + 1e-4 * largest, name


def test_bfloat16_network_is_finite_and_near():
    torch.manual_seed(0)
    network = SparseUNet(4, 12, stem=8, planes=(8, 16, 16, 8), blocks=(1, 1, 1, 1))
    expected, _ = network_run(network, DEVICE)
    found, gradients = network_run(network, DEVICE, autocast=True)
    assert float((found - expected).norm()) < 0.1 * float(expected.norm())
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())


def test_both_devices_share_weights_and_one_process():
    """A model that moves: CPU, GPU, CPU again."""
    layers = chain(4)
    before = run(layers, "cpu")
    compare(run(layers, DEVICE), before, 1e-4)
    assert all(torch.equal(a, b) for a, b in zip(run(layers, "cpu"), before, strict=True))
