# SPDX-License-Identifier: Apache-2.0
"""A frozen teacher that nobody trained teaches noise, for days and without a word: refuse it."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper

from lidistill.distill.distiller import Distiller
from lidistill.distill.teacher import RANDOM, Teacher
from lidistill.hooks.ema_teacher import EMATeacherHook

IMAGE = (
    "published image weights and their addresses: docs/teachers.md (MoCo v2, as SLidR: https://"
    "dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar)"
)
OTHER = (
    "train it with its own config first (a staged config, such as configs/slidr/demo.py, hands it "
    "on), or take a published one: docs/teachers.md lists mmdet3d's"
)


def refuse_untrained(runner: Any, config: Any) -> None:
    """Every teacher must say where its weights come from, before the first iteration.

    A teacher without parameters, one that follows the student, and one with ``"random"`` in place
    of a file are as they should be.

    Args:
        runner: mmengine's, with its model and hooks.
        config: of the model; says how the teachers' options are called.

    Raises:
        ValueError: naming the teacher, the option and where weights are to be had.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not isinstance(model, Distiller):
        return
    following = {hook.teacher for hook in runner.hooks if isinstance(hook, EMATeacherHook)}
    for name, teacher in model.teachers.items():
        if name not in following:
            check_trained(teacher, name, option_of(config, name))


def check_trained(teacher: Teacher, name: str, place: str) -> None:
    """Refuse one teacher, if it was built from a config that says nothing about its weights.

    Args:
        teacher: as built.
        name: in the model.
        place: where it stands in the config, ``model.teacher``.
    """
    if not teacher.untrained:
        return
    is_image = hasattr(teacher.model, "loaded")
    option = f"{place}.model.weights" if is_image else f"{place}.checkpoint"
    raise ValueError(
        f"the teacher {name!r} ({type(teacher.model).__name__}) has random weights: nobody "
        f"trained it. Expected a local file: --cfg-options {option}=FILE; "
        f"{IMAGE if is_image else OTHER}. To be taught by a random network on purpose: "
        f"{option}={RANDOM}"
    )


def option_of(config: Any, name: str) -> str:
    """Where in a config the teacher ``name`` of the built model stands."""
    one = config.get("teacher")
    if one is None:
        return f"model.teachers.{name}"
    return "model.teacher" if "model" in one else f"model.teacher.{name}"
