# SPDX-License-Identifier: Apache-2.0
"""LocalColour against loops."""

import numpy as np
import pytest
import torch

from lidistill.models.teachers.colour import LocalColour
from lidistill.models.teachers.image_teacher import ImageTeacher


@pytest.mark.parametrize("window", [1, 5])
def test_equals_a_loop(window):
    images = torch.randn(2, 3, 12, 17, generator=torch.Generator().manual_seed(0))
    teacher = LocalColour(deviation=True, window=window)
    assert isinstance(teacher, ImageTeacher)
    got = teacher(images).numpy()
    assert got.shape == (2, 6, 3, 5)
    half = window // 2
    for row in range(3):
        for column in range(5):
            y, x = 4 * row, 4 * column
            patch = images[
                :, :, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1
            ].numpy()
            np.testing.assert_allclose(got[:, :3, row, column], patch.mean((2, 3)), atol=1e-6)
            np.testing.assert_allclose(got[:, 3:, row, column], patch.std((2, 3)), atol=2e-3)


def test_mean_only_and_window():
    assert LocalColour()(torch.ones(1, 3, 8, 8)).shape == (1, 3, 2, 2)
    with pytest.raises(ValueError, match="must be odd, got 4"):
        LocalColour(window=4)
