# SPDX-License-Identifier: Apache-2.0
"""The four paths on real nuScenes keyframes: data in, one training step, every term teaches."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from mmengine.dataset import pseudo_collate

from lidistill import compat
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.datasets.sampler import Draw
from lidistill.distill.audit import audit
from lidistill.engine.configs.read import load_config
from lidistill.registry import DATASETS, MODELS
from tests.conftest import ROOT
from tests.on_gpu import Backward


@pytest.fixture(scope="module")
def real_root(realdata_dir, tmp_path_factory):
    root = tmp_path_factory.mktemp("real_nuscenes")
    for part in (realdata_dir / "nuscenes").iterdir():
        if part.is_dir():
            shutil.copytree(part, root / part.name, copy_function=shutil.copyfile)
    convert_nuscenes(root, "v1.0-trainval")
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["lidar_to_camera", "camera_to_lidar", "fusion_to_lidar", "fusion_to_camera"]
)
def test_one_step(path, real_root):
    compat.apply()
    config = ROOT / "configs" / "unidistill" / f"{path}_world.py"
    cfg = load_config(config, data_root=str(real_root))
    cfg.model.teacher.checkpoint = "random"
    torch.manual_seed(0)
    method = MODELS.build(cfg.model).train()
    frames = DATASETS.build(cfg.train_dataloader.dataset)
    batch = pseudo_collate([frames[Draw(0, 1)], frames[Draw(len(frames) - 1, 2)]])
    report = audit(method, batch)
    assert report.coverage["boxes"] > 0
    for term in ("feature", "relation", "response"):
        assert report.gradient_norms[term]["student"] > 0
    losses = method.train_step(batch, Backward())
    assert all(math.isfinite(float(value)) for value in losses.values())
