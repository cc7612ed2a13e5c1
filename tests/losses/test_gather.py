# SPDX-License-Identifier: Apache-2.0
"""Two processes that share their negatives are one process with the joined batch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import distributed as dist

from lidistill.losses.contrastive import info_nce, point_infonce, region_infonce
from lidistill.losses.gather import extremes_over_ranks, gather_rows, total_over_ranks
from lidistill.losses.semantic_tolerance import region_tolerance
from tests.ranks import average_over_ranks, run_ranks

SPLITS = [(5, 3), (4, 0), (0, 6), (0, 0)]
CASES = ("plain", "anchors", "tolerant", "balanced")
WIDTH = 4


def inputs(rows: int) -> tuple[torch.Tensor, ...]:
    """Points, pixels, frozen teacher features and anchor weights of the joined batch."""
    random = torch.Generator().manual_seed(7)
    points, pixels, frozen = (
        torch.randn(rows, WIDTH, generator=random, dtype=torch.float64) for _ in range(3)
    )
    return points, pixels, frozen.abs(), torch.rand(rows, generator=random, dtype=torch.float64)


def weights() -> list[torch.Tensor]:
    """What is trained: a linear map for each side."""
    random = torch.Generator().manual_seed(1)
    shape = (WIDTH, WIDTH)
    return [
        torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_() for _ in "ab"
    ]


def loss_of(case: str, own: slice, rows: int, heads: list, negatives: str) -> torch.Tensor:
    """The loss of some rows of the joined batch."""
    points, pixels, frozen, anchors = (part[own] for part in inputs(rows))
    queries, keys = points @ heads[0], pixels @ heads[1]
    if case == "plain":
        return point_infonce(queries, keys, 0.5, negatives)
    if case == "anchors":
        return info_nce(queries, keys, 0.5, None, anchors, negatives)
    balanced = case == "balanced"
    tolerance = region_tolerance(frozen, 0.0 if balanced else 0.3, balanced, negatives)
    return region_infonce(
        queries[tolerance.alive],
        keys[tolerance.alive],
        0.5,
        tolerance.logit_weights,
        tolerance.anchor_weights,
        negatives,
    )


def everything() -> dict:
    """Runs on each rank: loss and gradients as DistributedDataParallel would see them."""
    results = {}
    rank = dist.get_rank()
    for split in SPLITS:
        start = sum(split[:rank])
        own = slice(start, start + split[rank])
        for case in CASES:
            heads = weights()
            loss = loss_of(case, own, sum(split), heads, "all")
            loss.backward()
            results[split, case] = [average_over_ranks(part) for part in (loss, heads[0].grad)]
            results[split, case].append(average_over_ranks(heads[1].grad))
    rows = torch.arange(6.0).reshape(3, 2)[: 2 + rank] + 10 * rank
    gathered, first = gather_rows(rows)
    truths, _ = gather_rows(torch.tensor([True, False])[: 1 + rank])
    results["rows"] = (gathered, first, truths)
    none = torch.zeros(0)
    results["extremes"] = extremes_over_ranks(rows[:, 0] if rank else none, "all")
    results["local"] = extremes_over_ranks(rows[:, 0], "rank")
    results["total"] = total_over_ranks(rows.sum(), "all")
    return results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    return run_ranks(everything, folder)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("split", SPLITS)
def test_two_ranks_equal_one_process_with_the_joined_batch(ranks, split, case):
    heads = weights()
    loss = loss_of(case, slice(None), sum(split), heads, "rank")
    loss.backward()
    for result in ranks:
        for theirs, own in zip(
            result[split, case], (loss, heads[0].grad, heads[1].grad), strict=True
        ):
            torch.testing.assert_close(theirs, own.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", ["plain", "balanced"])
def test_joined_loss_equals_naive_loops(ranks, case):
    points, pixels, frozen, _ = (part.tolist() for part in inputs(8))
    heads = [head.tolist() for head in weights()]

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    def times(row, head):
        return [dot(row, column) for column in zip(*head, strict=True)]

    queries, keys = [times(row, heads[0]) for row in points], [times(r, heads[1]) for r in pixels]
    alike = [[dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)) for b in frozen] for a in frozen]
    votes = [sum(s for s in row if s >= 0.5) for row in alike]
    top = max(votes) - min(votes)
    total = weight = 0.0
    for i, query in enumerate(queries):
        logits = [dot(query, key) / 0.5 for key in keys]
        share = 1.0
        if case == "balanced":
            logits = [x * (1 - alike[i][j]) if j != i else x for j, x in enumerate(logits)]
            share = 1 - (votes[i] - min(votes)) / top
        total += share * (math.log(sum(map(math.exp, logits))) - logits[i])
        weight += share
    assert float(ranks[0][(5, 3), case][0]) == pytest.approx(total / weight, rel=1e-12)


def test_rows_come_in_the_order_of_the_ranks(ranks):
    expected = torch.tensor([[0, 1], [2, 3], [10, 11], [12, 13], [14, 15]])
    for result, first in zip(ranks, (0, 2), strict=True):
        rows, position, truths = result["rows"]
        assert torch.equal(rows, expected.float())
        assert position == first
        assert truths.tolist() == [True, True, False]


def test_numbers_over_ranks(ranks):
    for result, own in zip(ranks, ((0, 2), (10, 14)), strict=True):
        assert [float(x) for x in result["extremes"]] == [10, 14]
        assert [float(x) for x in result["local"]] == list(own)
        assert float(result["total"]) == 6 + 75


def test_without_a_group_there_is_one_rank():
    rows = torch.randn(3, 2)
    assert gather_rows(rows) == (rows, 0)
    assert extremes_over_ranks(rows[:0, 0], "all")[0] == torch.inf
    assert info_nce(rows, rows, negatives="all") == info_nce(rows, rows)
    with pytest.raises(ValueError, match=r"one of \('rank', 'all'\), got 'gpu'"):
        info_nce(rows, rows, negatives="gpu")
