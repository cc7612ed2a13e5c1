# SPDX-License-Identifier: Apache-2.0
"""SLIC labels of the authors' settings.

The stored labels are scikit-image 0.26's; other releases differ a little, so the test is exact
there and asks elsewhere for the same regions up to a few percent of the pixels.
"""

import numpy as np
import pytest
import skimage

from lidistill.converters.superpixels.slic import SlicParameters, slic_labels
from tests.conftest import parity_files


@pytest.mark.parametrize("segments", [150, 30])
@pytest.mark.parametrize("path", parity_files("slidr", "slic_*.npz"))
def test_slic(path, segments):
    case = np.load(path)
    labels = slic_labels(case["image"], SlicParameters(segments=segments))
    expected = case[f"labels_{segments}"].astype(np.int64)
    if skimage.__version__ == "0.26.0":
        np.testing.assert_array_equal(labels, expected)
    overlap = np.zeros((labels.max() + 1, expected.max() + 1), dtype=np.int64)
    np.add.at(overlap, (labels, expected), 1)
    assert overlap.max(axis=1).sum() > 0.95 * labels.size
