# SPDX-License-Identifier: Apache-2.0
"""Continuous depth bins, classes and the pooling of depth maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lidistill.geometry.depth_scale import MODES, DepthScale, pooled_depth


@pytest.mark.parametrize("mode", MODES)
def test_edges_are_whole_numbers_of_bins(mode):
    scale = DepthScale(mode, 1.0, 60.0, 30)
    position = scale.position(scale.edges())
    torch.testing.assert_close(position, torch.arange(31, dtype=torch.float64))
    edges = scale.edges()
    middle = (edges[:-1] + edges[1:]) / 2
    assert scale.target(middle).tolist() == list(range(30))
    assert scale.bins().index(middle.float()).tolist() == list(range(30))


@pytest.mark.parametrize("mode", MODES)
def test_what_is_outside_has_the_last_class(mode):
    depth = torch.tensor([1.9, 46.9, math.nan, math.inf, -math.inf, 0.0, -5.0])
    assert DepthScale(mode).target(depth).tolist() == [120] * 7


def test_errors_say_what_is_expected():
    for wrong in ({"mode": "XYZ"}, {"low": 5.0, "high": 5.0}, {"count": 0}):
        with pytest.raises(ValueError, match="expected a mode of"):
            DepthScale(**wrong)


def test_pooling_is_the_mean_of_known_depths():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 50, (2, 11, 14)) * (rng.random((2, 11, 14)) < 0.1)
    found = pooled_depth(torch.from_numpy(depth), 4)
    assert found.shape == (2, 3, 4)
    for b, i, j in np.ndindex(2, 3, 4):
        cell = depth[b, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
        known = cell[cell > 0]
        assert found[b, i, j].item() == pytest.approx(known.mean() if len(known) else 0.0)
    assert pooled_depth(torch.zeros(0, 8, 8), 4).shape == (0, 2, 2)
