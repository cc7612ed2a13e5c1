# SPDX-License-Identifier: Apache-2.0
"""A progress bar for training on a terminal."""

from __future__ import annotations

import sys
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from lidistill.registry import HOOKS


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Rich bar with loss and time left; silent where stderr is no terminal (the log has it all)."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self._progress: Any = None
        self._task: Any = None

    def before_train(self, runner: Any) -> None:
        """Open the bar."""
        if not (is_main_process() and sys.stderr.isatty()):
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
        if self._progress is not None:
            loss = float(outputs["loss"]) if outputs and "loss" in outputs else float("nan")
            self._progress.update(self._task, completed=runner.iter + 1, loss=loss)

    def after_train(self, runner: Any) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
