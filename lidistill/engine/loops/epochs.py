# SPDX-License-Identifier: Apache-2.0
"""Training for a number of epochs of whatever data there is, by iterations that can be resumed."""

from __future__ import annotations

from typing import Any

from mmengine.dist import get_world_size

from lidistill.engine.loops.iterations import ResumableTrainLoop
from lidistill.hooks.checkpoint import AtomicCheckpointHook
from lidistill.registry import HOOKS, LOOPS


@LOOPS.register_module()
class ResumableEpochLoop(ResumableTrainLoop):
    """ResumableTrainLoop that is told epochs: the iterations follow from the size of the data set.

    So one config serves every fraction of the labels. A learning-rate schedule without ``end``
    (``by_epoch=False``) ends with the training. The last, incomplete batch of an epoch joins the
    next epoch.

    Args:
        runner: mmengine's.
        dataloader: of the training.
        max_epochs: passes over the data.
        val_every: epochs between validations, where the config has a ``val_cfg``; the last epoch is
            validated too.
        max_iters: instead of ``max_epochs``; ``lidistill train --iters`` sets it.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        max_epochs: int | None = None,
        val_every: int = 1,
        max_iters: int | None = None,
    ) -> None:
        if (max_epochs is None) == (max_iters is None):
            raise ValueError(
                f"expected max_epochs or max_iters, got {max_epochs!r} and {max_iters!r}"
            )
        if isinstance(dataloader, dict):
            dataloader = runner.build_dataloader(dataloader, seed=runner.seed)
        frames, batch = len(dataloader.dataset), dataloader.batch_size * get_world_size()
        self.epoch_iters = max(1, frames // batch)
        iterations = (max_epochs or 0) * self.epoch_iters if max_iters is None else max_iters
        super().__init__(
            runner, dataloader, iterations, val_interval=max(1, val_every * self.epoch_iters)
        )


@HOOKS.register_module()
class EpochCheckpointHook(AtomicCheckpointHook):
    """A checkpoint after each epoch of a :class:`ResumableEpochLoop`.

    Args:
        epochs: between checkpoints.
        kwargs: of :class:`~lidistill.hooks.checkpoint.AtomicCheckpointHook`, e.g. ``keep=-1``.
    """

    def __init__(self, epochs: int = 1, **kwargs: Any) -> None:
        super().__init__(interval=1, **kwargs)
        self.epochs = epochs

    def before_train(self, runner: Any) -> None:
        """Learn how long an epoch is."""
        loop = runner.train_loop
        if not isinstance(loop, ResumableEpochLoop):
            raise ValueError(
                "EpochCheckpointHook needs train_cfg of type ResumableEpochLoop, got "
                f"{type(loop).__name__}; AtomicCheckpointHook counts iterations"
            )
        self.interval = self.asked_interval = self.epochs * loop.epoch_iters
        super().before_train(runner)
