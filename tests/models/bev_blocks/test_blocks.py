# SPDX-License-Identifier: Apache-2.0
"""Blocks on BEV maps: shapes, gradients, the identity that the paper's words ask for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lidistill.models.bev_blocks.alignment import FeatureFusion, SpatialAlignment, TwoBranches
from lidistill.models.bev_blocks.collapse import HeightCollapse
from lidistill.models.bev_blocks.self_calibrated import SelfCalibratedBlock
from lidistill.registry import MODELS

BLOCKS = (SpatialAlignment, FeatureFusion, SelfCalibratedBlock, TwoBranches)


@pytest.mark.parametrize("block", BLOCKS)
def test_same_shape_and_gradient_to_every_parameter(block):
    torch.manual_seed(0)
    module = MODELS.build({"type": block.__name__, "channels": 8})
    maps = torch.randn(2, 8, 9, 6, requires_grad=True)
    out = module(maps)
    assert out.shape == maps.shape
    out.square().sum().backward()
    assert maps.grad.abs().sum() > 0
    assert [name for name, p in module.named_parameters() if p.grad is None] == []


def test_deformable_reading_without_offsets_is_a_convolution():
    torch.manual_seed(0)
    module = SpatialAlignment(4)
    nn.init.zeros_(module.dcn.conv1.weight)
    maps = torch.randn(1, 4, 6, 5)
    torch.testing.assert_close(module.dcn(maps), module.dcn.conv2(maps), rtol=1e-4, atol=1e-5)


def test_collapse_keeps_the_order_of_channels_and_heights():
    module = HeightCollapse(6, 1).eval()
    nn.init.zeros_(module.conv.weight)
    with torch.no_grad():
        module.conv.weight[0, 1 * 3 + 2] = 1  # channel 1, height 2
    voxels = torch.rand(1, 2, 3, 4, 5)
    torch.testing.assert_close(module(voxels)[0, 0], voxels[0, 1, 2] / (1 + module.bn.eps) ** 0.5)


def test_the_head_sees_both_branches_or_the_visual_one():
    torch.manual_seed(0)
    maps = torch.randn(2, 4, 6, 5)
    module = TwoBranches(4).eval()
    torch.testing.assert_close(module(maps), module.ffm(maps + module.spa(maps)))
    assert module.spa(maps).min() < 0
    assert SpatialAlignment(4)(maps).min() >= 0
    released = TwoBranches(4, blocks=2, signed=False, fuse=False)
    ran = []
    released.spa.register_forward_hook(lambda *_: ran.append(released.training))
    torch.testing.assert_close(released.eval()(maps), released.vis(maps))
    released.train()(maps)
    assert ran == [True]


def test_a_batch_of_one_trains():
    """Its mean over the map has no spread: the spread of the batches before stands for it."""
    torch.manual_seed(0)
    module = SpatialAlignment(4).train()
    one, two = torch.randn(1, 4, 6, 5), torch.randn(2, 4, 6, 5)
    module(two)
    norm = module.aspp.bn_conv_1x1_2
    before = norm.running_mean.clone()
    module(one).sum().backward()
    assert norm.weight.grad is not None
    assert torch.equal(norm.running_mean, before)
    means = torch.randn(1, 2, 1, 1)
    expected = norm.eval()(means)
    torch.testing.assert_close(module.aspp._normalised(means), expected)
    norm.train()
    pair = torch.randn(2, 2, 1, 1)
    spread = (pair - pair.mean(0)) / (pair.var(0, unbiased=False) + norm.eps).sqrt()
    torch.testing.assert_close(module.aspp._normalised(pair), spread)
