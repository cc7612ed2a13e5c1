# SPDX-License-Identifier: Apache-2.0
"""How far a training is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from lidistill.progress import Lines
from lidistill.registry import HOOKS


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Rich bar with loss and time left.

    Where stderr is no terminal, mmengine's own lines tell how far it is; ``lines`` is for a run
    whose lines go to a file alone (``train(quiet=True)``): one on stderr every half minute.
    """

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self.lines = False
        self._lines: Lines | None = None
        self._progress: Any = None
        self._task: Any = None

    def before_train(self, runner: Any) -> None:
        """Open the bar."""
        if not is_main_process():
            return
        if not sys.stderr.isatty():
            if self.lines:
                self._lines = Lines(f"Training {runner.work_dir}", runner.max_iters, runner.iter)
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            console=Console(stderr=True),
        )
        self._progress.start()
        self._task = self._progress.add_task(
            runner.experiment_name, total=runner.max_iters, completed=runner.iter, loss=float("nan")
        )

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Advance by one iteration."""
        if self._lines is not None:
            self._lines.update(runner.iter + 1)
        if self._progress is not None:
            loss = float(outputs["loss"]) if outputs and "loss" in outputs else float("nan")
            self._progress.update(self._task, completed=runner.iter + 1, loss=loss)

    def after_train(self, runner: Any) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
