# SPDX-License-Identifier: Apache-2.0
"""The scores of tables on real drives, on a root of two frames."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from lidistill.engine.configs.read import load_config
from lidistill.evidence.real import VARIABLE, RealFolds
from lidistill.evidence.scores import SCORES, Trained
from tests.kitti_roots import semantic_root


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, converted_world: Path) -> Trained:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    semantic_root(converted_world / "kitti", tmp_path / "semantic_kitti", ("00", "08"), scans=1)
    root = RealFolds(sequences=("08", "00")).root()
    cfg = load_config("configs/slidr/real_pretrain.py", data_root=str(root))
    cfg.model.teacher.model.update(weights="random", width=0.25, levels=(4, 8))
    cfg.test_cfg.settings.update(steps=5)
    return Trained(cfg, None, tmp_path, root, seed=0)


@pytest.mark.slow
def test_the_teacher_on_regions_and_the_student_on_points(trained: Trained) -> None:
    found = SCORES["teacher regions"](trained, ())
    assert 0 <= found["value"] <= 1
    assert 0.3 < found["cost"]["purity"] <= 1
    assert "mean over each superpixel" in found["protocol"]
    scored = {name for name, iou in found["per_class"].items() if iou == iou}
    assert scored <= {"road", "car", "building"}  # the labels that semantic_root makes up
    before = copy.deepcopy(trained.cfg.model.teacher.model)
    points = SCORES["own probe"](trained, ())
    assert points["n"] > found["n"]
    assert trained.cfg.model.teacher.model == before
