# SPDX-License-Identifier: Apache-2.0
"""Outer product and frustum-to-voxel reading against the authors' own, both our ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill.geometry.depth_scale import DepthScale
from lidistill.geometry.voxel_frustum import (
    feature_places,
    frustum_places,
    sample_grid,
    voxel_centres,
)
from lidistill.ops.bev.frustum_read import (
    frustum_plan,
    frustum_volume,
    read_frustum,
    sample_volume,
)
from tests.conftest import parity_files


@pytest.mark.parametrize("path", parity_files("monotakd", "frustum_outer*.npz"))
def test_outer_product(path):
    data = np.load(path)
    features = torch.from_numpy(data["image_features"]).requires_grad_()
    logits = torch.from_numpy(data["depth_logits"]).requires_grad_()
    volume = frustum_volume(features, logits.softmax(1)[:, :-1])
    np.testing.assert_allclose(volume.detach(), data["frustum_student"], rtol=1e-4, atol=1e-5)
    loss = (volume * torch.from_numpy(data["cot_student"])).sum()
    grads = torch.autograd.grad(loss, [features, logits])
    np.testing.assert_allclose(grads[0], data["grad_image_features"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grads[1], data["grad_depth_logits"], rtol=1e-4, atol=1e-5)
    chosen = torch.nn.functional.one_hot(torch.from_numpy(data["target_bin"]), 121)
    true = frustum_volume(features.detach(), chosen.permute(0, 3, 1, 2)[:, :-1].float())
    np.testing.assert_allclose(true, data["frustum_ta"], rtol=1e-5)
    np.testing.assert_allclose(true.sum(2), data["frustum_ta_nonzero_sum"], rtol=1e-5, atol=1e-6)


def read(path):
    data = np.load(path)
    size = tuple(int(n) for n in data["image_shape"].max(axis=0))
    centres = voxel_centres(data["pc_range"].tolist(), data["grid_size"].tolist())
    places = []
    for camera, projection in zip(data["lidar_to_cam"], data["cam_to_img"], strict=True):
        matrix = torch.from_numpy(projection.astype(float) @ camera.astype(float))
        places.append(frustum_places(centres, matrix, DepthScale(), float(projection[2, 3])))
    return data, size, places


@pytest.mark.parametrize("path", parity_files("monotakd", "frustum_to_voxel*.npz"))
def test_reference_path(path):
    data, size, places = read(path)
    grid = torch.stack([sample_grid(one, size, 120) for one in places])
    expected = data["sample_grid"]
    ours = grid.float().numpy()
    np.testing.assert_array_equal(ours == -2, expected == -2)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
    volume = torch.from_numpy(data["frustum_i8"].astype(np.float32) / 8).requires_grad_()
    voxels = sample_volume(volume, grid)
    np.testing.assert_allclose(voxels.detach(), data["voxel_features"], rtol=1e-3, atol=2e-3)
    (grad,) = torch.autograd.grad((voxels * torch.from_numpy(data["cot"])).sum(), volume)
    np.testing.assert_allclose(grad, data["grad_frustum"], atol=2e-3)
    assert grad.sum().item() == pytest.approx(float(data["grad_frustum_sum"]), abs=1e-2)
    assert grad.square().sum().item() == pytest.approx(float(data["grad_frustum_sqsum"]), rel=1e-4)


@pytest.mark.parametrize("path", parity_files("monotakd", "frustum_to_voxel*.npz"))
def test_sparse_reading_is_the_reference_path(path):
    """Any frustum is a sum of outer products: channel by bin, the sparse way reads each."""
    data, size, places = read(path)
    volume = torch.from_numpy(data["frustum_i8"].astype(np.float32) / 8)  # (B, C, D, h, w)
    batch, channels, bins, height, width = volume.shape
    cells = [feature_places(one, size, (height, width), bins, compat=True) for one in places]
    plan = frustum_plan(list(enumerate(cells)), (height, width), bins, batch)
    for channel in range(channels):
        depth = volume[:, channel].clone().requires_grad_()
        ones = torch.ones(batch, 1, height, width)
        voxels = read_frustum(ones, depth, plan)
        expected = data["voxel_features"][:, channel : channel + 1]
        np.testing.assert_allclose(voxels.detach(), expected, rtol=1e-3, atol=2e-3)
        cot = torch.from_numpy(data["cot"][:, channel : channel + 1])
        (grad,) = torch.autograd.grad((voxels * cot).sum(), depth)
        np.testing.assert_allclose(grad, data["grad_frustum"][:, channel], atol=2e-3)
