# SPDX-License-Identifier: Apache-2.0
"""Reference and ours of each bench give the same voxels and the same means."""

import pytest
import torch

from lidistill.bench.mmcv._calls import scan
from lidistill.bench.mmcv.ops import cases


@pytest.mark.parametrize("case", cases("quick"), ids=lambda case: case.name)
def test_reference_and_ours_agree(case):
    torch.testing.assert_close(case.ours(), case.reference(), rtol=0, atol=1e-6)


def test_full_sizes_are_those_of_the_detectors():
    names = " ".join(f"{case.name} {case.size}" for case in cases("full"))
    assert "1,408 x 1,600 x 40" in names
    assert "CenterPoint" in names


def test_scan_is_denser_near_and_within_range():
    distance = scan(5000)[:, :2].norm(dim=1)
    assert distance.max() <= 70.01
    assert (distance < 20).float().mean() > 0.5
