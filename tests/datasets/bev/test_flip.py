# SPDX-License-Identifier: Apache-2.0
"""Mirroring of image and scene together: every point stays on its picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill import compat
from lidistill.datasets.bev.cameras import AugmentImages
from lidistill.datasets.bev.depth_maps import sparse_depth
from lidistill.datasets.bev.flip import FlipView
from lidistill.datasets.bev.privileged import DepthImages, ObjectDepths
from lidistill.geometry.cameras import Cameras

compat.apply()
from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints  # noqa: E402

HW = (32, 48)
# P2 with an off-centre principal point and a shift, as KITTI's
INTRINSICS = np.array([[40.0, 0, 19, 4.5], [0, 40, 14, 0.2], [0, 0, 1, 0.003], [0, 0, 0, 1]])
POSE = np.array([[0.0, -1, 0, 0.06], [0, 0, -1, -0.08], [1, 0, 0, -0.27], [0, 0, 0, 1]])


def sample():
    """Each point is drawn into its pixel with a colour of its own."""
    rng = np.random.default_rng(0)
    points = rng.uniform((4, -4, -2), (25, 4, 2), (40, 3)).astype(np.float32)
    image = np.zeros((*HW, 3), np.uint8)
    results = {
        "img": [image],
        "cam2img": INTRINSICS[None],
        "lidar2cam": POSE[None],
        "img_aug_matrix": np.eye(4)[None].copy(),
        "cam_present": np.ones(1, bool),
        "points": LiDARPoints(torch.from_numpy(points.copy())),
        "gt_bboxes_3d": LiDARInstance3DBoxes(torch.tensor([[10.0, 2, -1, 4, 2, 1.5, 0.3]])),
    }
    for k, (u, v) in enumerate(pixels(results)):
        if 0 <= v < HW[0] and 0 <= u < HW[1]:
            image[v, u] = k + 1
    return results


def pixels(results):
    matrix = Cameras.of_samples([results]).image_from_lidar[0, 0]
    xyz = results["points"].tensor.double().numpy()
    seen = xyz @ matrix[:3, :3].T + matrix[:3, 3]
    return np.rint(seen[:, :2] / seen[:, 2:]).astype(int)


def shown(results):
    """The colour under each point, 0 outside."""
    image = results["img"][0]
    rows, columns = image.shape[:2]
    return [
        int(image[v, u, 0]) if 0 <= v < rows and 0 <= u < columns else 0 for u, v in pixels(results)
    ]


def test_points_stay_on_their_pixels():
    before = sample()
    colours = shown(before)
    assert sum(colour > 0 for colour in colours) > 15
    after = FlipView(1.0)(sample())
    assert shown(after) == colours
    np.testing.assert_array_equal(after["img"][0], before["img"][0][:, ::-1])
    box, moved = (r["gt_bboxes_3d"].tensor[0].numpy() for r in (before, after))
    np.testing.assert_allclose(moved, box * [1, -1, 1, 1, 1, 1, -1], atol=1e-6)
    np.testing.assert_array_equal(after["cam2img"], before["cam2img"])


def test_depth_maps_are_mirrored_alike():
    before, after = sample(), FlipView(1.0)(sample())
    maps = [
        sparse_depth(r["points"].tensor.numpy(), Cameras.of_samples([r]).image_from_lidar[0, 0], HW)
        for r in (before, after)
    ]
    same = np.isclose(maps[0][:, ::-1], maps[1], atol=1e-4)
    assert same.mean() > 0.995  # a point on a pixel's edge may fall to either side
    with_depth = sample() | {"depth": maps[0][None]}
    np.testing.assert_array_equal(FlipView(1.0)(with_depth)["depth"][0], maps[0][:, ::-1])


@pytest.mark.parametrize("step", [ObjectDepths(stride=4), DepthImages()])
def test_a_teachers_maps_before_the_flip_are_those_behind_it(step):
    """Of which the cells at a border of an object may fall to its other side."""
    before, behind = FlipView(1.0)(step(sample())), step(FlipView(1.0)(sample()))
    key = next(key for key in ("object_depth", "depth_image") if key in before)
    same = np.isclose(np.stack(before[key]), np.stack(behind[key]), atol=1e-3)
    assert np.stack(before[key]).any()
    assert same.mean() > 0.97


def test_flip_scale_and_crop_together():
    """P2 is kept whole: a resized and cropped image still shows each point where it belongs."""
    results = FlipView(1.0)(AugmentImages(size=(24, 40), resize=(0.9, 0.9))(sample()))
    matrix = Cameras.of_samples([results]).image_from_lidar[0, 0]
    plain = Cameras.of_samples([sample()]).image_from_lidar[0, 0]
    xyz = sample()["points"].tensor.double().numpy()
    flat = xyz @ plain[:3, :3].T + plain[:3, 3]
    uv = flat[:, :2] / flat[:, 2:]
    affine = results["img_aug_matrix"][0][:2, :3]
    expected = uv @ affine[:, :2].T + affine[:, 2]
    moved = (xyz * [1, -1, 1]) @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(moved[:, :2] / moved[:, 2:], expected, atol=1e-6)


def test_share():
    assert shown(FlipView(0.0)(sample())) == shown(sample())
    with pytest.raises(ValueError, match="share"):
        FlipView(2)
