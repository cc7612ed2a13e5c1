# SPDX-License-Identifier: Apache-2.0
"""Training by iterations that continues exactly where it was killed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator

from lidistill.registry import LOOPS


class _AlreadyAdvanced:
    """Answers the first ``steps`` requests with nothing: the sampler already stands behind them."""

    def __init__(self, iterator: Iterator[Any], steps: int) -> None:
        self._iterator, self._steps = iterator, steps

    def __iter__(self) -> _AlreadyAdvanced:
        return self

    def __next__(self) -> Any:
        if self._steps > 0:
            self._steps -= 1
            return None
        return next(self._iterator)


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's IterBasedTrainLoop, but resuming skips data without loading it.

    mmengine loads and throws away every batch that the killed run had seen. With
    :class:`lidistill.datasets.sampler.SeededSampler` the stream is simply begun further on.
    """

    def __init__(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(runner, *args, **kwargs)
        # What ``init_weights`` draws next then depends on the seed alone, not on what was built
        # beside the student: a distilled student starts as it would alone.
        torch.manual_seed(runner.seed)

    def run(self) -> Any:
        """Train to ``max_iters``."""
        if self._iter > 0 and hasattr(self.dataloader.sampler, "skip"):
            self.dataloader.sampler.skip(self._iter * self.dataloader.batch_size)
            self.dataloader_iterator = _AlreadyAdvanced(
                _InfiniteDataloaderIterator(self.dataloader), self._iter
            )
        return super().run()

    def run_iter(self, data_batch: Any) -> None:
        """Seed torch from (seed, rank, iteration): draws inside a loss survive a kill, too."""
        words = [self.runner.seed, self.runner.rank, self._iter]
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))
        super().run_iter(data_batch)
