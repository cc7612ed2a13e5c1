# SPDX-License-Identifier: Apache-2.0
"""Batch norm statistics from data: what a random network needs before it can be probed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def calibrate_batch_norm(
    model: nn.Module,
    batches: Iterable[Any],
    forward: Callable[[nn.Module, Any], Any] | None = None,
) -> int:
    """Recompute the running statistics of every batch norm as the plain mean over ``batches``.

    A randomly initialised network holds running mean 0 and variance 1, which no data has: its
    features in eval mode then say little, and any pretraining looks good beside them. A linear
    probe's table states for each row whether this was done. Nothing but the running statistics
    changes: weights, modes and momenta are as before.

    Args:
        model: changed in place.
        batches: passed to ``forward`` one by one, without gradient.
        forward: ``(model, batch)``; by default ``model(batch)``.

    Returns:
        Number of batch norm layers set.

    Raises:
        ValueError: there are layers to set but no batch.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and layer.track_running_stats
    ]
    if not layers:
        return 0
    seen = 0
    with _averaging(model, layers), torch.no_grad():
        for batch in batches:
            if forward is None:
                model(batch)
            else:
                forward(model, batch)
            seen += 1
        if not seen:
            raise ValueError("no batches to calibrate batch norm with; pass at least one")
    return len(layers)


@contextmanager
def _averaging(model: nn.Module, layers: list[_BatchNorm]) -> Iterator[None]:
    """Batch norms alone in training mode, with cumulative averages from zero; modes come back."""
    modes = {module: module.training for module in model.modules()}
    momenta = [layer.momentum for layer in layers]
    before = [{k: v.clone() for k, v in layer.named_buffers()} for layer in layers]
    model.eval()
    for layer in layers:
        layer.train()
        layer.reset_running_stats()
        layer.momentum = None  # torch's cumulative average
    try:
        yield
    except BaseException:
        for layer, buffers in zip(layers, before, strict=True):
            layer.load_state_dict(buffers, strict=False)
        raise
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
