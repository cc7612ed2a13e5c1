# SPDX-License-Identifier: Apache-2.0
"""Looking at a model in training without leaving a trace in it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.utils.checkpoint
from torch import nn


@contextmanager
def gradients_of_parts() -> Iterator[None]:
    """Let ``torch.autograd.grad`` go through activation checkpoints, such as mmdet's ``with_cp``.

    The reentrant kind, which they take, knows ``backward`` alone; the other gives the same numbers.
    """
    whole = torch.utils.checkpoint.checkpoint

    def plain(function: Any, *arguments: Any, **settings: Any) -> Any:
        return whole(function, *arguments, **{**settings, "use_reentrant": False})

    torch.utils.checkpoint.checkpoint = plain
    try:
        yield
    finally:
        torch.utils.checkpoint.checkpoint = whole


@contextmanager
def without_trace(model: nn.Module) -> Iterator[None]:
    """Put back buffers (batch-norm statistics), modes and every random state afterwards.

    What is not put back: weights and their gradients; do not change them inside.

    Args:
        model: may be run in any mode, with or without gradients.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes = {name: module.training for name, module in model.named_modules()}
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        for name, module in model.named_modules():
            module.training = modes[name]
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
