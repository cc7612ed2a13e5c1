# SPDX-License-Identifier: Apache-2.0
"""Lift-splat beside a loop over pixels and depths, on a grid that is neither square nor centred."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.cameras import Cameras
from lidistill.models.view_transforms.depth_nets import CameraAwareDepthNet
from lidistill.models.view_transforms.lift_splat import LiftSplat, TrueDepth
from tests.models.view_transforms.rig import rig

GRID = BEVGrid((-6.0, 10.0), (-4.0, 6.0), (1.0, 0.5))  # 20 rows, 16 columns
HEIGHTS = (-3.0, 3.0)
IMAGE, FEATURES = (32, 48), (4, 6)
OPTIONS = {"in_channels": 3, "out_channels": 4, "grid": GRID, "z_range": HEIGHTS}


def made(kind=LiftSplat, **options):
    torch.manual_seed(0)
    return kind(**OPTIONS, depths=(1.0, 9.0, 1.0), **options)


def features(batch=2, count=2):
    return torch.randn(batch, count, 3, *FEATURES, generator=torch.Generator().manual_seed(1))


def loop(depth, context, cameras):
    """Every depth of every pixel, matrix by matrix, in float64."""
    batch, count = cameras.present.shape
    rows, columns = GRID.shape
    bev = np.zeros((batch, context.shape[1], rows, columns))
    for b, n in np.ndindex(batch, count):
        m = b * count + n
        chain = cameras.image_aug[b, n] @ cameras.intrinsics[b, n] @ cameras.camera_from_lidar[b, n]
        for d, v, u in np.ndindex(depth.shape[1], *FEATURES):
            metres = 1.5 + d
            column, row = (u + 0.5) * 8 - 0.5, (v + 0.5) * 8 - 0.5
            pixel = np.array([column * metres, row * metres, metres, 1])
            x, y, z, _ = cameras.lidar_aug[b] @ np.linalg.solve(chain, pixel)
            if not (HEIGHTS[0] <= z < HEIGHTS[1] and -6 <= x < 10 and -4 <= y < 6):
                continue
            cell = int(np.floor((y + 4) / 0.5)), int(np.floor(x + 6))
            bev[(b, slice(None), *cell)] += depth[m, d, v, u] * context[m, :, v, u]
    return bev


def parts(transform, given, cameras, measured=None):
    taken = {}
    handles = [
        getattr(transform, name).register_forward_hook(
            lambda _m, _i, out, name=name: taken.update({name: out})
        )
        for name in ("depth", "context")
    ]
    bev, guess = transform(given, cameras, IMAGE, measured)
    for handle in handles:
        handle.remove()
    assert measured is not None or guess.chance is taken["depth"]
    return bev, taken["depth"], taken["context"]


def test_equals_loop():
    cameras = rig(2)
    bev, depth, context = parts(made(), features(), cameras)
    assert bev.shape == (2, 4, 20, 16)
    wanted = loop(depth.detach().double().numpy(), context.detach().double().numpy(), cameras)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(bev.detach().numpy(), wanted, atol=1e-5)


def test_a_thing_at_a_place_lands_in_its_cell():
    """A point in the scene, projected and lifted again, is found where it is: no swapped axes."""
    cameras = rig(1, 2, augmented=True)
    transform = made()
    place = cameras.lidar_aug[0] @ np.array([3.4, 0.7, 0.4, 1.0])
    u, v, d, _ = cameras.image_from_lidar[0, 0] @ place
    plan = transform.plan(cameras, (32, 48), (32, 48))  # one feature a pixel
    column, row, bin_ = round(u / d), round(v / d), int(d - 1)
    cell = int(plan.cells[0, bin_, row, column])
    found = divmod(cell, GRID.shape[1])
    wanted, inside = GRID.index(torch.tensor(place[None, :2]))
    assert bool(inside)
    assert np.abs(np.array(found) - wanted[0].numpy()).max() <= 1  # half a bin, half a pixel


def test_the_scene_may_turn_and_the_map_turns_with_it():
    """Turned by 90 degrees on a square grid, the map is the turned map."""
    square = BEVGrid((-8.0, 8.0), (-8.0, 8.0), (1.0, 1.0))
    transform = LiftSplat(3, 4, square, (-9.0, 9.0), depths=(1.0, 6.0, 1.0))
    plain = rig(1, 3, augmented=False)
    turn = np.array([[[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]])
    given = features(1, 3)
    first, _ = transform(given, plain, IMAGE)
    second, _ = transform(given, replace(plain, lidar_aug=turn), IMAGE)
    # x' = -y, y' = x: row = y and column = x
    torch.testing.assert_close(second, first.transpose(2, 3).flip(3), atol=1e-5, rtol=0)


def test_a_missing_camera_leaves_no_trace():
    cameras, given = rig(2), features()
    present = np.array([[True, False], [True, True]])
    transform = made()
    bev, _ = transform(given, replace(cameras, present=present), IMAGE)
    changed = given.clone()
    changed[0, 1] += 5
    again, _ = transform(changed, replace(cameras, present=present), IMAGE)
    assert torch.equal(bev, again)
    whole, _ = transform(given, cameras, IMAGE)
    assert not torch.equal(bev[0], whole[0])
    torch.testing.assert_close(bev[1], whole[1])


def test_plans_are_kept_for_geometries_that_come_again():
    transform = made(plans=2)
    first = transform.plan(rig(seed=0), IMAGE, FEATURES)
    assert transform.plan(rig(seed=0), IMAGE, FEATURES) is first
    for seed in (1, 2):
        assert transform.plan(rig(seed=seed), IMAGE, FEATURES) is not first
    assert transform.plan(rig(seed=0), IMAGE, FEATURES) is not first
    assert len(transform._kept) == 2


def test_plans_belong_to_samples_as_well_as_to_cameras():
    """Two cameras of one sample and one camera of two have the same matrices and other cells."""
    whole = rig(1, 2, augmented=False)
    parts = (whole.intrinsics, whole.camera_from_lidar, whole.image_aug)
    split = Cameras(
        *(part.swapaxes(0, 1) for part in parts),
        lidar_aug=whole.lidar_aug.repeat(2, 0),
        present=whole.present.T,
    )
    transform = made()
    cells = transform.plan(whole, IMAGE, FEATURES).num_cells
    assert transform.plan(split, IMAGE, FEATURES).num_cells == 2 * cells


def test_half_precision_rounds_no_geometry():
    """Under --amp points lie in the same cells, and depth networks see the same cameras."""
    grid, seen = BEVGrid((-51.2, 51.2), (-51.2, 51.2), (0.8, 0.8)), []
    torch.manual_seed(0)
    transform = LiftSplat(3, 4, grid, (-5.0, 3.0), depths=(1.0, 60.0, 0.5), plans=0)
    transform.depth_net.register_forward_hook(lambda _m, given, _out: seen.append(given[1]))
    exact = transform.plan(rig(2, 2), IMAGE, FEATURES)
    with torch.autocast("cpu", torch.bfloat16):
        half = transform.plan(rig(2, 2), IMAGE, FEATURES)
        transform(features().bfloat16(), rig(2, 2), IMAGE)
    assert torch.equal(half.cells, exact.cells)
    assert seen[0].dtype == torch.float32
    np.testing.assert_allclose(seen[0], rig(2, 2).numbers().reshape(4, -1), rtol=1e-6)


def test_true_depth_puts_all_at_the_measured_bin():
    cameras, given = rig(2), features()
    transform = made(TrueDepth, blind="nothing")
    measured = torch.zeros(2, 2, *FEATURES)
    measured[1, 0, 2, 3] = 4.2
    bev, depth, _ = parts(transform, given, cameras, measured)
    assert int((depth > 0).sum()) == 1
    assert depth[2, 3, 2, 3] == 1
    assert not bev[0].any()
    _, mixed, _ = parts(made(TrueDepth, mix=0.7), given, cameras, measured)
    _, guessed, _ = parts(made(), given, cameras)
    torch.testing.assert_close(mixed[0], guessed[0])
    assert mixed[2, 3, 2, 3] >= 0.7
    torch.testing.assert_close(mixed.sum(1), torch.ones_like(mixed.sum(1)))


def test_the_guess_beside_true_depth_is_taught_as_any_other():
    """Of what is measured it was sure, and there was nothing to learn for the cells without."""
    measured = torch.zeros(2, 2, *FEATURES)
    measured[1, 0, 2, 3] = 4.2
    grads = []
    for kind in (LiftSplat, TrueDepth):
        transform = made(kind, depth_weight=3.0)
        _, guess = transform(features(), rig(2), IMAGE, measured)
        transform.loss(guess, measured)["loss_depth"].backward()
        grads.append(transform.depth_net.conv.weight.grad)
    assert torch.equal(*grads)
    assert grads[0].any()


def test_true_depth_without_a_measurement_says_so():
    with pytest.raises(ValueError, match="DepthTargets"):
        made(TrueDepth)(features(), rig(2), IMAGE)


def test_depth_loss_is_off_or_needs_measurements():
    _, guess = made()(features(), rig(2), IMAGE)
    assert made().loss(guess, None) == {}
    supervised = made(depth_weight=2.0)
    with pytest.raises(ValueError, match="depth_weight"):
        supervised.loss(guess, None)
    finer = torch.zeros(2, 2, 8, 12)
    assert supervised.loss(guess, finer)["loss_depth"] == 0
    finer[0, 0, 5, 7] = 3.0
    assert supervised.loss(guess, finer)["loss_depth"] > 0


def test_camera_aware_depth_follows_the_camera():
    settings = {"type": CameraAwareDepthNet, "mid_channels": 8, "blocks": 1, "dilations": (1, 2)}
    transform = made(depth_net=settings).eval()
    given, cameras = features(), rig(2)
    _, first, _ = parts(transform, given, cameras)
    longer = cameras.intrinsics.copy()
    longer[..., :2, :2] *= 2
    _, second, _ = parts(transform, given, replace(cameras, intrinsics=longer))
    assert (first - second).abs().max() > 1e-6
    transform.train()
    bev, _ = transform(given, cameras, IMAGE)
    bev.square().sum().backward()
    lacking = [name for name, p in transform.named_parameters() if p.grad is None]
    assert lacking == []
