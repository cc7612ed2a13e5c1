# SPDX-License-Identifier: Apache-2.0
"""Tell the Distiller how far training has come, for its loss-weight schedules."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from lidistill.registry import HOOKS


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Set ``model.progress`` in [0, 1] before each iteration."""

    priority = "HIGH"

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Progress is the share of iterations done."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.progress = runner.iter / max(runner.max_iters, 1)
