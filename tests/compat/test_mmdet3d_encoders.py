# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's sparse encoders behind the bridge: equal to dense convolutions, same at any threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lidistill import compat
from tests.compat.dense import (
    dense_strided,
    dense_submanifold,
    dense_transposed,
    one_thread,
)

compat.apply()
spconv = pytest.importorskip("spconv.pytorch")
pytest.importorskip("mmdet3d")


@pytest.fixture
def voxels():
    rng = np.random.default_rng(0)
    active = torch.from_numpy(rng.random((2, 16, 24, 16)) < 0.1)
    coords = active.nonzero().int()
    shuffled = coords[torch.from_numpy(rng.permutation(len(coords)))]
    return torch.randn(len(coords), 4), shuffled, active


def encoder(block_type):
    from mmdet3d.models.middle_encoders import SparseEncoder

    torch.manual_seed(0)
    channels = ((8,), (8, 8), (16, 16))
    padding = ((0,), (0, 0), (0, 0)) if block_type == "basicblock" else ((1,), (1, 1), (1, 1))
    if block_type == "basicblock":
        channels, padding = ((8, 8), (8, 16), (16, 16)), ((1, 1), (1, 1), (1, 1))
    net = SparseEncoder(
        4,
        [16, 24, 16],
        base_channels=8,
        output_channels=16,
        encoder_channels=channels,
        encoder_paddings=padding,
        block_type=block_type,
    )
    for module in net.modules():  # spconv's own start is so small that errors would hide
        if isinstance(module, spconv.conv.SparseConvolution):
            with torch.no_grad():
                module.weight.mul_(3)
    return net


def dense_run(module, x, active, seen):
    """Walk an encoder's module tree on dense maps; ``seen`` remembers each resolution's cells."""
    from mmdet3d.models.layers.sparse_block import SparseBasicBlock

    if isinstance(module, spconv.SparseInverseConv3d):
        source, shape, cells = seen[module.indice_key]
        return dense_transposed(module, x, cells, source, shape), cells
    if isinstance(module, spconv.SubMConv3d):
        return dense_submanifold(module, x, active), active
    if isinstance(module, spconv.SparseConv3d):
        seen[module.indice_key] = (module, x.shape[2:], active)
        return dense_strided(module, x, active)
    if isinstance(module, nn.BatchNorm1d):
        cells = active[:, 0] > 0
        rows = module(x.movedim(1, -1)[cells])
        out = torch.zeros_like(x).movedim(1, -1)
        return out.index_put((cells,), rows).movedim(-1, 1), active
    if isinstance(module, nn.ReLU):
        return x.relu(), active
    if isinstance(module, SparseBasicBlock):
        out, _ = dense_run(module.conv1, x, active, seen)
        out, _ = dense_run(module.bn1, out, active, seen)
        out, _ = dense_run(module.conv2, out.relu(), active, seen)
        out, _ = dense_run(module.bn2, out, active, seen)
        return (out + x).relu(), active
    for child in module.children():
        x, active = dense_run(child, x, active, seen)
    return x, active


@pytest.mark.parametrize("block_type", ["conv_module", "basicblock"])
def test_sparse_encoder_equals_dense(block_type, voxels):
    features, coords, active = voxels
    features.requires_grad_()
    net = encoder(block_type)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        out = net(features, coords, 2)
        grads = torch.autograd.grad(out.square().mean(), [features, *net.parameters()])
        results.append((out, *grads))
    torch.set_num_threads(before)
    with one_thread():
        dense = features.new_zeros(2, 16, 24, 16, 4).index_put(tuple(coords.long().T), features)
        expected, _ = dense_run(net, dense.movedim(-1, 1), active[:, None].float(), {})
        expected = expected.flatten(1, 2)  # (B, C * z, y, x), as the encoder returns it
        grads = torch.autograd.grad(expected.square().mean(), [features, *net.parameters()])
    for result in results:
        assert result[0].abs().max() > 0.1
        for got, want in zip(result, (expected, *grads), strict=True):
            scale = want.abs().max().item() + 1e-6
            torch.testing.assert_close(got, want, rtol=0, atol=3e-5 * scale)
