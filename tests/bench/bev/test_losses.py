# SPDX-License-Identifier: Apache-2.0
"""Reference and ours of each bench give the same values and gradients."""

import numpy as np
import pytest

from lidistill.bench.bev.losses import cases


@pytest.mark.parametrize("case", cases("quick"), ids=lambda case: case.name)
def test_reference_and_ours_agree(case):
    for ours, reference in zip(case.ours(), case.reference(), strict=True):
        assert float(reference.abs().max()) > 0
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-6)
