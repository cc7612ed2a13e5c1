# SPDX-License-Identifier: Apache-2.0
"""Threads for kernels that release the GIL: as many as torch has been told to use.

numba's own threads are not used: their GNU OpenMP pool ends a forked DataLoader worker, their other
pool may not be entered by two threads at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch

_POOLS: dict[int, ThreadPoolExecutor] = {}
# the threads of a pool do not survive a fork
os.register_at_fork(after_in_child=_POOLS.clear)


def in_parallel(function: Callable[[int, int], object], count: int) -> None:
    """Call ``function(first, last)`` on pieces of ``range(count)``, on as many threads as torch.

    Args:
        function: works on items ``first`` to ``last`` (exclusive); pieces must not depend on each
            other, nor the result on where the range is cut.
        count: number of items.
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        if count:
            function(0, count)
        return
    # four pieces a thread even out what else the machine does
    pieces = min(4 * threads, count)
    cuts = [count * piece // pieces for piece in range(pieces + 1)]
    work = iter(list(pairwise(cuts)))

    def drain() -> None:
        for first, last in work:
            function(first, last)

    pool = _POOLS.get(threads)
    if pool is None:
        pool = _POOLS[threads] = ThreadPoolExecutor(threads - 1, "lidistill")
    others = [pool.submit(drain) for _ in range(threads - 1)]
    drain()
    for other in others:
        other.result()
