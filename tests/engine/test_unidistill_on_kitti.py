# SPDX-License-Identifier: Apache-2.0
"""UniDistill's four paths with one camera: a training step each on real KITTI drives."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.dataset import pseudo_collate

from lidistill import compat
from lidistill.datasets.sampler import Draw
from lidistill.distill.audit import audit
from lidistill.engine.configs.read import load_config
from lidistill.registry import DATASETS, MODELS
from tests.conftest import ROOT
from tests.on_gpu import Backward

FRONT = (0.0, -19.2, -5.0, 38.4, 19.2, 3.0)
PATHS = ("lidar_to_camera", "camera_to_lidar", "fusion_to_lidar", "fusion_to_camera")


def in_front(detector):
    """The embedded world's detector, looking where KITTI's camera does."""
    detector.point_range = FRONT
    if "camera" in detector:
        detector.camera.view_transform.depths = (1.0, 43.0, 1.0)
    return detector


def standing(sample):
    """Velocities of zero: KITTI has none, and mmdet3d's CenterPoint head wants them."""
    boxes = sample.gt_instances_3d.bboxes_3d
    numbers = torch.cat([boxes.tensor, boxes.tensor.new_zeros(len(boxes), 2)], 1)
    sample.gt_instances_3d.bboxes_3d = type(boxes)(numbers, box_dim=9)


@pytest.fixture(scope="module")
def frames(real_drives):
    compat.apply()
    cfg = load_config(
        ROOT / "configs" / "monotakd" / "caddn_world_kitti.py", data_root=str(real_drives)
    )
    dataset = cfg.train_dataloader.dataset
    dataset.dataset.data_prefix["pts"] = "training/velodyne_reduced"
    for step in dataset.dataset.pipeline:
        if "point_cloud_range" in step:
            step.point_cloud_range = FRONT
        if "stride" in step:
            step.stride = 8  # of the depth targets, as the detectors' images
    return DATASETS.build(dataset)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_one_step_on_real_drives(path, frames):
    model = load_config(ROOT / "configs" / "evidence" / "unidistill.py").paths[path]
    in_front(model.student)
    in_front(model.teacher.model)
    model.teacher.checkpoint = "random"
    torch.manual_seed(0)
    method = MODELS.build(model).train()
    batch = pseudo_collate([frames[Draw(0, 1)], frames[Draw(1, 2)]])
    for sample in batch["data_samples"]:
        standing(sample)
    assert sum(len(sample.gt_instances_3d.labels_3d) for sample in batch["data_samples"]) > 0
    report = audit(method, batch)
    for term in ("feature", "relation", "response"):
        assert report.gradient_norms[term]["student"] > 0
    losses = method.train_step(batch, Backward())
    assert all(math.isfinite(float(value)) for value in losses.values())
