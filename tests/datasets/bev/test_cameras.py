# SPDX-License-Identifier: Apache-2.0
"""Loading of cameras, and augmentation that images, matrices, points and boxes all follow."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
import torch

from lidistill import compat

compat.apply()
from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints  # noqa: E402

from lidistill.datasets.bev.augment import AugmentBEV, move_scene  # noqa: E402
from lidistill.datasets.bev.cameras import AugmentImages, LoadCameras  # noqa: E402
from lidistill.datasets.bev.depths import DepthTargets, nearest_depths  # noqa: E402
from lidistill.datasets.bev.pack import PackBEV  # noqa: E402
from lidistill.datasets.detections import seeded  # noqa: E402
from lidistill.geometry.cameras import Cameras  # noqa: E402
from lidistill.geometry.frames import invert, make_transform, rotation_about_z  # noqa: E402
from lidistill.io import DataError  # noqa: E402

HEIGHT, WIDTH = 90, 160
LIDAR_FROM_CAMERA = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
NAMES = ("LEFT", "RIGHT")


def write_images(folder, names=NAMES, size=(HEIGHT, WIDTH)):
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for name in names:
        small = rng.integers(0, 255, (9, 16, 3), dtype=np.uint8)
        image = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{name}.png"), image)


def sample(folder, points=400):
    """A frame as mmdet3d's data set passes it on: two cameras, a cloud, boxes."""
    rng = np.random.default_rng(1)
    pose = make_transform(LIDAR_FROM_CAMERA, [0.2, 0.1, 0.3])
    views = {}
    for k, name in enumerate(NAMES):
        intrinsics = [[100.0, 0, 79.5], [0, 100.0, 44.5], [0, 0, 1]]
        views[name] = {
            "img_path": str(folder / f"{name}.png"),
            "cam2img": intrinsics,
            "lidar2cam": invert(rotation_about_z(0.8 - 1.6 * k) @ pose).tolist(),
            "height": HEIGHT,
            "width": WIDTH,
        }
    xyz = rng.uniform((-5, -20, -2), (30, 20, 2), (points, 3))
    cloud = np.concatenate([xyz, rng.random((points, 1))], 1).astype(np.float32)
    boxes = [[10.0, 3, -1, 4, 2, 1.5, 0.4, 1.0, 0.5], [6.0, -5, 0, 1, 1, 2, -2.0, 0.0, -1.0]]
    return {
        "sample_idx": 7,
        "token": "frame-7",
        "images": views,
        "points": LiDARPoints(torch.from_numpy(cloud), points_dim=4),
        "gt_bboxes_3d": LiDARInstance3DBoxes(torch.tensor(boxes), box_dim=9),
        "gt_labels_3d": np.array([0, 3]),
    }


@pytest.fixture
def frame(tmp_path):
    write_images(tmp_path)
    return sample(tmp_path)


def project(results, camera=0):
    """(P, 2) pixels and (P,) depths of all points, by the sample's own matrices."""
    matrix = Cameras.of_samples([results]).image_from_lidar[0, camera]
    xyz = results["points"].tensor[:, :3].double().numpy()
    u, v, d, _ = matrix @ np.concatenate([xyz, np.ones((len(xyz), 1))], 1).T
    return np.stack([u / d, v / d], 1), d


@pytest.mark.parametrize("seed", range(6))
def test_a_pixel_keeps_its_colour(frame, seed):
    """What a point saw in the stored image it sees in the augmented one: image and matrix agree."""
    loaded = LoadCameras(NAMES)(frame)
    before = [image.copy() for image in loaded["img"]]
    pixels = [project(loaded, k) for k in range(2)]
    step = AugmentImages((64, 96), resize=(0.6, 1.3), rotate=8.0, flip=0.5, cut_below=(0.0, 0.2))
    with seeded(seed):
        done = step(loaded)
    compared = 0
    for camera in range(2):
        old, new = pixels[camera], project(done, camera)
        np.testing.assert_allclose(old[1], new[1])  # depth does not change
        for (u, v), (u2, v2), d in zip(old[0], new[0], old[1], strict=True):
            inside = 4 < u < WIDTH - 5 and 4 < v < HEIGHT - 5 and 4 < u2 < 91 and 4 < v2 < 59
            if d <= 0 or not inside:
                continue
            one = read(before[camera], u, v)
            other = read(done["img"][camera], u2, v2)
            assert np.abs(one - other).max() < 12
            compared += 1
    assert compared > 15


def read(image, u, v):
    return cv2.remap(
        image, np.float32([[u]]), np.float32([[v]]), interpolation=cv2.INTER_LINEAR
    ).astype(float)


def test_a_test_covers_the_size_and_cuts_the_sky(frame):
    done = AugmentImages((64, 144))(LoadCameras(NAMES)(frame))
    assert {image.shape for image in done["img"]} == {(64, 144, 3)}
    scale = 0.9  # 144 / 160: 90 rows become 81, of which the lower 64 stay
    u, v = done["img_aug_matrix"][0][:2, :3] @ [80.0, 60.0, 1.0]
    assert u == pytest.approx(80.5 * scale - 0.5)
    assert v == pytest.approx(60.5 * scale - 0.5 - 17)
    same = AugmentImages((64, 144))(LoadCameras(NAMES)({**frame}))
    assert all(np.array_equal(a, b) for a, b in zip(done["img"], same["img"], strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_the_scene_moves_as_one(frame, seed):
    """Points, boxes and cameras: pixels, depths and membership in boxes stay."""
    loaded = LoadCameras(NAMES)(frame)
    centre = loaded["gt_bboxes_3d"].gravity_center
    loaded["points"].tensor[:2, :3] = centre
    before = [project(loaded, k) for k in range(2)]
    corners = loaded["gt_bboxes_3d"].corners.clone()
    velocity = loaded["gt_bboxes_3d"].tensor[:, 7:9].clone()
    step = AugmentBEV(45.0, (0.8, 1.2), 0.5, 0.5, (0.5, 0.5, 0.5))
    with seeded(seed):
        done = step(loaded)
    matrix = torch.from_numpy(done["lidar_aug_matrix"]).float()
    for camera in range(2):
        pixel, depth = project(done, camera)
        np.testing.assert_allclose(depth, before[camera][1], atol=1e-4)
        front = depth > 0.5
        np.testing.assert_allclose(pixel[front], before[camera][0][front], atol=0.05)
    torch.testing.assert_close(
        done["gt_bboxes_3d"].gravity_center, done["points"].tensor[:2, :3], atol=1e-4, rtol=0
    )
    moved = corners @ matrix[:3, :3].T + matrix[:3, 3]
    for one, other in zip(done["gt_bboxes_3d"].corners, moved, strict=True):
        assert torch.cdist(one, other).min(1).values.max() < 1e-3  # the same eight corners
    torch.testing.assert_close(
        done["gt_bboxes_3d"].tensor[:, 7:9], velocity @ matrix[:2, :2].T, atol=1e-5, rtol=0
    )


def test_moves_add_up(frame):
    first, second = rotation_about_z(0.3), np.diag([1.0, -1.0, 1.0, 1.0])
    twice = move_scene(move_scene(frame, first), second)
    np.testing.assert_allclose(twice["lidar_aug_matrix"], second @ first)


def test_nearest_depths_equal_a_loop():
    rng = np.random.default_rng(3)
    xyz = rng.uniform(-10, 10, (300, 3)).astype(np.float32)
    matrices = np.stack([np.eye(4), np.eye(4)])
    matrices[0, :2, :3], matrices[1, :2, :3] = [[20, 0, 16], [0, 20, 8]], [[-9, 2, 20], [1, 9, 9]]
    depth, hits = nearest_depths(xyz, matrices, (16, 32), 4, (1.0, 8.0))
    wanted, count = np.zeros((2, 4, 8)), np.zeros(2, int)
    for camera, point in ((c, p) for c in range(2) for p in xyz):
        u, v, d, _ = matrices[camera] @ [*point.astype(float), 1.0]
        if not 1 <= d < 8:
            continue
        column, row = int(np.floor((u / d + 0.5) / 4)), int(np.floor((v / d + 0.5) / 4))
        if 0 <= column < 8 and 0 <= row < 4:
            count[camera] += 1
            old = wanted[camera, row, column]
            wanted[camera, row, column] = d if old == 0 else min(old, d)
    np.testing.assert_allclose(depth, wanted, rtol=1e-6)
    assert hits.tolist() == count.tolist()
    assert count.min() > 0


def test_depths_do_not_change_with_the_scene(frame):
    loaded = AugmentImages((64, 96))(LoadCameras(NAMES)(frame))
    first = DepthTargets(stride=8)(loaded)["depth"].copy()
    assert first.shape == (2, 8, 12)
    assert (first > 0).any(axis=(1, 2)).all()
    moved = AugmentBEV(30.0, (0.9, 1.1), 1.0, 1.0)(loaded)
    np.testing.assert_allclose(DepthTargets(stride=8)(moved)["depth"], first, atol=1e-3)


def test_depths_that_would_not_follow_are_refused(frame):
    made = DepthTargets(8)(AugmentImages((64, 96))(LoadCameras(NAMES)(frame)))
    with pytest.raises(ValueError, match="depth would not follow the images"):
        AugmentImages((64, 96), flip=0.5)(made)


def test_a_calibration_that_points_nowhere_is_reported(frame, caplog):
    frame["images"]["RIGHT"]["lidar2cam"][2][3] = -500.0
    loaded = AugmentImages((64, 96))(LoadCameras(NAMES)(frame))
    with caplog.at_level(logging.WARNING, logger="lidistill.cameras"):
        step = DepthTargets(stride=8)
        step(loaded)
        step(loaded)
    (record,) = caplog.records
    assert "frame-7" in record.message
    assert "fall into RIGHT" in record.message
    assert "LEFT" not in record.message


def test_a_missing_camera_is_an_error_or_blank(frame, tmp_path):
    with pytest.raises(DataError, match="No image of REAR; the info file has LEFT, RIGHT"):
        LoadCameras((*NAMES, "REAR"))(dict(frame))
    (tmp_path / "RIGHT.png").unlink()
    with pytest.raises(DataError, match="missing='blank'"):
        LoadCameras(NAMES)(dict(frame))
    blank = LoadCameras(NAMES, missing="blank")(dict(frame))
    assert blank["cam_present"].tolist() == [True, False]
    assert not blank["img"][1].any()
    depth = DepthTargets(8)(AugmentImages((64, 96))(blank))["depth"]
    assert depth[0].any()
    assert not depth[1].any()


def test_images_of_another_size(frame, tmp_path):
    write_images(tmp_path, size=(45, 80))
    with pytest.raises(DataError, match="says 160 x 90 pixels, the image has 80 x 45"):
        LoadCameras(NAMES)(dict(frame))
    half = LoadCameras(NAMES, resized=True)(dict(frame))
    u, v = half["img_aug_matrix"][0][:2, :3] @ [79.5, 44.5, 1.0]  # the middle stays the middle
    assert (u, v) == (39.5, 22.0)


def test_earlier_keyframes_are_loaded_and_augmented_alike(frame):
    earlier = {"images": frame["images"], "from_present": np.eye(4)}
    with pytest.raises(DataError, match="wants 2 earlier keyframes, the data set gives 1"):
        LoadCameras(NAMES, history=2)({**frame, "history": [earlier]})
    loaded = LoadCameras(NAMES, history=1)({**frame, "history": [earlier]})
    assert len(loaded["img"]) == 4
    step = AugmentImages((64, 96), resize=(0.6, 1.3), rotate=8.0, flip=0.5)
    done = step(loaded)
    for camera in range(2):
        assert np.array_equal(done["img"][camera], done["img"][2 + camera])
    np.testing.assert_array_equal(done["history"][0]["img_aug_matrix"], done["img_aug_matrix"])


def test_packing(frame):
    loaded = DepthTargets(8)(AugmentImages((64, 96))(LoadCameras(NAMES)(frame)))
    packed = PackBEV()(loaded)
    assert packed["inputs"]["img"].shape == (2, 3, 64, 96)
    assert packed["inputs"]["img"].dtype == torch.uint8
    assert packed["inputs"]["depth"].shape == (2, 8, 12)
    assert len(packed["data_samples"].gt_instances_3d.labels_3d) == 2
    cameras = Cameras.of_samples([packed["data_samples"].metainfo])
    np.testing.assert_array_equal(
        cameras.image_from_lidar, Cameras.of_samples([loaded]).image_from_lidar
    )
    del loaded["depth"]
    with pytest.raises(ValueError, match="PackBEV has no depth"):
        PackBEV()(loaded)
    without = PackBEV(keys=("points", "img"))(loaded)
    assert set(without["inputs"]) == {"points", "img"}


def test_depths_need_images_of_one_size(frame):
    with pytest.raises(ValueError, match=r"AugmentImages\(size=...\)"):
        DepthTargets(7)(LoadCameras(NAMES)(frame))
