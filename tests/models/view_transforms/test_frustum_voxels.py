# SPDX-License-Identifier: Apache-2.0
"""CaDDN's view transform: the released way beside ours, true depth, losses."""

from __future__ import annotations

import pytest
import torch

from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.voxel_frustum import frustum_places, sample_grid, voxel_centres
from lidistill.losses.depth import DepthGuess
from lidistill.models.view_transforms import frustum_voxels as view
from lidistill.models.view_transforms.frustum_voxels import FrustumVoxels
from lidistill.ops.bev.frustum_read import frustum_volume, sample_volume
from tests.models.view_transforms.rig import rig

GRID = BEVGrid((-6.0, 10.0), (-4.0, 6.0), (1.0, 0.5))  # 20 rows, 16 columns
IMAGE, FEATURES = (32, 48), (4, 6)
SCALE = {"low": 1.0, "high": 9.0, "count": 12}


def made(**options):
    torch.manual_seed(0)
    return FrustumVoxels(
        3, 4, grid=GRID, z_range=(-3.0, 3.0), voxels=(5, 6), scale=SCALE, **options
    )


def features(batch=2, count=2):
    given = torch.randn(batch, count, 3, *FEATURES, generator=torch.Generator().manual_seed(1))
    return given.requires_grad_()


def test_the_released_way_gives_the_same_map():
    module, given, cameras = made(compat=True).eval(), features(), rig(2)
    found, guess = module(given, cameras, IMAGE)
    _, context = module.depth_net(given.flatten(0, 1), None)
    centres = voxel_centres((-6.0, -4.0, -3.0, 10.0, 6.0, 3.0), (16, 20, 5))
    matrices = torch.from_numpy(cameras.image_from_lidar).flatten(0, 1)
    places = [frustum_places(centres, matrix, module.scale) for matrix in matrices]
    grid = torch.stack([sample_grid(one, IMAGE, 12) for one in places])
    voxels = sample_volume(frustum_volume(context, guess.chance[:, :-1]), grid)
    present = torch.from_numpy(cameras.present).flatten().float()
    voxels = (voxels * present[:, None, None, None, None]).unflatten(0, (2, 2)).sum(1)
    torch.testing.assert_close(found, module.collapse(voxels), rtol=1e-4, atol=1e-5)
    assert found.std() > 0
    assert found.shape == (2, 4, *GRID.shape)


def test_true_depth_and_the_loss_of_a_guess():
    measured = torch.zeros(2, 2, *FEATURES)
    measured[:, :, 1] = 4.0
    given, cameras = features(), rig(2)
    assistant = made(true_depth=True)
    seen = []
    assistant.depth.register_forward_hook(lambda _m, _i, out: seen.append(out))
    bev, guess = assistant(given, cameras, IMAGE, measured)
    (depth,) = seen
    assert (depth[:, :-1].sum(1)[:, 1] == 1).all()
    assert (depth[:, -1][:, [0, 2, 3]] == 1).all()  # nothing is known there
    assert assistant.loss(guess, measured) == {}
    assert torch.autograd.grad(bev.square().sum(), given)[0].abs().sum() > 0
    half = made(depth_weight=3.0, true_depth=0.5)
    assert half.loss(half(given, cameras, IMAGE, measured)[1], measured)["loss_depth"] > 0
    assert made(depth_weight=3.0, true_depth=True).loss(guess, measured) == {}
    student = made(depth_weight=3.0)
    _, guess = student(given, cameras, IMAGE, measured)
    loss = student.loss(guess, measured)["loss_depth"]
    target = student.scale.target(measured.flatten(0, 1)).unsqueeze(1)
    right = guess.chance.gather(1, target)[:, 0, 1]
    wanted = 3.0 * (-0.25 * (1 - right) ** 2 * right.log()).mean()
    torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=1e-6)
    loss.backward()
    nothing = student.loss(guess, torch.zeros_like(measured))
    assert nothing["loss_depth"].item() == 0
    with pytest.raises(ValueError, match="LoadDepthMaps"):
        student.loss(guess, None)
    with pytest.raises(ValueError, match="measured depths"):
        assistant(given, cameras, IMAGE)


@pytest.mark.parametrize("gap", [10.0, 30.0, 200.0])
def test_a_guess_is_pushed_however_sure_it_is_of_what_is_wrong(gap):
    """The focal loss of a chance that rounds to 0 has the gradient that a small one has."""
    student = made(depth_weight=4.0)
    measured = torch.full((1, 1, 1, 1), 4.0)
    right = int(student.scale.target(measured))
    logits = torch.zeros(1, 13, 1, 1)
    logits[0, 0] = gap
    loss = student.loss(DepthGuess.of(logits.requires_grad_()), measured)["loss_depth"]
    loss.backward()
    assert loss.item() == pytest.approx(gap, rel=1e-2)  # 4 * 0.25 * (1 - 0) ** 2 * gap
    assert logits.grad[0, right].item() == pytest.approx(-1.0, abs=2e-2)
    assert logits.grad[0, 0].item() == pytest.approx(1.0, abs=2e-2)


def test_plans_are_kept(monkeypatch):
    module, cameras = made(), rig(2)
    monkeypatch.setattr(view, "PLANS", 1)
    first = module.plan(cameras, IMAGE, FEATURES)
    assert module.plan(cameras, IMAGE, FEATURES) is first
    assert module.plan(cameras, IMAGE, (8, 12)) is not first
    assert len(module._kept) == 1
