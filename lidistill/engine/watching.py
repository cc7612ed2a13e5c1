# SPDX-License-Identifier: Apache-2.0
"""Signs of life between the processes of a training: a rank that is gone is named, not awaited."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

from torch import distributed as dist

BEAT_S = 2.0
SILENT_S = 45.0
"""A rank without a sign of life for so long is taken for dead."""


class Store(Protocol):
    """What of torch's key-value store is used."""

    def add(self, key: str, amount: int) -> int:
        """Add to a counter and return it."""
        ...


class RankWatch:
    """Count up for the others, every two seconds, and look whether they do.

    A rank that was killed leaves the others in a collective, with NCCL for ten minutes. Whoever
    misses a rank says which, and ends its own process.

    Args:
        store: of its own connection; a store that does not answer means that rank 0's machine or
            process is gone.
        rank: own.
        ranks: all of them.
        end: called with what to say when a rank is missing.
        beat_s: seconds between two signs.
        silent_s: seconds without a sign.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        ranks: int,
        end: Callable[[str], None],
        beat_s: float = BEAT_S,
        silent_s: float = SILENT_S,
    ) -> None:
        self.store, self.rank, self.ranks, self.end = store, rank, ranks, end
        self.beat_s, self.silent_s = beat_s, silent_s
        self._over = threading.Event()
        self._seen = {other: (0, time.monotonic()) for other in range(ranks) if other != rank}
        self._thread = threading.Thread(target=self._watch, name="rank-watch", daemon=True)

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """This process leaves in order: the others need not look for it any more."""
        self._over.set()
        self._thread.join(timeout=self.beat_s + 5)
        try:
            self.store.add(f"lidistill/left/{self.rank}", 1)
        except (RuntimeError, ValueError):  # the store went first, with the process that holds it
            return

    def silent(self, seconds: float) -> list[int]:
        """Ranks without a sign of life for ``seconds``, as far as was looked."""
        now = time.monotonic()
        return [rank for rank, (_, when) in self._seen.items() if now - when > seconds]

    def blame(self) -> str:
        """After an error in a collective: wait for signs, and say who gives none."""
        if not self._over.wait(3 * self.beat_s):
            gone = self.silent(2 * self.beat_s)
            if gone:
                return _words(gone)
        return ""

    def _watch(self) -> None:
        while not self._over.wait(self.beat_s):
            try:
                self._look()
            except (RuntimeError, ValueError) as error:
                if not self._over.wait(self.beat_s):  # not at the end of all, when the store goes
                    self.end(f"rank 0, which all processes meet at, does not answer ({error})")
                return
            gone = self.silent(self.silent_s)
            if gone:
                self.end(_words(gone))
                return

    def _look(self) -> None:
        self.store.add(f"lidistill/beat/{self.rank}", 1)
        for rank, (count, _) in list(self._seen.items()):
            now = self.store.add(f"lidistill/beat/{rank}", 0)
            if now != count:
                self._seen[rank] = (now, time.monotonic())
            elif self.store.add(f"lidistill/left/{rank}", 0):
                del self._seen[rank]


def watch_ranks() -> RankWatch | None:
    """A running watch over this process's group, where there is one to meet at."""
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if not address or not port or dist.get_world_size() < 2:
        return None
    store = dist.TCPStore(address, int(port), is_master=False, timeout=timedelta(seconds=10))
    run = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    prefixed: Any = dist.PrefixStore(f"lidistill/{run}", store)
    watch = RankWatch(prefixed, dist.get_rank(), dist.get_world_size(), _end)
    watch.start()
    return watch


def _words(ranks: list[int]) -> str:
    names = ", ".join(map(str, ranks))
    return (
        f"rank {names} is gone: no sign of life; its machine's log says why (killed, out of memory)"
    )


def _end(what: str) -> None:
    """Say it and go, whatever the main thread waits for."""
    sys.stderr.write(
        f"error: {what}. rank {dist.get_rank()} on {socket.gethostname()} ends; start all of them "
        "again with the same command: the training continues from its last checkpoint\n"
    )
    sys.stderr.flush()
    os._exit(1)
