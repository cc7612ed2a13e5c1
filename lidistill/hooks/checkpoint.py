# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that a kill cannot damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend
from mmengine.fileio.backends import backends, register_backend
from mmengine.hooks import CheckpointHook

from lidistill.io import atomic_write
from lidistill.registry import HOOKS


class AtomicBackend(LocalBackend):
    """mmengine's local file backend with writes that appear whole or not at all."""

    def put(self, obj: Any, filepath: str | Path) -> None:
        """Write bytes through a temporary file in the same folder."""
        with atomic_write(Path(filepath)) as temporary:
            Path(temporary).write_bytes(bytes(obj))


if "lidistill_atomic" not in backends:
    register_backend("lidistill_atomic", AtomicBackend)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, written atomically; keeps at least two checkpoints.

    Args:
        interval: iterations between checkpoints.
        keep: checkpoints that stay on disk; -1 for all, else at least 2 (one is always whole).
        kwargs: further arguments of mmengine's CheckpointHook.
    """

    def __init__(self, interval: int = 100, keep: int = 2, **kwargs: Any) -> None:
        if keep != -1 and keep < 2:
            raise ValueError(f"keep must be -1 or at least 2, got {keep}")
        super().__init__(
            interval=interval,
            by_epoch=False,
            max_keep_ckpts=keep,
            save_last=True,
            backend_args={"backend": "lidistill_atomic"},
            **kwargs,
        )


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest ``iter_*.pth`` in ``work_dir``; None if there is none.

    mmengine's own ``last_checkpoint`` note is not trusted: a kill can leave it empty or behind.
    """
    found = {
        int(path.stem.removeprefix("iter_")): path
        for path in Path(work_dir).glob("iter_*.pth")
        if path.stem.removeprefix("iter_").isdigit()
    }
    return found[max(found)] if found else None
