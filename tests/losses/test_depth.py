# SPDX-License-Identifier: Apache-2.0
"""Depth supervision beside a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lidistill.geometry.depth_bins import DepthBins
from lidistill.losses.depth import DepthGuess, coarser_depth, depth_loss

BINS = DepthBins.uniform(1.0, 5.0, 1.0)


KINDS = ["bce", "ce"]


def guess(seed=0):
    made = torch.Generator().manual_seed(seed)
    return DepthGuess.of(torch.randn(2, 4, 3, 2, generator=made))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_loop(kind):
    given = guess()
    probability = given.logits.double().softmax(1)
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
    value = depth_loss(given, depth, BINS, kind)
    assert value == pytest.approx(total / count, rel=1e-5)


def wrong_by(gap, dtype=torch.float32):
    """Logits of a guess that is sure of the third bin, where the first is right."""
    return torch.tensor([0.3, -0.2, gap, 0.1], dtype=dtype).view(1, 4, 1, 1).requires_grad_()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gap", [3, 12, 17, 30, 90, 120, 1000])
def test_a_guess_is_pushed_however_sure_it_is_of_what_is_wrong(kind, gap):
    """Value and gradient are those of float64, also where the right bin's chance rounds to 0."""
    logits, exact = wrong_by(gap), wrong_by(gap, torch.float64)
    value = depth_loss(DepthGuess.of(logits), torch.full((1, 1, 1), 1.5), BINS, kind)
    wanted = exact.logsumexp(1) - exact[:, 0]
    if kind == "bce":
        for d in (1, 2, 3):
            others = [row for row in range(4) if row != d]
            wanted = wanted + exact.logsumexp(1) - exact[:, others].logsumexp(1)
    wanted.sum().backward()
    value.backward()
    torch.testing.assert_close(value.double(), wanted.squeeze(), rtol=1e-3, atol=0)
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=1e-2, atol=2e-3)
    assert logits.grad[0, 0] < -0.9 < 0.8 < logits.grad[0, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_sure_guesses_that_are_right_rest(kind):
    logits = wrong_by(200.0)
    depth_loss(DepthGuess.of(logits), torch.full((1, 1, 1), 3.5), BINS, kind).backward()
    assert logits.grad.abs().max() < 1e-5
    unmeasured = depth_loss(DepthGuess.of(wrong_by(200.0)), torch.zeros(1, 1, 1), BINS, kind)
    assert unmeasured == 0
    one = DepthBins.uniform(1.0, 2.0, 1.0)
    single = DepthGuess.of(torch.zeros(1, 1, 1, 1))
    assert depth_loss(single, torch.full((1, 1, 1), 1.5), one, kind) < 2e-6


def test_nothing_measured_is_zero_with_gradient():
    logits = torch.randn(1, 4, 2, 2, requires_grad=True)
    value = depth_loss(DepthGuess.of(logits), torch.zeros(1, 2, 2), BINS)
    value.backward()
    assert value == 0
    assert not logits.grad.any()


def test_wrong_shapes():
    with pytest.raises(ValueError, match="expected a guess"):
        depth_loss(DepthGuess.of(torch.ones(1, 3, 2, 2)), torch.zeros(1, 2, 2), BINS)
    given = DepthGuess.of(torch.ones(1, 4, 2, 2))
    with pytest.raises(ValueError, match="stride"):
        depth_loss(given, torch.zeros(1, 4, 4), BINS)
    with pytest.raises(ValueError, match="kind"):
        depth_loss(given, torch.zeros(1, 2, 2), BINS, "mse")


def test_coarser_cells_keep_the_nearest():
    depth = torch.zeros(1, 4, 4)
    depth[0, 0, 1], depth[0, 1, 0], depth[0, 3, 3] = 7.0, 3.0, 9.0
    assert coarser_depth(depth, (2, 2)).tolist() == [[[3.0, 0.0], [0.0, 9.0]]]
    assert coarser_depth(depth, (4, 4)) is depth
    with pytest.raises(ValueError, match="do not divide"):
        coarser_depth(depth, (3, 3))
