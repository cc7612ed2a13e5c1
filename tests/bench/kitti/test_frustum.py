# SPDX-License-Identifier: Apache-2.0
"""Reference and ours of the frustum's bench give the same maps and gradients."""

import pytest
import torch

from lidistill.bench.kitti.frustum import cases


@pytest.mark.parametrize("case", cases("quick"), ids=lambda case: case.name)
def test_reference_and_ours_agree(case):
    for ours, reference in zip(case.ours(), case.reference(), strict=True):
        assert reference.abs().max() > 0
        torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-4)
