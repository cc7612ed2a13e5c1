# SPDX-License-Identifier: Apache-2.0
"""The sparse convolution benchmark compares equal things."""

from __future__ import annotations

import pytest
import torch

from lidistill.bench.sparse_conv import cases, library_path, surface
from tests.compat.marks import NEEDS_SPCONV


@NEEDS_SPCONV
@pytest.mark.parametrize("case", cases("quick"), ids=lambda case: case.name)
def test_reference_and_ours_agree(case):
    ours, reference = case.ours().float(), case.reference().float()
    # rows of strided outputs come in another order: compare without it
    torch.testing.assert_close(ours.sum(0), reference.sum(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        ours.sort(dim=0).values, reference.sort(dim=0).values, rtol=1e-4, atol=1e-5
    )


@NEEDS_SPCONV
def test_the_reference_is_the_librarys_own_on_one_thread():
    from spconv.pytorch.conv import SparseConvolutionBase

    bridged, threads = SparseConvolutionBase._conv_forward, torch.get_num_threads()
    with library_path():
        assert SparseConvolutionBase._conv_forward is bridged.__wrapped__
        assert torch.get_num_threads() == 1
    assert SparseConvolutionBase._conv_forward is bridged
    assert torch.get_num_threads() == threads


def test_without_spconv_there_is_no_reference(monkeypatch):
    monkeypatch.setattr("lidistill.bench.sparse_conv.has_reference", lambda: False)
    found = cases("quick")
    assert {case.reference for case in found} == {None}
    assert all(len(case.ours()) for case in found)


def test_surface_is_like_a_scan():
    from lidistill.ops.sparse.neighbours import submanifold_table

    coords, shape = surface(20_000)
    assert coords.shape == (20_000, 4)
    table = submanifold_table(coords, shape, [3] * 3, [1] * 3)
    assert 5 < len(table.ins) / len(coords) < 9
