# SPDX-License-Identifier: Apache-2.0
"""Reduction of points to voxels against loops; gradients against autograd."""

from __future__ import annotations

import pytest
import torch

from lidistill.ops.points import scatter as scatter_points


def make_case(count: int = 60, spread: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Features in steps of a half (so maxima tie) and cells, some outside."""
    generator = torch.Generator().manual_seed(count)
    features = torch.randint(-6, 6, (count, 4), generator=generator) / 2.0
    coords = torch.randint(-1, spread, (count, 3), generator=generator, dtype=torch.int32)
    return features, coords


def naive_members(coords: torch.Tensor) -> dict[tuple[int, ...], list[int]]:
    """Points of each cell, cells in lexicographic order."""
    members: dict[tuple[int, ...], list[int]] = {}
    for index, cell in enumerate(map(tuple, coords.tolist())):
        if min(cell) >= 0:
            members.setdefault(cell, []).append(index)
    return dict(sorted(members.items()))


@pytest.mark.parametrize("huge", [False, True])
def test_unique_rows_equal_loop(huge) -> None:
    _, coords = make_case()
    if huge:  # too wide to pack into one integer
        coords = torch.where(coords > 0, coords.long() * 2**40, coords.long())
    rows, row_of_point, counts = scatter_points.unique_rows(coords)
    members = naive_members(coords)
    assert list(map(tuple, rows.tolist())) == list(members)
    assert rows.dtype == coords.dtype
    assert counts.tolist() == [len(points) for points in members.values()]
    for row, points in enumerate(members.values()):
        assert row_of_point[points].tolist() == [row] * len(points)
    assert (row_of_point < 0).sum() == len(coords) - sum(map(len, members.values()))


@pytest.mark.parametrize("reduction", scatter_points.REDUCTIONS)
def test_reduce_equals_loop(reduction) -> None:
    features, coords = make_case()
    _, row_of_point, counts = scatter_points.unique_rows(coords)
    reduced = scatter_points.reduce_points(features, row_of_point, counts, reduction)
    for row, points in zip(reduced, naive_members(coords).values(), strict=True):
        group = features[points]
        expected = group.amax(0) if reduction == "max" else getattr(group, reduction)(0)
        torch.testing.assert_close(row, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype) -> None:
    features = torch.full((3000, 2), 100.0, dtype=dtype)
    row, counts = torch.zeros(3000, dtype=torch.int64), torch.tensor([3000])
    mean = scatter_points.reduce_points(features, row, counts, "mean")
    assert (mean.dtype, mean.tolist()) == (dtype, [[100, 100]])
    total = scatter_points.reduce_points(features / 100, row, counts, "sum")
    torch.testing.assert_close(total, torch.full_like(total, 3000))


@pytest.mark.parametrize("reduction", scatter_points.REDUCTIONS)
def test_gradient_equals_loop(reduction) -> None:
    features, coords = make_case()
    _, row_of_point, counts = scatter_points.unique_rows(coords)
    reduced = scatter_points.reduce_points(features, row_of_point, counts, reduction)
    grad_reduced = torch.randn(reduced.shape, generator=torch.Generator().manual_seed(0))
    grad = scatter_points.reduce_points_backward(
        grad_reduced, features, reduced, row_of_point, counts, reduction
    )
    expected = torch.zeros_like(features)
    for row, points in enumerate(naive_members(coords).values()):
        for channel in range(features.shape[1]):
            values = features[points, channel].tolist()
            if reduction == "max":  # the first of equal maxima
                first = points[values.index(max(values))]
                expected[first, channel] = grad_reduced[row, channel]
            else:
                share = len(points) if reduction == "mean" else 1
                expected[points, channel] = grad_reduced[row, channel] / share
    torch.testing.assert_close(grad, expected)


def test_order_of_points_does_not_matter() -> None:
    features, coords = make_case()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    results = []
    for choice in (torch.arange(60), order):
        rows, row_of_point, counts = scatter_points.unique_rows(coords[choice])
        results.append(
            (rows, scatter_points.reduce_points(features[choice], row_of_point, counts, "mean"))
        )
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("outside", [True, False])
def test_no_points_inside(outside) -> None:
    coords = torch.full((5 if outside else 0, 3), -1, dtype=torch.int32)
    features = torch.ones(len(coords), 2)
    rows, row_of_point, counts = scatter_points.unique_rows(coords)
    assert rows.shape == (0, 3)
    assert counts.shape == (0,)
    reduced = scatter_points.reduce_points(features, row_of_point, counts, "max")
    assert reduced.shape == (0, 2)
    grad = scatter_points.reduce_points_backward(
        reduced, features, reduced, row_of_point, counts, "max"
    )
    assert grad.shape == features.shape
    assert not grad.any()


def test_message() -> None:
    with pytest.raises(ValueError, match="expected reduction in"):
        scatter_points.reduce_points(torch.ones(1, 1), torch.zeros(1).long(), torch.ones(1), "min")
