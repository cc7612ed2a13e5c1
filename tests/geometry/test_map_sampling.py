# SPDX-License-Identifier: Apache-2.0
"""Maps read between their cells in any precision."""

import pytest
import torch
from torch.nn.functional import grid_sample

from lidistill.geometry.map_sampling import sample_maps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_places_keep_their_precision_and_gradients_flow(dtype):
    made = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 128, 96, generator=made).to(dtype).requires_grad_()
    where = torch.rand(2, 5, 7, 2, generator=made, dtype=torch.float64) * 2.2 - 1.1
    found = sample_maps(maps, where, align_corners=False)
    full = maps.detach().double().requires_grad_()
    wanted = grid_sample(full, where, align_corners=False)
    assert found.dtype == dtype
    near = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(dtype, 2e-4)  # of the values alone
    torch.testing.assert_close(found.double(), wanted, atol=near, rtol=near)
    slopes = [torch.autograd.grad(x.sum(), leaf)[0] for x, leaf in ((found, maps), (wanted, full))]
    torch.testing.assert_close(slopes[0].double(), slopes[1], atol=near, rtol=near)


def test_options_are_those_of_grid_sample():
    maps, where = torch.arange(4.0).view(1, 1, 1, 4), torch.tensor([[[[9.0, 0.0]]]])
    assert sample_maps(maps, where, align_corners=False).item() == 0
    assert sample_maps(maps, where, padding_mode="border", align_corners=True).item() == 3
