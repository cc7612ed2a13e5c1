# SPDX-License-Identifier: Apache-2.0
"""The pool of threads: every item once, errors come through, forks survive."""

from __future__ import annotations

import os
import threading

import pytest
import torch

from lidistill.ops._threads import in_parallel


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 1000])
def test_each_item_once(count):
    seen = []
    in_parallel(lambda first, last: seen.extend(range(first, last)), count)
    assert sorted(seen) == list(range(count))


def test_more_than_one_thread_works():
    barrier = threading.Barrier(3, timeout=20)
    met = []

    def meet(first, last):
        if len(met) < 3:  # the first piece of each of the three
            met.append(first)
            barrier.wait()

    in_parallel(meet, 12)
    assert len(met) == 3


def test_errors_come_through():
    def fail(first, last):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        in_parallel(fail, 12)


def test_forked_child_makes_its_own_threads():
    in_parallel(lambda first, last: None, 12)  # threads exist now, and would not in the child
    child = os.fork()
    if child == 0:
        seen = []
        in_parallel(lambda first, last: seen.extend(range(first, last)), 12)
        os._exit(0 if sorted(seen) == list(range(12)) else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
