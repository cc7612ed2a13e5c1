# SPDX-License-Identifier: Apache-2.0
"""Stop a training whose loss is no longer a number."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.hooks import Hook

from lidistill.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Check the loss every ``interval`` iterations (a check waits for the GPU)."""

    priority = "VERY_HIGH"  # before a checkpoint of broken weights is written

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Raise on infinity or NaN."""
        if outputs is None or not self.every_n_train_iters(runner, self.interval):
            return
        values = {
            name: float(torch.as_tensor(value).detach())
            for name, value in outputs.items()
            if "loss" in name
        }
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise ValueError(
                f"iteration {runner.iter + 1}: {', '.join(broken)} not finite; lower the learning "
                "rate or clip gradients (optim_wrapper.clip_grad), then continue from the last "
                f"checkpoint in {runner.work_dir}"
            )
