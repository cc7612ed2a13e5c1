# SPDX-License-Identifier: Apache-2.0
"""Reference and ours of the evaluator's bench give the same curves."""

import numpy as np

from lidistill.bench.kitti.evaluator import cases


def test_reference_and_ours_agree():
    memory, files = cases("quick")
    ours = memory.ours()
    np.testing.assert_allclose(ours, memory.reference(), atol=1e-12)
    assert np.nanmax(ours) > 0.5
    # files round to four decimals, which moves an overlap near a limit
    np.testing.assert_allclose(files.ours(), ours, atol=0.1)
