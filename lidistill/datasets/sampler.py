# SPDX-License-Identifier: Apache-2.0
"""Which sample comes when, and with which random seed: a pure function of (seed, position)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sized
from typing import NamedTuple

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One request to a dataset: which sample, and the seed of everything random about it."""

    index: int  # type: ignore[assignment]  # the field, not tuple.index
    seed: int


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler[Draw]):
    """Infinite stream of :class:`Draw`; position p is the same whoever asks, however often.

    So a run that was killed continues with the very data it would have seen, without loading what
    it has already trained on, and whatever the number of worker processes.

    Args:
        dataset: its length counts.
        seed: None takes one number shared by all ranks.
        shuffle: a new order for every pass over the data.
    """

    def __init__(self, dataset: Sized, seed: int | None = None, shuffle: bool = True) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        if self.size == 0:
            raise ValueError("the dataset is empty; check its info file and split")
        self.seed = sync_random_seed() if seed is None else seed
        self.shuffle = shuffle
        self.start = 0

    def skip(self, draws: int) -> None:
        """Begin the next iteration ``draws`` draws (of this rank) into the stream."""
        self.start = draws

    def __iter__(self) -> Iterator[Draw]:
        order, of = np.arange(self.size), -1
        for position in itertools.count(self.rank + self.start * self.world_size, self.world_size):
            epoch, offset = divmod(position, self.size)
            if self.shuffle and epoch != of:
                order, of = np.random.default_rng([self.seed, epoch]).permutation(self.size), epoch
            seed = np.random.SeedSequence([self.seed, 1, position]).generate_state(1)[0]
            yield Draw(int(order[offset]), int(seed))

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Not used: the stream knows its own passes."""
