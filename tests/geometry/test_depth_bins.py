# SPDX-License-Identifier: Apache-2.0
"""Depth bins: edges, centres, and which bin a depth is in."""

from __future__ import annotations

import itertools

import pytest
import torch

from lidistill.geometry.depth_bins import DepthBins


def test_sizes_of_the_papers():
    assert DepthBins.uniform(1, 60, 0.5).count == 118  # VCD, BEVDet
    assert DepthBins.of((2, 58, 0.5)).count == 112  # UniDistill


def test_index_and_centres_agree():
    for bins in (DepthBins.uniform(2, 10, 0.5), DepthBins.growing(2, 46.8, 12)):
        assert bins.index(bins.centres()).tolist() == list(range(bins.count))
        assert bins.index(bins.starts()).tolist() == list(range(bins.count))


def test_outside_is_minus_one():
    bins = DepthBins.uniform(1, 3, 1)
    assert bins.index(torch.tensor([0.0, 0.99, 1.0, 2.99, 3.0, torch.inf])).tolist() == [
        -1, -1, 0, 1, -1, -1,
    ]  # fmt: skip


def test_growing_bins_widen_evenly():
    """CaDDN's formula: edge k at start + (end - start) k (k + 1) / (D (D + 1))."""
    edges = DepthBins.growing(2.0, 46.8, 80).edges
    assert edges[0] == 2.0
    assert edges[-1] == pytest.approx(46.8)
    widths = [b - a for a, b in itertools.pairwise(edges)]
    assert widths[1] == pytest.approx(2 * widths[0])
    assert widths[79] == pytest.approx(80 * widths[0])


@pytest.mark.parametrize("values", [(1, 2, 0.3), (1, 1, 0.5), (1, 2, 0)])
def test_no_whole_steps(values):
    with pytest.raises(ValueError, match="whole number"):
        DepthBins.uniform(*values)


def test_bad_edges():
    with pytest.raises(ValueError, match="growing edges"):
        DepthBins((1.0, 1.0))
    with pytest.raises(ValueError, match="start, end, step"):
        DepthBins.of((1, 2))
