# SPDX-License-Identifier: Apache-2.0
"""A teacher that follows the student: by a loop, exactly resumed, in no export."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import Runner

from lidistill.distill.audit import AuditError, audit
from lidistill.engine.train import train
from lidistill.export.exporting import export_student
from lidistill.hooks.ema_teacher import EMATeacherHook, follow
from lidistill.hooks.pretrained import PretrainedParts
from tests.distill.toys import SelfTaught, ToyNet, toy_batch

CONFIG = Path(__file__).resolve().parents[1] / "engine" / "toy_ema_config.py"


def load(path: Path) -> dict:
    return torch.load(path, weights_only=False)


def student_of(content: dict) -> dict:
    return {name.removeprefix("student."): t for name, t in content["state_dict"].items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return train(CONFIG, tmp_path_factory.mktemp("ema"), quiet=True)


def test_the_teacher_is_the_average_by_a_loop(whole):
    """Six steps of two batches; the momentum of the batch at whose end the step is made."""
    expected = None
    for step in range(1, 7):
        content = load(whole.parent / f"iter_{2 * step}.pth")
        student, teacher = student_of(content), content["teachers"]["mean"]
        momentum = 0.5 + 0.4 * (2 * step - 1) / 12
        if expected is not None:
            for name, tensor in expected.items():
                if tensor.is_floating_point():
                    for row in range(tensor.numel()):
                        old, new = tensor.flatten()[row], student[name].flatten()[row]
                        value = momentum * old + (1 - momentum) * new
                        assert teacher[name].flatten()[row] == pytest.approx(float(value), abs=1e-6)
                else:
                    assert torch.equal(teacher[name], student[name])
        expected = teacher


def test_a_run_that_continues_has_the_same_teacher(whole, tmp_path):
    shutil.copytree(whole.parent, tmp_path / "cut")
    for step in range(4, 7):
        (tmp_path / "cut" / f"iter_{2 * step}.pth").unlink()
    note = json.loads((tmp_path / "cut/run.json").read_text())
    (tmp_path / "cut/run.json").write_text(json.dumps({"config": note["config"]}))
    again = load(train(CONFIG, tmp_path / "cut", quiet=True))
    first = load(whole)
    for one, two in (
        (first["state_dict"], again["state_dict"]),
        *((content["teachers"]["mean"], again["teachers"]["mean"]) for content in (first,)),
    ):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_checkpoint_without_the_teacher_is_refused(whole, tmp_path):
    cut = tmp_path / "cut"
    cut.mkdir()
    content = load(whole.parent / "iter_2.pth")
    del content["teachers"]
    torch.save(content, cut / "iter_2.pth")
    shutil.copy(whole.parent / "run.json", cut)
    note = json.loads((cut / "run.json").read_text())
    (cut / "run.json").write_text(json.dumps({"config": note["config"]}))
    with pytest.raises(ValueError, match=r"weights of the teacher 'mean'.*--restart"):
        train(CONFIG, cut, quiet=True)


def test_the_exported_student_is_the_student(whole, tmp_path):
    export_student(whole, tmp_path / "student.pth", "student")
    exported = load(tmp_path / "student.pth")["state_dict"]
    own = student_of(load(whole))
    assert exported.keys() == own.keys()
    assert all(torch.equal(exported[name], own[name]) for name in own)


def test_the_teacher_begins_as_the_pretrained_student_in_any_order(tmp_path):
    """It began with the random weights where its hook stood before the student's weights."""
    method, start = SelfTaught(), SelfTaught()
    torch.save({"state_dict": start.state_dict()}, tmp_path / "start.pth")
    runner = SimpleNamespace(
        iter=0, model=method, work_dir=tmp_path, logger=logging.getLogger("hooks"), _hooks=[]
    )
    hooks = (
        EMATeacherHook("mean"),
        PretrainedParts(str(tmp_path / "start.pth"), {"student": "student"}),
    )
    for hook in hooks:
        Runner.register_hook(runner, hook)
    for hook in runner._hooks:
        hook.before_train(runner)
    wanted = start.student.state_dict()
    for network in (method.student, method.teachers["mean"].model):
        assert all(torch.equal(wanted[name], t) for name, t in network.state_dict().items())


def test_follow_copies_whole_numbers():
    teacher, student = ToyNet(4), ToyNet(4)
    student(torch.rand(5, 3))
    follow(teacher, student, 1.0)
    assert int(teacher.norm.num_batches_tracked) == 1
    follow(teacher, student, 0.0)
    state = student.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in teacher.state_dict().items())


def test_the_audit_accepts_a_teacher_that_still_is_the_student():
    method = SelfTaught()
    teacher = method.teachers["mean"]
    teacher.model.load_state_dict(method.student.state_dict())
    with pytest.raises(AuditError, match="'hidden' gives the student no gradient"):
        audit(method, toy_batch())
    teacher.follows_student = True
    report = audit(method, toy_batch())
    assert report.values["hidden"] == 0.0
    assert report.gradient_norms["out"]["student"] > 0
    assert report.shapes["mean.out"] == (8, 2)
    teacher.model.requires_grad_(True)
    with pytest.raises(AuditError, match="parameters with gradient"):
        audit(method, toy_batch())


def test_errors_name_the_teacher():
    with pytest.raises(ValueError, match=r"follows the teacher 'other'; there are \['mean'\]"):
        EMATeacherHook("other").find(SelfTaught())
    with pytest.raises(ValueError, match=r"unequal tensors: first.bias.*student's config"):
        EMATeacherHook("mean").find(SelfTaught(width=6))
    cached = SelfTaught(cache=dict(folder="nowhere", size=(2, 2)))
    with pytest.raises(ValueError, match="cannot have a cache"):
        EMATeacherHook("mean").find(cached)
