# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's data sets under seeded draws; boxes without points; points beside the image."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from lidistill import compat
from lidistill.converters.infos import load_infos
from lidistill.datasets.detections import (
    DropEmptyBoxes,
    KeepPointsInImage,
    SeededDetections,
    seeded,
)
from lidistill.datasets.sampler import Draw

compat.apply()
from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints  # noqa: E402


class Foreign(Dataset):
    """Draws from every global generator, as mmdet3d's transforms do; sample 2 has no box."""

    metainfo = {"classes": ("car",)}  # noqa: RUF012

    def __len__(self):
        return 6

    def get_data_info(self, index):
        return {"scene_name": f"scene-{index // 2}"}

    def prepare_data(self, index):
        drawn = (random.random(), np.random.rand(), float(torch.rand(())))  # noqa: NPY002
        return None if index == 2 else (index, drawn)


def test_a_draw_decides_everything():
    frames = SeededDetections(Foreign())
    assert frames[Draw(1, 5)] == frames[Draw(1, 5)]
    assert frames[Draw(1, 5)][1] != frames[Draw(1, 6)][1]
    assert len(set(frames[Draw(1, 5)][1])) == 3
    assert frames.metainfo == {"classes": ("car",)}


def test_global_generators_are_left_as_they_were():
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
    with pytest.raises(KeyError), seeded(2**40):
        raise KeyError(random.random() + np.random.rand() + torch.rand(()))  # noqa: NPY002
    after = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
    assert states == after


def test_a_sample_without_boxes_gives_way():
    frames = SeededDetections(Foreign())
    assert frames[Draw(2, 0)] == frames[Draw(2, 0)]
    assert {frames[Draw(2, seed)][0] for seed in range(40)} == {0, 1, 3, 4, 5}
    only = Foreign()
    only.prepare_data = lambda index: None
    with pytest.raises(ValueError, match="no sample"):
        SeededDetections(only)[Draw(0, 0)]


def test_the_frame_behind_a_stretch_without_boxes_is_drawn_no_more_often():
    drive = Foreign()
    drive.__class__ = type("Drive", (Foreign,), {"__len__": lambda self: 100})
    drive.prepare_data = lambda index: None if 20 <= index < 60 else index
    frames = SeededDetections(drive)
    drawn = [frames[Draw(row, row)] for row in range(100)]
    counts = np.bincount(drawn, minlength=100)
    assert counts[20:60].sum() == 0
    assert counts.max() <= 6  # one of its own, 40 spread over 60; in order frame 60 would have 41


@pytest.mark.parametrize("minimum", [1, 5])
def test_empty_boxes_are_dropped(minimum):
    rng = np.random.default_rng(0)
    boxes = np.concatenate(
        [rng.uniform(-5, 5, (40, 3)), rng.uniform(0.2, 1.5, (40, 3)), rng.uniform(-3, 3, (40, 1))],
        axis=1,
    ).astype(np.float32)
    points = rng.uniform(-5, 5, (3000, 4)).astype(np.float32)
    results = {
        "points": LiDARPoints(torch.from_numpy(points), points_dim=4),
        "gt_bboxes_3d": LiDARInstance3DBoxes(torch.from_numpy(boxes)),  # z is the bottom
        "gt_labels_3d": np.arange(40),
    }
    expected = []
    for index, (x, y, z, length, width, height, yaw) in enumerate(boxes.astype(float)):
        count = 0
        for px, py, pz in points[:, :3].astype(float):
            along = (px - x) * np.cos(yaw) + (py - y) * np.sin(yaw)
            across = (py - y) * np.cos(yaw) - (px - x) * np.sin(yaw)
            inside = abs(along) <= length / 2 and abs(across) <= width / 2
            count += inside and z <= pz <= z + height
        if count >= minimum:
            expected.append(index)
    kept = DropEmptyBoxes(minimum)(results)
    assert kept["gt_labels_3d"].tolist() == expected
    assert 0 < len(expected) < 40
    np.testing.assert_array_equal(kept["gt_bboxes_3d"].tensor.numpy(), boxes[expected])
    nothing = {**results, "gt_bboxes_3d": results["gt_bboxes_3d"][:0]}
    assert len(DropEmptyBoxes()(nothing)["gt_bboxes_3d"]) == 0


def test_points_beside_the_image_go(converted_world):
    root = converted_world / "kitti"
    frame = load_infos(root / "kitti_infos_train.pkl").frames[0]
    path = root / "training/velodyne" / frame["lidar_points"]["lidar_path"]
    points = np.fromfile(path, np.float32).reshape(-1, 4)
    results = {"points": LiDARPoints(torch.from_numpy(points), points_dim=4), **frame}
    kept = KeepPointsInImage()(results)["points"].tensor.numpy()
    image = frame["images"]["CAM2"]
    matrix = np.array(image["lidar2img"])
    expected = []
    for row in points[::50].astype(float):
        u, v, depth = (matrix @ [*row[:3], 1])[:3]
        if 0 < depth < 100 and 0 < u / depth < image["width"] and 0 < v / depth < image["height"]:
            expected.append(row)
    assert 0.05 * len(points) < len(kept) < 0.4 * len(points)
    np.testing.assert_allclose(KeepPointsInImage()(
        {"points": LiDARPoints(torch.from_numpy(points[::50].copy()), points_dim=4), **frame}
    )["points"].tensor.numpy(), np.array(expected), rtol=1e-6)  # fmt: skip


def test_scenes():
    assert SeededDetections(Foreign(), scenes=1).indices == [4, 5]  # the authors' rule: the n-th
    assert SeededDetections(Foreign(), scenes=["scene-2"]).indices == [4, 5]
    unnamed = Foreign()
    unnamed.get_data_info = lambda index: {}
    with pytest.raises(ValueError, match="create_data"):
        SeededDetections(unnamed, scenes=1)


def test_unlabelled_frames_are_kept_without_their_labels(converted_world):
    from lidistill.engine.configs.read import load_config

    cfg = load_config(
        "configs/detection/pointpillars_world.py", data_root=str(converted_world / "kitti")
    )
    dataset = dict(cfg.train_dataloader.dataset.dataset)
    whole = SeededDetections(copy.deepcopy(dataset))
    part = SeededDetections(copy.deepcopy(dataset), labelled=0.5)
    everything = SeededDetections(copy.deepcopy(dataset), labelled=1.0)
    assert sum(part.labelled) == round(0.5 * len(whole))
    assert all(everything.labelled)
    twin = SeededDetections(copy.deepcopy(dataset), labelled=0.5, keep_unlabelled=False)
    assert all(twin.labelled)
    assert twin.indices == [part.indices[row] for row in np.flatnonzero(part.labelled)]
    for row, known in enumerate(part.labelled):
        full, found = whole[Draw(row, 5)], part[Draw(row, 5)]
        if known:
            assert torch.equal(found["inputs"]["points"], full["inputs"]["points"])
            boxes = found["data_samples"].gt_instances_3d.bboxes_3d.tensor
            assert torch.equal(boxes, full["data_samples"].gt_instances_3d.bboxes_3d.tensor)
        else:
            assert "gt_instances_3d" not in found["data_samples"]
            assert len(found["data_samples"].no_instances_3d.bboxes_3d) == 0
    assert part.dataset.filter_empty_gt
