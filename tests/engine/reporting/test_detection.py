# SPDX-License-Identifier: Apache-2.0
"""A detector's report, and nuScenes' results file of a test, on the tiny world."""

from __future__ import annotations

import copy
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from lidistill import compat
from lidistill.cli import main
from lidistill.engine.configs.read import load_config
from lidistill.engine.reporting.detection import Subject, _command, pictured, region_gaps
from lidistill.engine.test import evaluate
from lidistill.registry import MODELS
from lidistill.visualization.detections.frames import panels_from_above
from lidistill.visualization.report_data import ReportData
from tests.conftest import ROOT

CONFIG = ROOT / "configs" / "unidistill" / "lidar_to_camera_world.py"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """Random detectors; heatmaps are high, so that there is something to draw."""
    compat.apply()
    folder = tmp_path_factory.mktemp("weights")
    model = load_config(CONFIG).model
    made = {}
    for seed, (name, config) in enumerate(
        dict(baseline=model.student, taught=model.student, teacher=model.teacher.model).items()
    ):
        torch.manual_seed(seed)
        detector = MODELS.build(config)
        for task in detector.pts_bbox_head.task_heads:
            torch.nn.init.constant_(task.heatmap[-1].bias, -0.5)
        made[name] = folder / f"{name}.pth"
        prefix = "student." if name == "taught" else ""
        state = {prefix + key: value for key, value in detector.state_dict().items()}
        torch.save({"state_dict": state}, made[name])
    return made


@pytest.mark.slow
def test_maps_meet_behind_the_checkpoints_own_adapters(converted_world, tmp_path):
    """Adapters as they are built would compare with noise; a student alone has none."""
    compat.apply()
    root = str(converted_world / "nuscenes")
    cfg = load_config(CONFIG.with_name("camera_to_lidar_world.py"), data_root=root)
    cfg.model.teacher.checkpoint = "random"
    torch.manual_seed(0)
    method = MODELS.build(copy.deepcopy(cfg.model))
    files = {name: tmp_path / f"{name}.pth" for name in ("teacher", "taught", "alone")}
    states = (method.teachers["teacher"].model, method, method.student)
    for path, part in zip(files.values(), states, strict=True):
        torch.save({"state_dict": part.state_dict()}, path)
    cfg.model.teacher.checkpoint = str(files["teacher"])
    picked = list(pictured(cfg, {"taught": files["taught"]}, 1))
    assert len(picked[0].frame.truth.boxes) > 0
    first, second = (region_gaps(cfg, files["taught"], picked) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert region_gaps(cfg, files["alone"], picked) is None


@pytest.mark.slow
def test_report_of_a_taught_detector(weights, converted_world, tmp_path, capsys):
    root = converted_world / "nuscenes"
    common = ["--data-root", str(root), "--frames", "1", "--score", "0.1"]
    options = ["--cfg-options", f"model.teacher.checkpoint={weights['teacher']}"]
    files = ["--checkpoint", str(weights["taught"]), "--baseline", str(weights["baseline"])]
    work = tmp_path / "run"
    assert main(["report", str(work), "--config", str(CONFIG), *files, *common, *options]) == 0
    assert "report.html" in capsys.readouterr().out
    data = ReportData.load(work)
    again = shlex.split(data.commands[0])  # makes the same page: nothing that was said is left out
    assert again[again.index("--score") + 1] == "0.1"
    assert again[again.index("--data-root") + 1] == str(root)
    assert again[-2:] == options
    assert [(row.name, row.twin) for row in data.rows] == [
        ("baseline", None),
        ("detector", "baseline"),
    ]
    assert all(set(row.per_class) >= {"car", "pedestrian"} for row in data.rows)
    assert {picture.section for picture in data.pictures} == {"detections", "regions"}
    assert [picture.file.split("_")[0] for picture in data.pictures] == [
        "above",
        "cameras",
        "regions",
    ]
    assert any("NDS" in value for value in data.facts.values())
    page = (work / "report.html").read_text()
    assert "Where the student learned" in page
    assert "What it finds" in page
    assert "without pretraining" not in page

    scores = evaluate(CONFIG, str(weights["taught"]), str(work), str(root))
    submission = json.loads((work / "taught.nuscenes.json").read_text())
    assert submission["meta"] == dict(
        use_camera=True, use_lidar=False, use_radar=False, use_map=False, use_external=False
    )
    assert len(submission["results"]) > 0
    entry = next(entries[0] for entries in submission["results"].values() if entries)
    assert {"sample_token", "translation", "size", "rotation", "detection_name"} <= set(entry)
    assert np.isfinite(scores["nuscenes/mAP"])


@pytest.mark.slow
def test_a_detector_whose_test_reads_no_points_is_pictured(converted_world, tmp_path):
    compat.apply()
    config = ROOT / "configs" / "monotakd" / "caddn_world_kitti.py"
    cfg = load_config(config, data_root=str(converted_world / "kitti"))
    path = tmp_path / "detector.pth"
    torch.save({"state_dict": MODELS.build(copy.deepcopy(cfg.model)).state_dict()}, path)
    (picked,) = pictured(cfg, {"detector": path}, 1)
    assert picked.frame.points.shape == (0, 3)
    assert len(picked.frame.views) == 1
    assert panels_from_above(picked.frame, forward="x").any()


def test_the_command_keeps_names_with_blanks_together():
    subject = Subject("my configs/a.py", {"detector": Path("work dirs/it's.pth")}, "my data")
    words = shlex.split(_command(subject, "a run", 3, 0.3, {"classes": ["car"], "seed": 1}))
    assert words[2:7] == ["a run", "--config", "my configs/a.py", "--checkpoint", words[6]]
    assert words[6] == "work dirs/it's.pth"
    assert words[-5:] == ["--data-root", "my data", "--cfg-options", "classes=['car']", "seed=1"]
    assert "--cfg-options" not in _command(subject, "run", 3, 0.3, {})


def test_half_a_detector_is_refused(tmp_path, capsys):
    assert main(["report", str(tmp_path), "--config", str(CONFIG)]) != 0
    assert "both --config and --checkpoint" in capsys.readouterr().err
    files = ["--checkpoint", str(tmp_path / "none.pth")]
    assert main(["report", str(tmp_path), "--config", str(CONFIG), *files]) != 0
    assert "no checkpoint of the detector" in capsys.readouterr().err
