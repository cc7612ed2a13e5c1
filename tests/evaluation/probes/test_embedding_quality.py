# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from lidistill.evaluation.probes.embedding_quality import (
    MOST_ROWS,
    alignment,
    effective_rank,
    embedding_quality,
    uniformity,
)


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def gap(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(7, 3, generator=random), torch.randn(7, 3, generator=random)


def test_alignment_and_uniformity_equal_naive_loops(pair):
    points, pixels = ([unit(row) for row in part.tolist()] for part in pair)
    expected = sum(gap(a, b) for a, b in zip(points, pixels, strict=True)) / 7
    assert alignment(*pair) == pytest.approx(expected, rel=1e-5)
    potentials = [
        math.exp(-2 * gap(points[i], points[j])) for i in range(7) for j in range(7) if i < j
    ]
    assert uniformity(pair[0]) == pytest.approx(math.log(sum(potentials) / 21), rel=1e-5)


def test_extremes():
    rows = torch.eye(4).repeat(8, 1)
    assert alignment(rows, 3 * rows) == pytest.approx(0)
    assert alignment(rows, -rows) == pytest.approx(4)
    assert uniformity(torch.ones(9, 4)) == pytest.approx(0, abs=1e-5)
    assert effective_rank(rows) == pytest.approx(4, rel=1e-3)
    assert effective_rank(torch.ones(9, 4)) == pytest.approx(1, rel=1e-3)


def test_length_does_not_matter_and_many_rows_are_thinned_in_one_way(pair):
    assert uniformity(pair[0] * 5) == pytest.approx(uniformity(pair[0]))
    many = torch.randn(2 * MOST_ROWS, 4, generator=torch.Generator().manual_seed(1))
    assert uniformity(many) == uniformity(many[::2])


def test_names_and_too_few_rows(pair):
    assert set(embedding_quality(*pair)) == {
        "alignment", "uniformity_points", "uniformity_pixels", "rank_points", "rank_pixels",
    }  # fmt: skip
    assert embedding_quality(pair[0][:1], pair[1][:1]) == {}
