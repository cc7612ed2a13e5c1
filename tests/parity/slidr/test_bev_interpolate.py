# SPDX-License-Identifier: Apache-2.0
"""How the authors' VoxelNet branch reads point features from a bird's-eye-view map."""

import numpy as np
import pytest
import torch

from lidistill.geometry.bev_grid import BEVGrid
from tests.conftest import parity_files

GRID = BEVGrid((-51.2, 51.2), (-51.2, 51.2), (0.1, 0.1)).strided(8)


@pytest.mark.parametrize("path", parity_files("slidr", "bev_interpolate_*.npz"))
def test_bev_interpolate(path):
    case = np.load(path)
    bev = torch.from_numpy(case["bev"].astype(np.float32)).requires_grad_()
    points = torch.from_numpy(case["points"])
    out = GRID.read_bilinear(bev, points[:, 1:3], points[:, 0].long(), compat=True)
    np.testing.assert_allclose(out.detach().numpy(), case["out"], atol=2e-6)

    out.backward(torch.from_numpy(case["grad_out"]))
    expected = np.zeros_like(bev.detach().permute(0, 2, 3, 1).numpy())
    batch, row, column = case["grad_bev_cells"].T
    expected[batch, row, column] = case["grad_bev_values"]
    np.testing.assert_allclose(bev.grad.permute(0, 2, 3, 1).numpy(), expected, atol=2e-6)
