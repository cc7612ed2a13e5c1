# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's SPVCNN and MinkUNets on our torchsparse: what must not change their features."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lidistill import compat
from lidistill.export import kernels
from tests.ops.torchsparse import networks

pytest.importorskip("mmdet3d")
compat.apply()


@pytest.fixture(scope="module", params=networks.KINDS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return networks.build(request.param).eval()


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_features_belong_to_voxels_not_to_rows_or_batches(network) -> None:
    feats, coords = networks.voxels(0)
    with torch.no_grad():
        together = network(feats, coords)
        shuffle = torch.randperm(len(coords), generator=torch.Generator().manual_seed(0))
        same(network(feats[shuffle], coords[shuffle]), together[shuffle])
        for sample in range(2):
            rows = coords[:, 3] == sample
            same(network(feats[rows], coords[rows]), together[rows])


def test_features_move_with_the_voxels_below_zero_too(network) -> None:
    feats, coords = networks.voxels(1)
    step = torch.tensor([-64, 16, -16, 0], dtype=torch.int32)  # of the coarsest voxels, 16 cells
    with torch.no_grad():
        same(network(feats, coords + step), network(feats, coords))


def test_every_weight_has_a_gradient(network) -> None:
    feats, coords = networks.voxels(2)
    network.zero_grad()
    network(feats, coords).square().sum().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


def convert(theirs: nn.Module, ours: nn.Module) -> None:
    """Weights of a MinkUNet on spconv, layer after layer, into one on torchsparse."""
    sources, targets = (
        [
            each
            for each in network.modules()
            if hasattr(each, kind) or isinstance(each, nn.BatchNorm1d)
        ]
        for network, kind in ((theirs, "indice_key"), (ours, "kernel"))
    )
    for source, target in zip(sources, targets, strict=True):
        if isinstance(target, nn.BatchNorm1d):
            target.load_state_dict(source.state_dict())
            continue
        weight = source.weight.data
        if target.kernel.ndim == 2:
            kernel = kernels.linear_from_spconv_pointwise(weight).t()
        else:  # mmdet3d gives spconv coordinates (batch, x, y, z)
            kernel = kernels.torchsparse_from_spconv(kernels.swap_xyz_zyx(weight))
        target.kernel.data = kernel.contiguous()


def test_equals_minkunet_on_spconv() -> None:
    """On grids of a multiple of 16 cells: spconv leaves out what lies beyond an odd grid's half."""
    ours = networks.build("MinkUNetBackbone", sparseconv_backend="torchsparse")
    theirs = networks.build("MinkUNetBackbone", sparseconv_backend="spconv")
    convert(theirs, ours)
    feats, coords = networks.voxels(3)
    results = []
    for network, places in ((ours, coords), (theirs, coords[:, [3, 0, 1, 2]])):
        leaf = feats.clone().requires_grad_()
        out = network.train()(leaf, places)
        out.square().sum().backward()
        results.append((out, leaf.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)
