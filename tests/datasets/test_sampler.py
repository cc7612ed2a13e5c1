# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest

from lidistill.datasets.sampler import Draw, SeededSampler


def take(sampler, count):
    return list(itertools.islice(iter(sampler), count))


def test_every_pass_visits_each_sample_once_in_a_new_order():
    draws = take(SeededSampler(range(7), seed=3), 21)
    passes = [[d.index for d in draws[i : i + 7]] for i in (0, 7, 14)]
    assert all(sorted(p) == list(range(7)) for p in passes)
    assert passes[0] != passes[1]
    assert len({d.seed for d in draws}) == 21


def test_skip_continues_the_same_stream():
    sampler = SeededSampler(range(5), seed=1)
    stream = take(sampler, 20)
    sampler.skip(8)
    assert take(sampler, 12) == stream[8:]


def test_seed_decides():
    assert take(SeededSampler(range(5), seed=1), 9) == take(SeededSampler(range(5), seed=1), 9)
    assert take(SeededSampler(range(5), seed=1), 9) != take(SeededSampler(range(5), seed=2), 9)


def test_ranks_share_the_stream_without_overlap(monkeypatch):
    whole = take(SeededSampler(range(6), seed=0), 12)
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr("lidistill.datasets.sampler.get_dist_info", lambda r=rank: (r, 2))
        sampler = SeededSampler(range(6), seed=0)
        parts.append(take(sampler, 6))
        sampler.skip(2)
        assert take(sampler, 4) == parts[-1][2:]
    assert parts == [whole[0::2], whole[1::2]]


def test_without_shuffle_in_order():
    assert [d.index for d in take(SeededSampler(range(3), seed=0, shuffle=False), 5)] == [
        0,
        1,
        2,
        0,
        1,
    ]
    assert isinstance(take(SeededSampler(range(3), seed=0), 1)[0], Draw)


def test_empty_dataset_is_an_error():
    with pytest.raises(ValueError, match="dataset is empty"):
        SeededSampler([], seed=0)
