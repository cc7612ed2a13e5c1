# SPDX-License-Identifier: Apache-2.0
"""Depth supervision beside a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lidistill.geometry.depth_bins import DepthBins
from lidistill.losses.depth import coarser_depth, depth_loss

BINS = DepthBins.uniform(1.0, 5.0, 1.0)


def distribution(seed=0):
    made = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, 3, 2, generator=made, dtype=torch.float64).softmax(1)


@pytest.mark.parametrize("kind", ["bce", "ce"])
def test_equals_loop(kind):
    probability = distribution()
    depth = torch.tensor([[[0, 1.5], [4.9, 5.5], [0.5, 2.0]], [[3.0, 0], [0, 0], [1.0, 4.0]]])
    total, count = 0.0, 0
    for m, v, u in np.ndindex(2, 3, 2):
        metres = float(depth[m, v, u])
        if not 1 <= metres < 5:
            continue
        count += 1
        for d in range(4):
            p, right = float(probability[m, d, v, u]), int(metres - 1) == d
            if right:
                total -= math.log(p)
            elif kind == "bce":
                total -= math.log(1 - p)
    value = depth_loss(probability, depth, BINS, kind)
    assert value == pytest.approx(total / count, rel=1e-5)


def test_nothing_measured_is_zero_with_gradient():
    logits = torch.randn(1, 4, 2, 2, requires_grad=True)
    value = depth_loss(logits.softmax(1), torch.zeros(1, 2, 2), BINS)
    value.backward()
    assert value == 0
    assert not logits.grad.any()


def test_wrong_shapes():
    with pytest.raises(ValueError, match="probability"):
        depth_loss(torch.ones(1, 3, 2, 2), torch.zeros(1, 2, 2), BINS)
    with pytest.raises(ValueError, match="stride"):
        depth_loss(torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 4), BINS)
    with pytest.raises(ValueError, match="kind"):
        depth_loss(torch.ones(1, 4, 2, 2), torch.zeros(1, 2, 2), BINS, "mse")


def test_coarser_cells_keep_the_nearest():
    depth = torch.zeros(1, 4, 4)
    depth[0, 0, 1], depth[0, 1, 0], depth[0, 3, 3] = 7.0, 3.0, 9.0
    assert coarser_depth(depth, (2, 2)).tolist() == [[[3.0, 0.0], [0.0, 9.0]]]
    assert coarser_depth(depth, (4, 4)) is depth
    with pytest.raises(ValueError, match="do not divide"):
        coarser_depth(depth, (3, 3))
