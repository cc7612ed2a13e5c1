# SPDX-License-Identifier: Apache-2.0
"""Neighbourhoods of samples one behind the other, beside loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.ops.mmcv import ext
from lidistill.ops.points.stacked import stacked_ball_query, stacked_gather, stacked_scatter

ext.install()
COUNTS = st.lists(st.integers(0, 12), min_size=1, max_size=3)


def counts_of(numbers) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


def some(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def ball_loops(points, point_counts, centres, centre_counts, radius, count):
    rows, first, at = [], 0, 0
    for n, m in zip(point_counts, centre_counts, strict=True):
        for centre in centres[at : at + m]:
            near = [k for k in range(n) if (points[first + k] - centre).norm() < radius][:count]
            rows.append(near + near[:1] * (count - len(near)) or [-1] + [0] * (count - 1))
        first, at = first + n, at + m
    return torch.tensor(rows, dtype=torch.int32).view(-1, count)


@settings(max_examples=15, deadline=None)
@given(COUNTS, st.integers(0, 6), st.integers(1, 5), st.integers(0, 99))
def test_balls_equal_the_loops(point_counts, centres, count, seed) -> None:
    from mmcv.ops import ball_query

    centre_counts = [centres] * len(point_counts)
    points, places = some(sum(point_counts), 3, seed), some(sum(centre_counts), 3, seed + 1)
    numbers = counts_of(point_counts), counts_of(centre_counts)
    found = ball_query(0, 1.3, count, points, places, *numbers)
    assert torch.equal(found, ball_loops(points, point_counts, places, centre_counts, 1.3, count))


def test_radius_is_outside_and_no_number_is_nowhere() -> None:
    points = torch.tensor([[1.0, 0, 0], [torch.nan, 0, 0], [0, 0, 0]])
    one = counts_of([3]), counts_of([1])
    rows = stacked_ball_query(points, one[0], torch.zeros(1, 3), one[1], 1.0, 3)
    assert rows.tolist() == [[2, 2, 2]]
    rows = stacked_ball_query(points, one[0], torch.full((1, 3), torch.nan), one[1], 1.0, 3)
    assert rows.tolist() == [[-1, 0, 0]]


@settings(max_examples=10, deadline=None)
@given(COUNTS, st.integers(0, 5), st.integers(0, 99))
def test_gathering_and_its_gradient_equal_the_loops(counts, centres, seed) -> None:
    from mmcv.ops import grouping_operation

    generator = torch.Generator().manual_seed(seed)
    features = some(sum(counts), 4, seed).double().requires_grad_()
    rows = [
        torch.randint(0, n, (centres, 3), generator=generator) if n else torch.zeros(0, 3).long()
        for n in counts
    ]
    row_counts = counts_of([len(part) for part in rows])
    index = torch.cat(rows).int()
    found = grouping_operation(features, index, counts_of(counts), row_counts)
    parts = zip(features.split(counts), rows, strict=True)
    wanted = torch.cat([part[row.flatten()].view(-1, 3, 4) for part, row in parts]).transpose(1, 2)
    assert torch.equal(found, wanted)
    got = torch.autograd.grad(found.square().sum(), features)
    expected = torch.autograd.grad(wanted.square().sum(), features)
    torch.testing.assert_close(got, expected)


def test_rows_of_other_samples_are_never_read() -> None:
    features = torch.tensor([[1.0], [torch.nan], [3.0]])
    counts, row_counts = counts_of([1, 2]), counts_of([1, 1])
    rows = torch.tensor([[0, 1, -1], [1, 2, 5]])
    assert stacked_gather(features, counts, rows, row_counts)[:, 0].tolist() == [
        [1, 0, 0],
        [3, 0, 0],
    ]
    total = stacked_scatter(torch.ones(2, 1, 3), 3, counts, rows, row_counts)
    assert total[:, 0].tolist() == [1, 0, 1]


def test_counts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected counts of 4 points, got \[1, 2\]: 3"):
        stacked_ball_query(
            torch.zeros(4, 3), counts_of([1, 2]), torch.zeros(1, 3), counts_of([1, 0]), 1.0, 2
        )
