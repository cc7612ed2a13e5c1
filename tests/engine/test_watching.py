# SPDX-License-Identifier: Apache-2.0
"""A rank that is gone is named within the time set; one that left in order is not."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from torch import distributed as dist

from lidistill.engine.watching import RankWatch

BEAT, SILENT = 0.05, 0.6


@pytest.fixture
def store():
    return dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=5))


def watch(store, rank, said, ranks=3) -> RankWatch:
    client = dist.TCPStore("127.0.0.1", store.port, is_master=False, timeout=timedelta(seconds=5))
    made = RankWatch(client, rank, ranks, said.append, BEAT, SILENT)
    made.start()
    return made


def kill(one: RankWatch) -> None:
    """As a kill: no sign of life, no word."""
    one._over.set()
    one._thread.join()


def wait_for(said: list, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not said and time.monotonic() < end:
        time.sleep(0.02)


def test_the_one_that_is_gone_is_named_by_the_others(store):
    said: list[list[str]] = [[], [], []]
    watches = [watch(store, rank, said[rank]) for rank in range(3)]
    time.sleep(2 * SILENT)
    assert said == [[], [], []]
    kill(watches[1])
    for other in (0, 2):
        wait_for(said[other], 30)
        assert said[other][0].startswith("rank 1 is gone")
    for one in watches:
        one.stop()


def test_who_leaves_in_order_is_not_missed(store):
    said: list[str] = []
    stays, leaves = watch(store, 0, said, 2), watch(store, 1, [], 2)
    time.sleep(4 * BEAT)
    leaves.stop()
    time.sleep(3 * SILENT)
    assert said == []
    assert stays.blame() == ""
    stays.stop()


def test_an_error_in_a_collective_is_explained(store):
    said: list[str] = []
    stays, goes = watch(store, 0, said, 2), watch(store, 1, [], 2)
    time.sleep(4 * BEAT)
    kill(goes)
    stays.silent_s = 1e9
    assert stays.blame().startswith("rank 1 is gone")
    stays.stop()


class Lost:
    def add(self, key: str, amount: int) -> int:
        raise RuntimeError("Broken pipe")


def test_a_store_that_is_gone_means_rank_0():
    said: list[str] = []
    alone = RankWatch(Lost(), 1, 2, said.append, BEAT, SILENT)
    alone.start()
    wait_for(said, 30)
    assert said[0].startswith("rank 0, which all processes meet at, does not answer (Broken pipe)")
    alone.stop()
