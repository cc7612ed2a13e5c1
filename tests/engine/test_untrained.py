# SPDX-License-Identifier: Apache-2.0
"""A frozen teacher that nobody trained is refused before the first iteration."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lidistill.distill.teacher import Teacher
from lidistill.engine.configs.read import load_config
from lidistill.engine.test import teachers_of
from lidistill.engine.untrained import option_of, refuse_untrained
from lidistill.hooks import EMATeacherHook
from lidistill.models.teachers.colour import LocalColour
from lidistill.models.teachers.resnet import ResNetTeacher
from lidistill.models.teachers.small import SmallImageNet
from tests.conftest import project_configs
from tests.distill.toys import ToyMethod

MAP = {"taps": {"map": ""}, "inputs": ("images",)}
SMALL = {"type": SmallImageNet, "width": 8, "out_channels": 4}


def runner_with(hooks=(), **teachers):
    model = ToyMethod()
    model.teachers = teachers
    return SimpleNamespace(model=model, hooks=list(hooks))


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ({"model": SMALL}, "model.teacher.model.weights"),
        ({"model": {"type": ResNetTeacher, "depth": 18, "base_channels": 8}}, "weights"),
        ({"model": {"type": nn.Linear, "in_features": 2, "out_features": 2}}, "teacher.checkpoint"),
    ],
)
def test_a_teacher_without_weights_is_refused_and_random_must_be_said(arguments, option):
    built = Teacher(**arguments, **MAP)
    with pytest.raises(ValueError, match=rf"'image' .*random weights.*{option}=FILE") as caught:
        refuse_untrained(runner_with(image=built), {"teacher": arguments})
    assert "docs/teachers.md" in str(caught.value)
    meant = Teacher(**arguments, **MAP, checkpoint="random")
    refuse_untrained(runner_with(image=meant), {"teacher": arguments})


def test_random_in_place_of_a_file():
    meant = Teacher(model={**SMALL, "weights": "random"}, **MAP)
    refuse_untrained(runner_with(image=meant), {"teacher": {}})
    assert meant.model.loaded == "random weights, as asked for"


def test_what_has_weights_passes(tmp_path):
    torch.save(SmallImageNet(width=8, out_channels=4).state_dict(), tmp_path / "net.pth")
    file = str(tmp_path / "net.pth")
    passes = {
        "loaded": Teacher(model={**SMALL, "weights": file}, **MAP),
        "checkpoint": Teacher(model=SMALL, checkpoint=file, **MAP),
        "colour": Teacher(model={"type": LocalColour}, **MAP),
        "module": Teacher(model=SmallImageNet(width=8), **MAP),
    }
    refuse_untrained(runner_with(**passes), {"teachers": {}})


def test_a_teacher_that_follows_the_student_passes():
    follows = Teacher(model=SMALL, **MAP)
    refuse_untrained(runner_with([EMATeacherHook("mean")], mean=follows), {"teachers": {}})
    with pytest.raises(ValueError, match=r"model.teachers.other.model.weights=FILE"):
        refuse_untrained(
            runner_with([EMATeacherHook("mean")], mean=follows, other=follows), {"teachers": {}}
        )


def test_where_the_option_stands():
    assert option_of({"teacher": {"model": {}}}, "image") == "model.teacher"
    assert option_of({"teacher": {"dino": {}}}, "dino") == "model.teacher.dino"
    assert option_of({"teachers": {"big": {}}}, "big") == "model.teachers.big"


@pytest.mark.slow
def test_every_config_says_where_its_teachers_weights_come_from_or_is_refused():
    """Those that want a file name it in their first lines; no other is left random."""
    silent = set()
    for path in project_configs():
        config = load_config(path)
        if path.parent.name == "_base_" or "teacher" not in str(config.get("model", "")):
            continue
        for teacher in teachers_of(config.model):
            model = teacher["model"]
            named = [teacher.get("checkpoint"), model.get("weights"), model.get("directory")]
            if not any(named) and model["type"] is not LocalColour:
                silent.add(f"{path.parent.name}/{path.stem}")
    followers = {"evidence/centerpoint_mean_teacher", "xray/mean_teacher_world_student"}
    assert silent == {
        *{"feature_kd/mean_teacher_world", *followers},  # the student's moving average
        "ppkt/minkunet_r50_nuscenes",
        "slidr/centerpointencoder_r50_nuscenes",
        "slidr/minkunet_r50_fast_nuscenes",
        "slidr/minkunet_r50_nuscenes",
        "slidr/mmdet3dminkunet_r50_nuscenes",
        "slidr/pointpillars_r50_nuscenes",
        "slidr/secondencoder_r50_nuscenes",
        "slidr/voxelnet_r50_nuscenes",
        "stslidr/minkunet_r50_nuscenes",
    }
