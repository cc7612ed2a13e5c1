# SPDX-License-Identifier: Apache-2.0
"""bfloat16 training on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn


class BFloat16OptimWrapper(OptimWrapper):
    """Forward and loss under bfloat16 autocast; weights, gradients and optimizer in float32.

    mmengine's AmpOptimWrapper refuses the CPU. On a GPU gradients are scaled as there (dynamic
    ``GradScaler``), because spconv's layers know no bfloat16: under autocast they compute, and send
    gradients back, in float16.

    Args:
        kwargs: arguments of mmengine's OptimWrapper.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.device = get_device()
        self.scaler = torch.amp.GradScaler(self.device, enabled=self.device == "cuda")

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and no exchange of gradients while they accumulate."""
        with super().optim_context(model), torch.autocast(self.device, torch.bfloat16):
            yield

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Backward pass of the scaled loss."""
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        """Step, unless a scaled gradient overflowed; then the scale is lowered."""
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()

    def state_dict(self) -> dict:
        """The optimizer's state and the scale."""
        return {**super().state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Load both; a checkpoint without a scale (of a CPU, of float32) begins with a new one."""
        state_dict = dict(state_dict)
        scale = state_dict.pop("scaler", None)
        if scale and self.scaler.is_enabled():
            self.scaler.load_state_dict(scale)
        super().load_state_dict(state_dict)
