# SPDX-License-Identifier: Apache-2.0
"""Every config that distils a detector builds; those of the embedded world get a gradient."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lidistill.distill.audit import audit
from lidistill.distill.distiller import Distiller
from lidistill.distill.weights import read_state_dict
from lidistill.engine.configs.read import load_config
from lidistill.engine.configs.stages import choose_stage, fingerprint, load_stage
from lidistill.engine.test import evaluate, leave_teachers_out, teachers_of
from lidistill.engine.train import train
from lidistill.registry import MODELS
from tests.ops import detector_cases

ROOT = Path(__file__).resolve().parents[2]
ALL = [
    path
    for name in ("pointdistiller", "feature_kd")
    for path in sorted((ROOT / "configs" / name).iterdir())
    if path.suffix == ".py"
]
STAGED = [path for path in ALL if "stages = [" in path.read_text()]
CONFIGS = [path for path in ALL if path not in STAGED]
CHAIN = ROOT / "configs/feature_kd/teacher_assistant_world.py"
AS_LARGE = ("mean_teacher_world",)  # taught by itself
ACROSS = [
    path
    for path in CONFIGS
    if path.stem in ("bevdistill_world", "distillbev_world", "tigbev_world")
]
"""Cameras learn from LiDAR: no smaller, and with images; dry runs try them."""


def build(model: dict) -> Distiller:
    """The config's model with random teachers."""
    for teacher in teachers_of(model):
        teacher["checkpoint"] = None
    return MODELS.build(model).train()


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    "path",
    [path for path in CONFIGS if path not in ACROSS],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_config(path):
    method = build(load_config(path).model)
    largest = max(size(teacher.model) for teacher in method.teachers.values())
    times = 1.9 if path.stem.endswith("_2x") else 2.5
    assert path.stem in AS_LARGE or size(method.student) < largest / times
    if not path.stem.endswith("world"):
        return  # the paper's sizes take half a minute a step
    batch = detector_cases.make_batch("kitti")
    if "centerpoint" in str(load_config(path).detector.config):
        batch = detector_cases.make_batch("centerpoint")
        batch["inputs"]["points"] = [points[:, :4] for points in batch["inputs"]["points"]]
    report = audit(method, batch)
    assert all(norms["student"] > 0 for norms in report.gradient_norms.values())


@pytest.mark.parametrize("path", STAGED, ids=lambda path: path.stem)
def test_chain_fits_together(path):
    """Each stage's teacher is the network that the stage before it trains, tensor by tensor."""
    content = load_config(path)
    made: dict[str, dict] = {}
    for stage in content.stages:
        _, cfg = load_stage(path, stage)
        sources = [teacher.get("checkpoint", "") for teacher in teachers_of(cfg.model)]
        model = build(cfg.model)
        student = getattr(model, "student", model)
        made[stage["name"]] = {n: t.shape for n, t in student.state_dict().items()}
        for source, teacher in zip(sources, getattr(model, "teachers", {}).values(), strict=True):
            shapes = {n: t.shape for n, t in teacher.model.state_dict().items()}
            assert shapes == made[source.removeprefix("stage://")]
    names, sizes = list(made), [sum(s.numel() for s in made[name].values()) for name in made]
    assert len(names) == 3
    assert sizes == sorted(sizes, reverse=True)


def test_a_class_among_the_options_keeps_its_name():
    """The config of a stage has a text, the same each time: runs are known by it."""
    stage = load_config(CHAIN).stages[-1]
    _, cfg = load_stage(CHAIN, stage)
    assert "compress.compressed_detector'" in cfg.pretty_text
    assert fingerprint(cfg) == fingerprint(load_stage(CHAIN, stage)[1])


def test_a_stage_is_chosen_by_name():
    content = load_config(CHAIN)
    assert choose_stage(CHAIN, content)[1].model.teachers.teacher.checkpoint == "stage://assistant"
    assert choose_stage(CHAIN, content, "assistant")[1].model.student.encoder == 0.75
    with pytest.raises(ValueError, match=r"no stage 'third'; it has \['teacher', 'assistant'"):
        choose_stage(CHAIN, content, "third")


def test_a_test_builds_no_teacher():
    cfg = load_config(ROOT / "configs/feature_kd/two_teachers_world.py")
    for teacher in teachers_of(cfg.model):
        teacher.model.config = "no/such/file.py"  # as on a machine that has the student alone
    leave_teachers_out(cfg)
    student = MODELS.build(cfg.model)
    assert type(student).__module__.startswith("mmdet3d.")
    probed = load_config(ROOT / "configs/slidr/demo_pretrain.py")
    before = probed.model.type
    leave_teachers_out(probed)
    assert probed.model.type is before


@pytest.mark.slow
def test_a_chain_trains_and_its_student_is_tested_alone(converted_world, tmp_path):
    root = str(converted_world / "kitti")
    final = train(CHAIN, tmp_path, data_root=root, options={"iters": 1}, quiet=True)
    assert final.parent.name == "student"
    state = read_state_dict(final)
    assert {name.split(".")[0] for name in state} == {"student", "connectors"}
    assistant = read_state_dict(tmp_path / "assistant" / "iter_1.pth")
    assert state["connectors.neck.weight"].shape == (72, 48, 1, 1)
    assert assistant["connectors.neck.weight"].shape == (96, 72, 1, 1)
    for name in ("teacher", "assistant"):
        shutil.rmtree(tmp_path / name)
    scores = evaluate(CHAIN, str(final), data_root=root)
    assert any(name.startswith("kitti/") for name in scores)


@pytest.mark.slow
def test_points_train_and_are_scored(converted_world, tmp_path):
    """PointRCNN on the world: as many points of each scan on both sides, in training and test."""
    path, root = ROOT / "configs/pointdistiller/pointrcnn_world.py", str(converted_world / "kitti")
    options = {"iters": 2, "model.teacher.checkpoint": "random"}
    final = train(path, tmp_path, data_root=root, options=options, quiet=True)
    state = read_state_dict(final)
    assert state["connectors.points_student.linear.weight"].shape == (32, 64)
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert any(name.startswith("kitti/") for name in evaluate(path, str(final), data_root=root))
