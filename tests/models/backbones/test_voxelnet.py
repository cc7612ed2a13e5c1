# SPDX-License-Identifier: Apache-2.0
"""VoxelNet: shape, geometry and gradient; its values are pinned in tests/parity."""

import pytest
import torch

from lidistill.models.backbones.voxelnet import VoxelNet


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VoxelNet().eval()


def test_a_voxel_reaches_only_cells_near_it(model):
    coords = torch.tensor([[1, 20, 40, 96]], dtype=torch.int32)
    bev = model(1e6 * torch.ones(1, 4), coords, (40, 80, 160), 2)
    assert bev.shape == (2, 64, 10, 20)
    assert torch.all(bev[0] == 0)
    rows, columns = torch.nonzero(bev[1].abs().sum(0), as_tuple=True)
    assert len(rows)
    assert torch.all((rows - 40 / 8).abs() <= 2)
    assert torch.all((columns - 96 / 8).abs() <= 2)
    norms = bev[1, :, rows, columns].norm(dim=0)
    torch.testing.assert_close(norms, torch.ones(len(rows)))


def test_gradient_reaches_every_parameter(model):
    generator = torch.Generator().manual_seed(0)
    coords = torch.stack(
        [torch.randint(n, (300,), generator=generator) for n in (2, 40, 32, 32)], 1
    )
    coords = torch.unique(coords, dim=0).int()
    features = torch.randn(len(coords), 4, generator=generator)
    model.train()
    bev = model(features, coords, (40, 32, 32), 2)
    (bev * torch.randn(bev.shape, generator=generator)).sum().backward()
    for name, parameter in model.named_parameters():
        assert float(parameter.grad.abs().max()) > 0, name


def test_without_normalisation_lengths_vary(model):
    model.normalize = False
    coords = torch.tensor([[0, 3, 4, 5], [0, 30, 20, 25]], dtype=torch.int32)
    bev = model(1e9 * torch.randn(2, 4), coords, (40, 32, 32), 1).detach()
    lengths = bev.norm(dim=1)[bev.abs().sum(1) > 0]
    assert float(lengths.std()) > 1e-4
