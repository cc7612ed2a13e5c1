# SPDX-License-Identifier: Apache-2.0
"""Reference and ours of each bench give the same loss and gradients."""

import numpy as np
import pytest

from lidistill.bench.bev.pooling import cases


@pytest.mark.parametrize("case", cases("quick"), ids=lambda case: case.name)
def test_reference_and_ours_agree(case):
    for ours, reference in zip(case.ours(), case.reference(), strict=True):
        top = float(reference.abs().max())
        assert top > 0
        np.testing.assert_allclose(ours, reference, atol=1e-4 * top)
