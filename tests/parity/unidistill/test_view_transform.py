# SPDX-License-Identifier: Apache-2.0
"""Lift-splat beside BEVDet's and BEVDepth's own results."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill.geometry.cameras import Cameras
from lidistill.geometry.frustum import frustum_pixels, frustum_points
from lidistill.ops.bev.pool import bev_pool, pool_plan
from tests.conftest import parity_files

FIXTURES = parity_files("unidistill", "lss_*.npz")


def to_4x4(rotation, shift=None):
    full = np.tile(np.eye(4), (*rotation.shape[:2], 1, 1))
    full[..., :3, :3] = rotation
    if shift is not None:
        full[..., :3, 3] = shift
    return full


def cameras_of(data) -> Cameras:
    """The fixture's matrices in our words; theirs shift pixels in the last column."""
    if "sensor2ego" in data:
        pose, intrinsics = data["sensor2ego"], data["intrinsics"]
        shifted, turn = data["ida"], data["bda"]
    else:
        pose = to_4x4(data["cam_to_ego_rot"], data["cam_to_ego_trans"])
        intrinsics = to_4x4(data["intrinsics"])
        shifted = to_4x4(data["post_rot"], data["post_trans"])
        turn = np.tile(np.eye(4), (len(pose), 1, 1))
    aug = np.tile(np.eye(4), (*shifted.shape[:2], 1, 1))
    aug[..., :2, :2] = shifted[..., :2, :2]
    aug[..., :2, 2] = shifted[..., :2, 3]
    pose, turn = pose.astype(np.float64), turn.astype(np.float64)
    present = np.ones(pose.shape[:2], bool)
    return Cameras(intrinsics.astype(np.float64), np.linalg.inv(pose), aug, turn, present)


@pytest.mark.parametrize("path", FIXTURES)
def test_points_stand_where_theirs_do(path):
    data = dict(np.load(path))
    frustum = torch.from_numpy(data["frustum"])  # (D, h, w, 3 or 4)
    pixels = frustum_pixels((64, 96), tuple(frustum.shape[1:3]), compat=True)
    torch.testing.assert_close(pixels, frustum[0, ..., :2])
    matrix = cameras_of(data).lidar_from_image()
    points = frustum_points(matrix.reshape(-1, 3, 4), pixels, frustum[:, 0, 0, 2])
    wanted = torch.from_numpy(data["geometry"]).flatten(0, 1)[..., :3].movedim(-1, 0)
    torch.testing.assert_close(points, wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("path", FIXTURES)
def test_pooled_map_and_gradients(path):
    data = dict(np.load(path))
    index = torch.from_numpy(data["cell_index"].astype(np.int64))  # (B, N, D, h, w, 3) x y z
    batch = len(index)
    wanted = torch.from_numpy(data["bev_sum_float64"])
    channels = data["context"].shape[1]
    slices, rows, columns = wanted.shape[1] // channels, wanted.shape[2], wanted.shape[3]
    z = index[..., 2] if slices > 1 else torch.zeros_like(index[..., 2])
    sample = torch.arange(batch)[:, None, None, None, None]
    cells = ((sample * slices + z) * rows + index[..., 1]) * columns + index[..., 0]
    kept = torch.from_numpy(data["kept"]).view(cells.shape)
    cells = torch.where(kept, cells, -1).flatten(0, 1)
    logits = torch.from_numpy(data["depth_logit"]).requires_grad_()
    context = torch.from_numpy(data["context"]).requires_grad_()
    plan = pool_plan(cells, batch * slices * rows * columns)
    pooled = bev_pool(logits.softmax(1), context, plan)
    bev = pooled.view(batch, slices, rows, columns, channels).permute(0, 1, 4, 2, 3).flatten(1, 2)
    torch.testing.assert_close(bev.double(), wanted, atol=1e-5, rtol=0)
    original = torch.from_numpy(data.get("bev_original", data["bev_sum_float64"])).float()
    torch.testing.assert_close(bev, original, atol=5e-6, rtol=0)
    (bev * torch.from_numpy(data["cotangent"])).sum().backward()
    for leaf, name in ((logits, "grad_depth_logit"), (context, "grad_context")):
        theirs = torch.from_numpy(data[name])
        torch.testing.assert_close(leaf.grad, theirs, atol=1e-6, rtol=1e-5)
