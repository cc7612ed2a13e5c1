# SPDX-License-Identifier: Apache-2.0
"""BEV maps read at voxels: values against loops, borders, gradient, and with a real encoder."""

import numpy as np
import pytest
import torch

from lidistill.geometry.bev_grid import BEVGrid
from lidistill.models.backbones.bev_reader import BEVAtVoxels, read_at_voxels
from lidistill.models.backbones.voxelnet import VoxelNet

SHAPE = (4, 24, 40)  # z, y, x: not square
STRIDE = 8


def random_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A map of two samples and 200 voxels."""
    random = torch.Generator().manual_seed(seed)
    bev = torch.randn(2, 5, SHAPE[1] // STRIDE, SHAPE[2] // STRIDE, generator=random)
    coords = [torch.randint(size, (200,), generator=random) for size in (2, *SHAPE)]
    return bev, torch.stack(coords, dim=1).int()


def naive_read(bev: np.ndarray, coords: np.ndarray) -> np.ndarray:
    """Loops over voxels and the four cells around each; cells stand at their lower edges."""
    rows, columns = bev.shape[2:]
    out = np.zeros((len(coords), bev.shape[1]))
    for i, (sample, _, y, x) in enumerate(coords):
        v = min((y + 0.5) / STRIDE, rows - 1)
        u = min((x + 0.5) / STRIDE, columns - 1)
        for row in range(rows):
            for column in range(columns):
                weight = max(0, 1 - abs(v - row)) * max(0, 1 - abs(u - column))
                out[i] += weight * bev[sample, :, row, column]
    return out


def test_equals_naive_loops():
    bev, coords = random_case()
    out = read_at_voxels(bev, coords, SHAPE, STRIDE)
    np.testing.assert_allclose(out, naive_read(bev.double().numpy(), coords.numpy()), atol=1e-5)


def test_equals_the_releases_reading_away_from_the_far_border():
    bev, coords = random_case()
    inside = (coords[:, 2] < SHAPE[1] - STRIDE) & (coords[:, 3] < SHAPE[2] - STRIDE)
    coords = coords[inside]
    grid = BEVGrid((0, SHAPE[2]), (0, SHAPE[1]), (1, 1)).strided(STRIDE)
    centres = coords[:, [3, 2]].float() + 0.5
    theirs = grid.read_bilinear(bev, centres, coords[:, 0].long(), compat=True)
    torch.testing.assert_close(read_at_voxels(bev, coords, SHAPE, STRIDE), theirs)


def test_a_constant_map_reads_constant_up_to_the_border():
    _, coords = random_case()
    out = read_at_voxels(torch.ones(2, 1, 3, 5), coords, SHAPE, STRIDE)
    torch.testing.assert_close(out, torch.ones(200, 1))


def test_gradient_arrives_whole():
    bev, coords = random_case()
    bev.requires_grad_()
    read_at_voxels(bev, coords, SHAPE, STRIDE).sum().backward()
    assert bev.grad.sum().item() == pytest.approx(200 * 5, rel=1e-4)


def test_no_voxels():
    bev, coords = random_case()
    assert read_at_voxels(bev, coords[:0], SHAPE, STRIDE).shape == (0, 5)


def test_grid_that_does_not_fit_is_an_error():
    bev, coords = random_case()
    with pytest.raises(ValueError, match=r"factor that divides \(24, 41\)"):
        read_at_voxels(bev, coords, (4, 24, 41), STRIDE)
    with pytest.raises(ValueError, match=r"expected a BEV map \(B, C, 3, 6\)"):
        read_at_voxels(bev, coords, (4, 24, 48), STRIDE)


def test_student_gives_each_voxel_what_the_encoders_map_holds_there():
    torch.manual_seed(0)
    student = BEVAtVoxels(dict(type=VoxelNet, in_channels=4, out_channels=6)).eval()
    random = torch.Generator().manual_seed(1)
    shape = (40, 32, 64)
    coords = torch.stack([torch.randint(n, (300,), generator=random) for n in (2, *shape)], 1)
    coords = torch.unique(coords, dim=0).int()
    features = torch.randn(len(coords), 4, generator=random)
    out = student(features, coords, shape, 2)
    with torch.no_grad():
        bev = student.encoder(features, coords, shape, 2)
    expected = naive_read(bev.double().numpy(), coords.numpy())
    np.testing.assert_allclose(out.detach(), expected, atol=1e-5)
    out.square().sum().backward()
    assert student.encoder.final.weight.grad.abs().sum() > 0
