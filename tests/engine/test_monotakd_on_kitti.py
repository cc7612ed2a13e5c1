# SPDX-License-Identifier: Apache-2.0
"""MonoTAKD's student: an image and its calibration are all it needs; real frames train it."""

from __future__ import annotations

import math
import shutil

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

CONFIGS = ROOT / "configs" / "monotakd"
METHODS = ("caddn_world_kitti", "cmkd_world_kitti", "monotakd_world_kitti")


def method_of(cfg):
    """The config's method or detector with random weights, teachers included."""
    for teacher in cfg.model.get("teachers", {}).values():
        teacher.checkpoint = "random"
    torch.manual_seed(0)
    return MODELS.build(cfg.model).train()


@pytest.mark.parametrize("name", ["monotakd_world_kitti", "chain_world_kitti"])
def test_without_depth_and_points_the_same_boxes(name, converted_world, tmp_path):
    """Scans, labels and depth maps are taken from the disk."""
    compat.apply()
    here = converted_world / "kitti"
    cfg = load_config(CONFIGS / f"{name}.py", data_root=str(here))
    method = method_of(cfg).eval()
    method.student.pts_bbox_head.test_cfg["score_thr"] = 0.0  # random weights are sure of nothing
    loader = cfg.test_dataloader.dataset
    with_lidar = {**loader, "pipeline": cfg.test_with_lidar}
    root = tmp_path / "kitti"
    (root / "training").mkdir(parents=True)
    shutil.copy(here / loader.ann_file, root)
    shutil.copytree(here / "training" / "image_2", root / "training" / "image_2")
    found = []
    for given in (with_lidar, {**loader, "data_root": str(root)}):
        frames = DATASETS.build(dict(given))
        batch = pseudo_collate([frames[0]])
        assert ("points" in batch["inputs"]) == (given is with_lidar)
        with torch.no_grad():
            found.append(method.test_step(batch)[0].pred_instances_3d)
    assert len(found[0].scores_3d) > 5
    assert torch.equal(found[0].bboxes_3d.tensor, found[1].bboxes_3d.tensor)
    assert torch.equal(found[0].scores_3d, found[1].scores_3d)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_one_step_on_real_drives(name, real_drives):
    compat.apply()
    cfg = load_config(CONFIGS / f"{name}.py", data_root=str(real_drives))
    dataset = cfg.train_dataloader.dataset
    dataset.dataset.data_prefix["pts"] = "training/velodyne_reduced"
    method, frames = method_of(cfg), DATASETS.build(dataset)
    batch = pseudo_collate([frames[Draw(0, 1)], frames[Draw(1, 2)]])
    assert sum(len(s.gt_instances_3d.labels_3d) for s in batch["data_samples"]) > 0
    for depth in batch["inputs"]["depth"]:
        assert (depth > 0).float().mean() > 0.3
    if name != "caddn_world_kitti":
        report = audit(method, batch)
        assert all(norms["student"] > 0 for norms in report.gradient_norms.values())
    losses = method.train_step(batch, Backward())
    assert all(math.isfinite(float(value)) for value in losses.values())
