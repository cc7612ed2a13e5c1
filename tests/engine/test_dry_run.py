# SPDX-License-Identifier: Apache-2.0
"""A dry run says what there is to see, on made-up points where there are no data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import ConfigDict

from lidistill import cli
from lidistill.engine.dry_run import _teachers_as_built, dry_run
from lidistill.engine.test import drop_teacher_checkpoints
from lidistill.visualization import local_graphs

ROOT = Path(__file__).resolve().parents[2]
SPARSEKD = ROOT / "configs/feature_kd/sparsekd_world.py"


def test_everything_is_reported(capsys):
    words = ["dry_run", str(SPARSEKD), "--synthetic", "1500", "--random-teachers"]
    assert cli.main([*words, "--repeats", "1"]) == 0
    text = capsys.readouterr().out
    tap = "pts_bbox_head.task_heads.0.heatmap"
    for part in (
        "2 samples, 1500, 1500 points",
        "random weights, not those of work_dirs/centerpoint_pillar_world",
        f"student.heatmap1: {tap}, shape (2, 5, 64, 64), width 5, stride 2",
        f"teacher.heatmap1: {tap}, shape (2, 5, 64, 64), width 5, stride 2",
        "teacher._predicted: (the whole model), boxes and scores",
        "gradient norm: student",
        "heatmap1_coverage",
        "teacher_boxes: 0",
        "M parameters",
        "up to its last tap",
        "student's latency",
    ):
        assert part in text
    assert "init_weights" not in text


def test_detectors_without_voxels_take_the_range_of_the_config():
    path = ROOT / "configs/pointdistiller/pointrcnn_world.py"
    text = dry_run(path, synthetic=1200, random_teachers=True, repeats=1)
    assert "student.points: neck.FP_modules.3, shape (2, 32, 1200), width 32\n" in text
    assert "points_queries: 2400" in text  # fewer points than N
    with pytest.raises(ValueError, match="or configs with a point_range"):
        dry_run(path, ["point_range=None"], synthetic=1200, random_teachers=True)


def test_made_up_labels_are_the_heads():
    """A student of one class below data of three: mmdet3d stops at the others' labels."""
    car = "mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-car.py"
    owners = ("student", "teachers.teacher.model")
    text = dry_run(
        ROOT / "configs/feature_kd/pointpillars_world.py",
        [f"model.{owner}.config={car}" for owner in owners],
        synthetic=800, random_teachers=True, repeats=1,
    )  # fmt: skip
    assert "classes: value" in text


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"iter_\d+.pth.*--random-teachers"):
        dry_run(SPARSEKD, synthetic=10)
    with pytest.raises(FileNotFoundError, match="--synthetic 20000"):
        dry_run(SPARSEKD, random_teachers=True, data_root=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"synthetic": 0}, "--synthetic: expected points of a sample >= 1, got 0"),
        ({"repeats": 0}, "--repeats: expected timed passes >= 1, got 0"),
        ({"picture": Path("graphs.tex")}, "cannot write an image to graphs.tex; name a .png"),
    ],
)
def test_what_cannot_be_asked_for_is_said_at_once(asked, words):
    with pytest.raises(ValueError, match=words):
        dry_run(SPARSEKD, **asked)


def test_picture_of_the_graphs(tmp_path, monkeypatch):
    config = ROOT / "configs/pointdistiller/centerpoint_pillar_world.py"
    made = dict(synthetic=800, random_teachers=True, repeats=1)
    out = tmp_path / "pictures" / "graphs.png"
    assert f"picture: {out}" in dry_run(config, picture=out, **made)
    assert out.read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="PointDistiller's graphs, and this is a FeatureKD"):
        dry_run(SPARSEKD, picture=out, **made)
    up = []

    def drawn(*_given, forward):
        up.append(forward)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(local_graphs, "local_graph_picture", drawn)
    for path in (config, ROOT / "configs/pointdistiller/pointpillars_world.py"):
        dry_run(path, picture=out, **made)
    assert up == ["y", "x"]  # of nuScenes' layout, of KITTI's


def test_a_teacher_s_published_weights_are_not_needed_with_random_teachers():
    model = {"teacher": {"model": {"type": "X", "weights": "package"}}}
    notes = _teachers_as_built(model, random_teachers=True)
    assert notes == ["a teacher has random weights, not those of package"]
    assert model["teacher"]["model"]["weights"] == "random"
    model = {"teacher": {"model": {"type": "X", "weights": "package"}}}
    assert _teachers_as_built(model, random_teachers=False) == []


def test_a_test_reads_no_weights_but_those_it_is_given():
    own = {"camera": {"backbone": {"type": "X", "weights": "package"}}, "weights": {"term": 1.0}}
    teachers = {"one": {"model": {"type": "X", "weights": "random"}, "checkpoint": "x.pth"}}
    cfg = ConfigDict(model={"student": own, "teachers": teachers})
    drop_teacher_checkpoints(cfg)
    assert cfg.model.teachers.one == {"model": {"type": "X", "weights": None}}
    assert cfg.model.student.camera.backbone == {"type": "X", "weights": None}
    assert cfg.model.student.weights == {"term": 1.0}
