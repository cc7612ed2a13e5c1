# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that a kill cannot damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend
from mmengine.fileio.backends import backends, register_backend
from mmengine.hooks import CheckpointHook

from lidistill.compat.noise import hush_logger
from lidistill.hooks.run_folder import note_written
from lidistill.io import atomic_write
from lidistill.registry import HOOKS


class AtomicBackend(LocalBackend):
    """mmengine's local file backend with writes that appear whole or not at all."""

    def put(self, obj: Any, filepath: str | Path) -> None:
        """Write bytes through a temporary file in the same folder."""
        note_written(Path(filepath).parent, Path(filepath).name)
        with atomic_write(Path(filepath)) as temporary:
            Path(temporary).write_bytes(bytes(obj))


if "lidistill_atomic" not in backends:
    register_backend("lidistill_atomic", AtomicBackend)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, written atomically; keeps at least two checkpoints.

    Gradients that wait for more batches are not saved. So where several batches make one step
    (``accumulative_counts``), the interval is rounded up to whole steps, and a checkpoint from
    within a step is refused: a resumed run is always exact.

    Args:
        interval: iterations between checkpoints.
        keep: checkpoints that stay on disk; -1 for all, else at least 2 (one is always whole).
        kwargs: further arguments of mmengine's CheckpointHook.
    """

    def __init__(self, interval: int = 100, keep: int = 2, **kwargs: Any) -> None:
        if keep != -1 and keep < 2:
            raise ValueError(f"keep must be -1 or at least 2, got {keep}")
        self.asked_interval = interval
        super().__init__(
            interval=interval,
            by_epoch=False,
            max_keep_ckpts=keep,
            save_last=True,
            backend_args={"backend": "lidistill_atomic"},
            **kwargs,
        )

    def before_train(self, runner: Any) -> None:
        """Align with the optimizer's steps.

        Raises:
            ValueError: the run was resumed from a checkpoint within a step.
        """
        batches = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
        if runner.iter % batches and runner.iter < runner.max_iters:
            raise ValueError(
                f"expected to resume after a multiple of {batches} iterations (gradients of "
                f"{batches} batches make one step), got a checkpoint of iteration {runner.iter}; "
                "remove it to go on from an earlier one, or add --restart"
            )
        self.interval = -(-self.asked_interval // batches) * batches
        hush_logger(runner.logger)
        super().before_train(runner)
