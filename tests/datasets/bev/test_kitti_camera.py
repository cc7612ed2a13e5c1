# SPDX-License-Identifier: Apache-2.0
"""KITTI's pipeline of one camera, out of the config: what belongs together stays together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill import compat
from lidistill.datasets.bev.privileged import DepthImages, ObjectDepths
from lidistill.datasets.detections import seeded
from lidistill.engine.configs.read import load_config
from lidistill.geometry.cameras import Cameras
from lidistill.registry import DATASETS, TRANSFORMS
from tests.conftest import ROOT

CONFIG = ROOT / "configs" / "monotakd" / "caddn_world_kitti.py"
AUGMENTED = {"resize": (0.27, 0.4), "cut_below": (0.0, 0.1)}  # of images of 375 x 1242


@pytest.fixture(scope="module")
def frame(converted_world):
    """The config, and the info of a frame with three cars or more."""
    compat.apply()
    cfg = load_config(CONFIG, data_root=str(converted_world / "kitti"))
    frames = DATASETS.build(cfg.train_dataloader.dataset).dataset
    infos = [frames.get_data_info(k) for k in range(len(frames))]
    best = max(infos, key=lambda info: len(info["ann_info"]["gt_labels_3d"]))
    assert len(best["ann_info"]["gt_labels_3d"]) >= 3
    return cfg, best


def walked(frame, flip, seed, options=AUGMENTED):
    """The sample before AugmentImages and behind the pipeline's last step but packing.

    Where a box's middle falls is painted in a shade of its own.
    """
    cfg, info = frame
    steps = [dict(step) for step in cfg.train_dataloader.dataset.dataset.pipeline]
    names = [step["type"].__name__ for step in steps]
    steps[names.index("AugmentImages")].update(options)
    steps[names.index("FlipView")].update(share=float(flip))
    drop = ("ObjectRangeFilter", "PointsRangeFilter", "DropEmptyBoxes", "PackBEV")
    results = {key: value for key, value in info.items()}
    before = {}
    with seeded(seed):
        for step, name in zip(steps, names, strict=True):
            if name in drop:
                continue
            if name == "AugmentImages":
                boxes = info["ann_info"]["gt_bboxes_3d"]
                before = projected(results, boxes.corners.flatten(0, 1).numpy())
                results["img"] = [painted(results, boxes)]
            results = TRANSFORMS.build(step)(results)
    return before, results


def projected(results, xyz):
    """(P, 3) u, v, depth."""
    matrix = Cameras.of_samples([results]).image_from_lidar[0, 0]
    seen = np.asarray(xyz, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    return np.concatenate([seen[:, :2] / seen[:, 2:], seen[:, 2:]], 1)


def painted(results, boxes):
    image = np.zeros_like(results["img"][0])
    for k, (u, v, _) in enumerate(projected(results, boxes.gravity_center.numpy())):
        row, column = round(v), round(u)
        image[max(row - 12, 0) : row + 13, max(column - 12, 0) : column + 13] = 60 + 20 * k
    return image


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_corners_points_and_pictures_agree(frame, flip, seed):
    before, results = walked(frame, flip, seed)
    after = projected(results, results["gt_bboxes_3d"].corners.flatten(0, 1).numpy())
    # depth along the axis is that of before; mirrored boxes count their corners in another order
    assert np.allclose(np.sort(after[:, 2]), np.sort(before[:, 2]), atol=1e-3)
    affine = results["img_aug_matrix"][0][:2, :3]
    moved = before[:, :2] @ affine[:, :2].T + affine[:, 2]
    for box in range(len(moved) // 8):
        rows = slice(8 * box, 8 * box + 8)
        gaps = np.linalg.norm(moved[rows, None] - after[None, rows, :2], axis=2)
        assert gaps.min(1).max() < 0.02  # pixels
        assert gaps.min(0).max() < 0.02
    # the picture itself: the shade painted at a box's middle is at its middle still
    shown = 0
    image = results["img"][0]
    centres = projected(results, results["gt_bboxes_3d"].gravity_center.numpy())
    for k, (u, v, _) in enumerate(centres):
        if 1 <= u < image.shape[1] - 2 and 1 <= v < image.shape[0] - 2:
            around = image[round(v) - 1 : round(v) + 2, round(u) - 1 : round(u) + 2, 0]
            shown += bool((np.abs(around.astype(int) - (60 + 20 * k)) < 3).any())
    assert shown >= 2
    assert results["cam2img"][0] == pytest.approx(np.asarray(frame[1]["images"]["CAM2"]["cam2img"]))


@pytest.mark.parametrize("flip", [False, True])
def test_depth_targets_are_those_of_the_moved_points(frame, flip):
    _, results = walked(frame, flip, 5)
    stride = frame[0].image_stride
    rows, columns = (side // stride for side in results["img"][0].shape[:2])
    expected = np.full((rows, columns), np.inf)
    for u, v, depth in projected(results, results["points"].tensor[:, :3].numpy()):
        row, column = int(np.floor((v + 0.5) / stride)), int(np.floor((u + 0.5) / stride))
        if 1 <= depth < 60 and 0 <= row < rows and 0 <= column < columns:
            expected[row, column] = min(expected[row, column], depth)
    expected[np.isinf(expected)] = 0
    same = np.isclose(results["depth"][0], expected, atol=1e-3)
    assert same.mean() > 0.995  # a point on a cell's edge may fall to either side
    assert (expected > 0).mean() > 0.3


def test_depths_of_objects(frame):
    """A cell in a box's rectangle has the depth of the nearest box that covers it."""
    _, results = walked(frame, True, 3)
    boxes, stride = results["gt_bboxes_3d"], 4
    found = ObjectDepths(stride)(results)["object_depth"][0]
    corners, centres = boxes.corners.numpy(), projected(results, boxes.gravity_center.numpy())
    expected = np.zeros_like(found)
    for row, column in np.ndindex(*found.shape):
        for k in range(len(boxes)):
            seen = projected(results, corners[k])
            low, high = (seen[:, :2].min(0) + 0.5) / stride, (seen[:, :2].max(0) + 0.5) / stride
            inside = low[0] < column + 1 and column < high[0] and low[1] < row + 1 and row < high[1]
            near = centres[k, 2]
            if near > 0 and inside and (expected[row, column] == 0 or near < expected[row, column]):
                expected[row, column] = near
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert 0 < (found > 0).mean() < 1
    results["gt_bboxes_3d"] = boxes[:0]
    assert not ObjectDepths(stride)(results)["object_depth"].any()


def test_images_of_depth(frame):
    _, results = walked(frame, False, 4)
    (image,) = DepthImages(far=50.0)(results)["depth_image"]
    assert image.shape == results["img"][0].shape
    assert image.dtype == np.float32
    hits = 0
    for u, v, depth in projected(results, results["points"].tensor[::50, :3].numpy()):
        row, column = int(np.floor(v + 0.5)), int(np.floor(u + 0.5))
        if depth > 1 and 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            nearer = 50 * (1 - image[row, column, 0] / 255)  # another point may stand before it
            assert nearer <= depth + 0.01 or depth > 50
            hits += abs(nearer - depth) < 0.05
    assert hits > 50
    results["cam_present"] = np.zeros(1, bool)
    assert not DepthImages()(results)["depth_image"][0].any()


def test_the_test_pipeline_reads_the_image_alone(frame):
    cfg, info = frame
    results = {**info, "lidar_path": "nowhere"}
    for step in cfg.test_dataloader.dataset.pipeline:
        results = TRANSFORMS.build(step)(results)
    assert set(results["inputs"]) == {"img"}
    assert results["inputs"]["img"].shape == (1, 3, *cfg.image_size)
    assert torch.is_tensor(results["inputs"]["img"])
