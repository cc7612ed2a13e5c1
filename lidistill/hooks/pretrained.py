# SPDX-License-Identifier: Apache-2.0
"""Begin a training from pretrained parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from lidistill.distill.parts import PartsReport, load_parts
from lidistill.hooks.run_folder import note_written
from lidistill.io import atomic_write
from lidistill.registry import HOOKS

REPORT = "pretrained_parts.txt"


@HOOKS.register_module()
class PretrainedParts(Hook):
    """Put a pretraining checkpoint's tensors into parts of the model before the first iteration.

    A run that continues keeps what it has. What was taken, and what was left, is written to
    ``pretrained_parts.txt`` in the work directory.

    Args:
        checkpoint: file, or ``stage://name``.
        parts: see :func:`lidistill.distill.parts.load_parts`.

    Raises:
        ValueError: no parts: nothing would be loaded.
    """

    priority = "HIGH"  # before a teacher that follows the student begins as it does

    def __init__(self, checkpoint: str, parts: Mapping[str, str]) -> None:
        if not parts:
            raise ValueError(
                "PretrainedParts: expected parts, {'module': 'prefix of its tensors'}, got "
                "none; of a whole detector for the student of a method: parts={'student': ''}"
            )
        self.checkpoint, self.parts = checkpoint, dict(parts)
        self.report: PartsReport | None = None

    def before_train(self, runner: Any) -> None:
        """Load once, at iteration 0."""
        if runner.iter > 0:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.report = load_parts(model, self.checkpoint, self.parts)
        if is_main_process():
            note_written(Path(runner.work_dir), REPORT)
            with atomic_write(Path(runner.work_dir) / REPORT) as temporary:
                Path(temporary).write_text(f"{self.report}\n", encoding="utf-8")
        runner.logger.info(str(self.report).splitlines()[0])


def set_pretrained(cfg: Any, checkpoint: str | Path | None, name: str = "this config") -> None:
    """Point the config's `PretrainedParts` at a checkpoint, or take it out for None."""
    hooks = list(cfg.get("custom_hooks") or [])
    found = [hook for hook in hooks if hook["type"] in (PretrainedParts, "PretrainedParts")]
    if checkpoint is None:
        cfg.custom_hooks = [hook for hook in hooks if hook not in found]
        return
    if not found:
        raise ValueError(
            f"{name} has no hook PretrainedParts, so nothing says where the tensors of "
            f"{checkpoint} go; see configs/slidr/downstream/centerpoint_world.py"
        )
    for hook in found:
        hook["checkpoint"] = str(checkpoint)
    cfg.custom_hooks = hooks
