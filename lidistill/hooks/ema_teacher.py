# SPDX-License-Identifier: Apache-2.0
"""A teacher whose weights are the moving average of the student's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from lidistill.distill.distiller import Distiller
from lidistill.distill.schedules import Schedule, as_schedule
from lidistill.distill.teacher import Teacher
from lidistill.registry import HOOKS

KEY = "teachers"


@HOOKS.register_module()
class EMATeacherHook(Hook):
    """Let a teacher follow the student: after each step, ``t = m t + (1 - m) s``.

    The teacher is the student's network, named like any other in ``teachers`` of the method,
    without a checkpoint. It begins as the student does; within a step it is as frozen as any other.
    Running statistics of batch norms are averaged like weights; whole numbers are copied. Where
    several batches make one step, it moves once a step.

    Its weights stand in the training checkpoint under ``teachers``, beside the ``state_dict``, so
    that a continued run is exact; an exported student does not have them.

    Args:
        teacher: its name.
        momentum: m, a number or a schedule over the training.

    Source: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, equation 1.
    """

    def __init__(
        self,
        teacher: str = "teacher",
        momentum: float | Schedule | Mapping[str, Any] = 0.999,
    ) -> None:
        self.teacher = teacher
        self.momentum = as_schedule(momentum)
        self._restored: dict[str, torch.Tensor] | None = None

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Remember the teacher's weights until it is known whether the run continues."""
        self._restored = checkpoint.get(KEY, {}).get(self.teacher)

    def before_train(self, runner: Any) -> None:
        """Begin as the student, or as the checkpoint of a continued run says.

        Raises:
            ValueError: there is no such teacher, it is another network than the student or has a
                cache; or the run continues from a checkpoint without its weights.
        """
        distiller = _distiller(runner)
        teacher = self.find(distiller)
        state = teacher.model.state_dict()
        teacher.follows_student = True
        source = distiller.student.state_dict()
        if runner.iter > 0:
            if self._restored is None:
                raise ValueError(
                    f"expected the weights of the teacher {self.teacher!r} in the checkpoint that "
                    "the run continues from; they are written by EMATeacherHook. Add --restart to "
                    "begin anew with it"
                )
            source = self._restored
        with torch.no_grad():
            for name, tensor in state.items():
                tensor.copy_(source[name])
        self._restored = None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Follow, if the optimizer made its step."""
        if not runner.optim_wrapper.should_update():
            return
        distiller = _distiller(runner)
        momentum = self.momentum(distiller.progress)
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"expected a momentum from 0 to 1, got {momentum}")
        follow(distiller.teachers[self.teacher].model, distiller.student, momentum)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Beside the student, not in it."""
        state = _distiller(runner).teachers[self.teacher].model.state_dict()
        saved = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        checkpoint.setdefault(KEY, {})[self.teacher] = saved

    def find(self, distiller: Distiller) -> Teacher:
        """The teacher, if it can follow the student."""
        if self.teacher not in distiller.teachers:
            raise ValueError(
                f"EMATeacherHook follows the teacher {self.teacher!r}; there are "
                f"{sorted(distiller.teachers)}"
            )
        teacher = distiller.teachers[self.teacher]
        own = {name: tuple(t.shape) for name, t in distiller.student.state_dict().items()}
        held = {name: tuple(t.shape) for name, t in teacher.model.state_dict().items()}
        odd = sorted(name for name in own.keys() | held.keys() if own.get(name) != held.get(name))
        if odd:
            raise ValueError(
                f"expected the teacher {self.teacher!r} to be the student's network, got "
                f"{len(odd)} unequal tensors: {', '.join(odd[:4])}; give it the student's config"
            )
        if teacher.cache is not None:
            raise ValueError(f"the teacher {self.teacher!r} changes; it cannot have a cache")
        return teacher


@torch.no_grad()
def follow(teacher: torch.nn.Module, student: torch.nn.Module, momentum: float) -> None:
    """Move every tensor of ``teacher`` towards the student's of the same name, in place."""
    source = student.state_dict()
    for name, tensor in teacher.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(source[name].to(tensor.dtype), 1.0 - momentum)
        else:
            tensor.copy_(source[name])


def _distiller(runner: Any) -> Distiller:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not isinstance(model, Distiller):
        raise ValueError(f"expected a Distiller with teachers, got {type(model).__name__}")
    return model
