# SPDX-License-Identifier: Apache-2.0
"""Let a narrow student begin with channels of its teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from lidistill.hooks.run_folder import note_written
from lidistill.io import atomic_write
from lidistill.models.detectors.inherit import InheritReport, inherit
from lidistill.registry import HOOKS

REPORT = "inherited_layers.txt"


@HOOKS.register_module()
class TeacherGuidedInit(Hook):
    """Copy a teacher's weights into the student before the first iteration.

    A run that continues keeps what it has. What was taken is written to ``inherited_layers.txt`` in
    the work directory.

    Args:
        teacher: its name.
        by: see :func:`lidistill.models.detectors.inherit.inherit`.
    """

    priority = "HIGH"  # before a teacher that follows the student begins as it does

    def __init__(self, teacher: str = "teacher", by: str = "first") -> None:
        self.teacher, self.by = teacher, by
        self.report: InheritReport | None = None

    def before_train(self, runner: Any) -> None:
        """Copy once, at iteration 0."""
        if runner.iter > 0:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        teachers = getattr(model, "teachers", {})
        if self.teacher not in teachers:
            raise ValueError(
                f"TeacherGuidedInit takes the teacher {self.teacher!r}; there are "
                f"{sorted(teachers)}"
            )
        self.report = inherit(model.student, teachers[self.teacher].model, self.by)
        if is_main_process():
            note_written(Path(runner.work_dir), REPORT)
            with atomic_write(Path(runner.work_dir) / REPORT) as temporary:
                Path(temporary).write_text(f"{self.report}\n", encoding="utf-8")
        runner.logger.info(str(self.report).splitlines()[0])
