# SPDX-License-Identifier: Apache-2.0
"""Reading weights from local files: safe, strict, and with a report of what matched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from lidistill import compat
from lidistill.io.checkpoints import read_checkpoint


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of a ``.pth`` (mmengine's ``state_dict`` is unwrapped) or ``.safetensors`` file.

    Files are read with ``weights_only``: a pickle that tries to run code is refused.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds no dictionary of tensors, or is damaged.
    """
    compat.apply()
    content = read_checkpoint(
        path,
        "train it first, or name another file (of a teacher: --cfg-options "
        "model.teacher.checkpoint=FILE)",
    )
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ValueError(f"{path} holds no dictionary of tensors")
    return tensors


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint whose tensors must fit ``model`` name by name.

    The file may hold a larger model of which ``model`` is one part: the student of a Distiller
    checkpoint (``student.*``), the encoder of a self-supervised stage (``encoder.*``). The one
    prefix under which most tensors are found is taken off the names.

    Args:
        model: receives the weights.
        path: local file.

    Raises:
        ValueError: some tensors are missing or differ in shape; the message counts and lists what
            matched.
    """
    state = read_state_dict(path)
    wanted = model.state_dict()
    best: dict[str, torch.Tensor] = {}
    first = next(iter(wanted), "")
    for prefix in {key.removesuffix(first) for key in state if ("." + key).endswith("." + first)}:
        found = {
            name: state[prefix + name]
            for name, tensor in wanted.items()
            if prefix + name in state and state[prefix + name].shape == tensor.shape
        }
        best = max(best, found, key=len)
    if len(best) < len(wanted):
        lacking = [name for name in wanted if name not in best]
        raise ValueError(
            f"{path} does not fit {type(model).__name__}: {len(best)} of {len(wanted)} tensors "
            f"matched by name and shape. Matched: {_some(list(best))}. "
            f"Missing or unequal: {_some(lacking)}. The file holds: {_some(list(state))}"
        )
    model.load_state_dict(best)


def _some(names: list[str], count: int = 6) -> str:
    return (", ".join(names[:count]) or "none") + (" ..." if len(names) > count else "")
