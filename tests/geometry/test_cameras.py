# SPDX-License-Identifier: Apache-2.0
"""The chain of a camera's matrices, and the frustum's cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.cameras import Cameras
from lidistill.geometry.frustum import batch_cells, frustum_pixels, frustum_points
from tests.models.view_transforms.rig import rig


def test_convention_one_matrix_a_camera():
    """A recorded point, augmented, is seen where the recorded pixel goes when it is augmented."""
    cameras = rig(2, 3)
    point = np.array([4.0, 1.0, 0.5, 1.0])
    for b, n in np.ndindex(2, 3):
        seen = cameras.intrinsics[b, n] @ cameras.camera_from_lidar[b, n] @ point
        aug = cameras.image_aug[b, n][:2, :3] @ [*(seen[:2] / seen[2]), 1.0]
        u, v, d, one = cameras.image_from_lidar[b, n] @ (cameras.lidar_aug[b] @ point)
        np.testing.assert_allclose([u / d, v / d, d, one], [*aug, seen[2], 1.0])


def test_lifting_undoes_projection():
    cameras = rig(2, 3)
    pixels = frustum_pixels((32, 48), (2, 3))
    depths = torch.tensor([2.0, 7.0])
    matrices = cameras.lidar_from_image().reshape(-1, 3, 4)
    points = frustum_points(matrices, pixels, depths)
    back = cameras.image_from_lidar.reshape(-1, 4, 4)
    for m, d, row, column in np.ndindex(6, 2, 2, 3):
        u, v, depth, _ = back[m] @ [*points[:, m, d, row, column].tolist(), 1.0]
        np.testing.assert_allclose(
            [u / depth, v / depth, depth], [*pixels[row, column].tolist(), depths[d]], rtol=1e-4
        )


def test_convention_feature_cells_look_at_their_centres():
    pixels = frustum_pixels((32, 48), (4, 6))
    assert pixels[0, 0].tolist() == [3.5, 3.5]  # pixels 0 to 7
    assert pixels[3, 5].tolist() == [43.5, 27.5]
    edges = frustum_pixels((32, 48), (4, 6), compat=True)
    assert edges[3, 5].tolist() == [47.0, 31.0]


def test_cells_of_a_batch_follow_one_another():
    cameras, grid = rig(2, 2, augmented=False), BEVGrid((-9.0, 9.0), (-6.0, 6.0), (1.0, 0.5))
    pixels, depths = frustum_pixels((32, 48), (4, 6)), torch.arange(1.0, 8.0)
    one = cameras.lidar_from_image()
    cells = batch_cells(one, cameras.present, pixels, depths, grid, (-2.0, 2.0))
    first, second = cells[:2], cells[2:]
    assert int(first.max()) < grid.shape[0] * grid.shape[1]
    assert torch.equal(torch.where(second < 0, -1, second - 24 * 18), first)


def test_samples_without_cameras_are_named():
    with pytest.raises(ValueError, match="sample 0 of the batch has no cam2img"):
        Cameras.of_samples([{}])
    one = {key: np.tile(np.eye(4), (2, 1, 1)) for key in ("cam2img", "lidar2cam", "img_aug_matrix")}
    other = {key: value[:1] for key, value in one.items()}
    with pytest.raises(ValueError, match="one N for the batch"):
        Cameras.of_samples([one, other])


def test_numbers_are_those_of_bevdepth():
    cameras = rig(1, 2)
    numbers = cameras.numbers()
    assert numbers.shape == (1, 2, 27)
    assert numbers[0, 0, :4].tolist() == [40.0, 40.0, 24.0, 16.0]
    np.testing.assert_allclose(numbers[0, 1, 4:10], cameras.image_aug[0, 1, :2, :3].ravel(), 1e-6)
    pose = np.linalg.inv(cameras.camera_from_lidar[0, 1])[:3]
    np.testing.assert_allclose(numbers[0, 1, 15:], pose.ravel(), atol=1e-6)
