# SPDX-License-Identifier: Apache-2.0
"""Made-up batches have points of the width that the pipeline gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lidistill import compat
from lidistill.engine.configs.read import load_config
from lidistill.engine.synthetic import made_up, point_numbers, synthetic_batch

ROOT = Path(__file__).resolve().parents[2]


def test_numbers_of_a_point():
    """Those that the last step leaves: sweeps are read after the keyframe, and choose."""
    keyframe, sweeps = dict(load_dim=5, use_dim=5), dict(sweeps_num=9, use_dim=[0, 1, 2, 4])
    assert point_numbers(dict(pipeline=[keyframe])) == 5
    assert point_numbers(dict(dataset=dict(pipeline=[keyframe, sweeps]))) == 4
    assert point_numbers(dict(pipeline=[dict(type="Other")])) == 4


@pytest.mark.parametrize(("data", "numbers"), [("kitti", 4), ("nuscenes", 4), ("world", 4)])
def test_points_of_a_config(data, numbers):
    cfg = load_config(ROOT / f"configs/detection/pointpillars_{data}.py")
    compat.apply()
    cfg.point_range = (0, -40, -3, 70, 40, 1)
    for cloud in synthetic_batch(cfg, nn.Linear(1, 1), 400)["inputs"]["points"]:
        assert cloud.shape == (400, numbers)


def test_crops_of_made_up_images():
    cfg = load_config(ROOT / "configs/slidr/demo_teacher.py")
    batch = made_up(cfg, nn.Linear(1, 1), 10)["inputs"]
    assert batch.batch_size == 2
    assert batch.views.shape == (2, 2, 3, 96, 160)
    assert batch.rowcol.shape == (2, 512, 2)
    assert torch.isfinite(batch.views).all()
