# SPDX-License-Identifier: Apache-2.0
"""Voxels out of images: the plan's sparse reading beside volume and trilinear reading."""

from __future__ import annotations

import pytest
import torch

from lidistill.geometry.depth_scale import DepthScale
from lidistill.geometry.voxel_frustum import (
    feature_places,
    frustum_places,
    sample_grid,
    voxel_centres,
)
from lidistill.ops.bev import frustum_read as module
from lidistill.ops.bev.frustum_read import (
    frustum_plan,
    frustum_volume,
    read_and_collapse,
    read_frustum,
    sample_volume,
)

HW, FEATURES, SCALE = (96, 160), (12, 20), DepthScale(count=24)
RANGE, GRID = (2.0, -12.0, -3.0, 30.0, 12.0, 1.0), (9, 7, 4)


def camera(turn=0.0):
    """(3, 4) image_from_lidar of a camera that looks along x, turned about z."""
    turn = torch.tensor(turn)
    cos, sin = turn.cos(), turn.sin()
    lidar = torch.tensor([[sin, -cos, 0, 0.1], [0, 0, -1, 0.2], [cos, sin, 0, -0.3]])
    intrinsics = torch.tensor([[90.0, 0, 79.5], [0, 90.0, 40.0], [0, 0, 1]])
    return intrinsics @ lidar


def made(turns=((0, 0.0), (1, 0.2)), samples=2, compat=True):
    centres = voxel_centres(RANGE, GRID)
    places = [frustum_places(centres, camera(turn), SCALE) for _, turn in turns]
    cells = [feature_places(p, HW, FEATURES, SCALE.count, compat) for p in places]
    numbers = [sample for sample, _ in turns]
    plan = frustum_plan(list(zip(numbers, cells, strict=True)), FEATURES, SCALE.count, samples)
    return places, plan


def inputs(images=2, dtype=torch.float32, channels=5):
    torch.manual_seed(0)
    features = torch.randn(images, channels, *FEATURES, dtype=dtype, requires_grad=True)
    logits = torch.randn(images, SCALE.count + 1, *FEATURES, dtype=dtype, requires_grad=True)
    return features, logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_voxels_and_gradients(dtype):
    places, plan = made()
    features, logits = inputs(dtype=dtype)
    depth = logits.softmax(1)[:, :-1]
    grid = torch.stack([sample_grid(p, HW, SCALE.count) for p in places])
    expected = sample_volume(frustum_volume(features, depth), grid)
    found = read_frustum(features, depth, plan)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert expected.abs().max() > 0.05
    cot = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * cot).sum(), [features, logits], retain_graph=True)
    ours = torch.autograd.grad((found * cot).sum(), [features, logits])
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, 512])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_collapsed_without_the_voxels(dtype, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    _, plan = made()
    features, logits = inputs(dtype=dtype)
    depth = logits.softmax(1)[:, :-1]
    weight = torch.randn(6, 5 * GRID[2], 1, 1, dtype=dtype, requires_grad=True)
    voxels = read_frustum(features, depth, plan)
    expected = torch.nn.functional.conv2d(voxels.flatten(1, 2), weight)
    found = read_and_collapse(features, depth, weight, plan)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    cot, leaves = torch.randn_like(expected), [features, logits, weight]
    wanted = torch.autograd.grad((expected * cot).sum(), leaves, retain_graph=True)
    ours = torch.autograd.grad((found * cot).sum(), leaves)
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)


def test_threads_change_nothing():
    """Bit by bit, forward and backward; but for torch's products behind the voxels."""
    _, plan = made(((0, 0.0), (0, 0.3)), samples=1)
    features, logits = inputs()
    weight = torch.randn(6, 5 * GRID[2], 1, 1, requires_grad=True)
    before, found, products = torch.get_num_threads(), [], []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            voxels = read_frustum(features, logits.softmax(1)[:, :-1], plan)
            mixed = read_and_collapse(features, logits.softmax(1)[:, :-1], weight, plan)
            grads = torch.autograd.grad(voxels.square().sum(), [features, logits])
            found.append((voxels, *grads))
            collapsed = torch.autograd.grad(mixed.square().sum(), [features, logits, weight])
            products.append(collapsed)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(products[1], products[0])
    torch.testing.assert_close(products[2], products[0])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_several_cameras_of_one_sample_add_up():
    turns = ((0, 0.0), (0, 0.3), (1, -0.3))
    _, plan = made(turns)
    features, logits = inputs(3)
    depth = logits.softmax(1)[:, :-1]
    found = read_frustum(features, depth, plan)
    alone = []
    for image, (_, turn) in enumerate(turns):
        _, single = made(((0, turn),), samples=1)
        alone.append(read_frustum(features[image : image + 1], depth[image : image + 1], single))
    torch.testing.assert_close(found, torch.cat([alone[0] + alone[1], alone[2]]))


def test_a_camera_that_sees_nothing_gives_zero_with_gradient():
    _, plan = made(((0, 3.14),), samples=1)
    assert len(plan.cells) == 0
    features, logits = inputs(1)
    out = read_frustum(features, logits.softmax(1)[:, :-1], plan)
    assert out.shape == (1, 5, GRID[2], GRID[1], GRID[0])
    out.sum().backward()
    assert (features.grad == 0).all()
    weight = torch.ones(3, 5 * GRID[2], requires_grad=True)
    read_and_collapse(features, logits.softmax(1)[:, :-1], weight, plan).sum().backward()
    assert (weight.grad == 0).all()


def test_exact_places_read_a_point_where_it_is():
    """A feature map that holds its own pixel coordinates returns a voxel's."""
    places, plan = made(((0, 0.0),), samples=1, compat=False)
    stride = HW[0] / FEATURES[0]
    v, u = torch.meshgrid(*(torch.arange(n) for n in FEATURES), indexing="ij")
    pixels = (torch.stack([u, v]).float() + 0.5) * stride - 0.5  # (2, h, w) centres of the cells
    found = read_frustum(pixels[None], torch.ones(1, SCALE.count, *FEATURES), plan)
    want = places[0].permute(3, 2, 1, 0)[:2].float()
    at = feature_places(places[0], HW, FEATURES, SCALE.count)
    limits = torch.tensor([FEATURES[1], FEATURES[0], SCALE.count]) - 1
    inside = ((at >= 0) & (at <= limits)).all(-1).permute(2, 1, 0)
    assert inside.sum() > 20
    torch.testing.assert_close(found[0][:, inside], want[:, inside], rtol=1e-4, atol=1e-2)


def test_shapes_that_do_not_fit():
    _, plan = made()
    features, logits = inputs()
    with pytest.raises(ValueError, match="the plan is for features"):
        read_frustum(features, logits, plan)
    with pytest.raises(ValueError, match="expected weight"):
        read_and_collapse(features, logits[:, :-1], torch.zeros(3, 7), plan)
    with pytest.raises(ValueError, match="one grid"):
        frustum_plan([], FEATURES, 24, 0)
