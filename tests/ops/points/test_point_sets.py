# SPDX-License-Identifier: Apache-2.0
"""Point sampling and neighbourhoods against loops; gradients against torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill.ops.points import point_sets


def cloud(samples: int, count: int, seed: int, step: float = 0.0) -> torch.Tensor:
    """(B, N, 3); with a ``step`` on a lattice, so that distances tie."""
    points = torch.from_numpy(np.random.default_rng(seed).uniform(-2, 2, (samples, count, 3)))
    return (points if step == 0 else (points / step).round() * step).float()


def squared(one: np.ndarray, other: np.ndarray) -> np.float32:
    total = np.float32(0)
    for axis in range(3):
        shift = one[axis] - other[axis]
        total += shift * shift
    return total


def naive_furthest(points: np.ndarray, count: int) -> list[int]:
    chosen = [0]
    while len(chosen) < count:
        nearest = [min(squared(points[c], p) for c in chosen) for p in points]
        chosen.append(nearest.index(max(nearest)))
    return chosen


def naive_ball(points, centre, near: float, far: float, count: int) -> list[int]:
    near, far = np.float32(near) ** 2, np.float32(far) ** 2
    found = [
        k
        for k, point in enumerate(points)
        if squared(centre, point) == 0 or near <= squared(centre, point) < far
    ][:count]
    return found + [found[0] if found else 0] * (count - len(found))


@pytest.mark.parametrize("step", [0.0, 0.5])
@pytest.mark.parametrize("threads", [1, 2])
def test_furthest_points_equal_loop(step, threads):
    points = cloud(3, 60, 0, step)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = point_sets.furthest_point_sample(points, 20)
    finally:
        torch.set_num_threads(before)
    assert rows.dtype == torch.int32
    assert rows.tolist() == [naive_furthest(sample.numpy(), 20) for sample in points]


def test_furthest_from_distances_equals_furthest():
    points = cloud(2, 50, 1)
    difference = points[:, :, None] - points[:, None]
    rows = point_sets.furthest_point_sample_with_distances(difference.square().sum(-1), 12)
    assert rows.tolist() == [naive_furthest(sample.numpy(), 12) for sample in points]


def test_all_points_are_taken_once():
    rows = point_sets.furthest_point_sample(cloud(1, 40, 2), 40)
    assert sorted(rows[0].tolist()) == list(range(40))


@pytest.mark.parametrize(("near", "far", "count"), [(0, 0.8, 8), (0.4, 1.0, 4), (0, 0.05, 3)])
@pytest.mark.parametrize("step", [0.0, 0.5])
def test_ball_equals_loop(near, far, count, step):
    points, centres = cloud(2, 80, 3, step), cloud(2, 15, 4, step)
    centres[:, 0] = points[:, 7]
    rows = point_sets.ball_query(points, centres, far, count, near)
    expected = [
        [naive_ball(p, c, near, far, count) for c in row]
        for p, row in zip(points.numpy(), centres.numpy(), strict=True)
    ]
    assert rows.tolist() == expected


@pytest.mark.parametrize("step", [0.0, 0.5])
def test_nearest_equal_loop(step):
    points, centres = cloud(2, 50, 5, step), cloud(2, 20, 6, step)
    distances, rows = point_sets.nearest_points(points, centres, 3)
    for sample in range(2):
        for at, centre in enumerate(centres[sample].numpy()):
            all_squared = [squared(centre, point) for point in points[sample].numpy()]
            order = sorted(range(50), key=lambda k: (all_squared[k], k))[:3]
            assert rows[sample, at].tolist() == order
            assert distances[sample, at].tolist() == [all_squared[k] for k in order]


def test_a_point_of_nan_is_near_nothing_and_hides_no_other():
    points = torch.tensor([[[1.0, 0, 0], [0.1, 0, 0], [torch.nan] * 3, [5, 0, 0], [6, 0, 0]]])
    for count, wanted in ((1, [1]), (3, [1, 0, 3])):
        distances, rows = point_sets.nearest_points(points, torch.zeros(1, 1, 3), count)
        assert rows.tolist() == [[wanted]]
        torch.testing.assert_close(distances[0, 0], points[0, wanted, 0] ** 2)


def test_gather_and_its_transpose():
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 9, generator=rng, dtype=torch.double, requires_grad=True)
    rows = torch.randint(9, (2, 4, 5), generator=rng, dtype=torch.int32)
    taken = point_sets.gather_rows(features, rows)
    assert taken.shape == (2, 3, 4, 5)
    for b, c, m, k in np.ndindex(*taken.shape):
        assert taken[b, c, m, k] == features[b, c, rows[b, m, k]]
    gradient = torch.randn(taken.shape, generator=rng, dtype=torch.double)
    (wanted,) = torch.autograd.grad(taken, features, gradient)
    torch.testing.assert_close(point_sets.scatter_rows(gradient, rows, 9), wanted)


def test_pooling_equals_loop():
    points = cloud(2, 60, 7)
    features = torch.randn(2, 60, 4, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor(
        [[0.0, 0, -1, 2, 2, 2, 0.3], [9, 9, 9, 1, 1, 1, 0], [1, 1, -2, 1, 1, 4, 1]]
    )
    boxes = boxes.expand(2, 3, 7).contiguous()
    pooled, empty = point_sets.pool_points_in_boxes(points, features, boxes, 7)
    assert pooled.shape == (2, 3, 7, 7)
    for b in range(2):
        for m, box in enumerate(boxes[b]):
            inside = point_sets.points_in_boxes(points[b], box[None])[0].nonzero()[:, 0].tolist()
            assert empty[b, m] == (not inside)
            for k in range(7):
                row = pooled[b, m, k]
                if not inside:
                    assert (row == 0).all()
                    continue
                at = inside[k % len(inside)]
                assert torch.equal(row, torch.cat([points[b, at], features[b, at]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: point_sets.furthest_point_sample(p, 11), "1 to 10 points"),
        (lambda p: point_sets.furthest_point_sample(p[0], 1), r"points \(B, N, 3\)"),
        (lambda p: point_sets.furthest_point_sample_with_distances(p, 1), r"\(B, N, N\)"),
        (lambda p: point_sets.ball_query(p, p[..., :2], 1.0, 4), r"centres \(B, N, 3\)"),
        (lambda p: point_sets.nearest_points(p, p, 11), "at least 11 points"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(cloud(1, 10, 8))


def test_mmcv_calls_reach_these_kernels_with_gradients():
    from lidistill import compat

    compat.apply()
    from mmcv.ops import (
        QueryAndGroup,
        furthest_point_sample,
        gather_points,
        knn,
        three_interpolate,
        three_nn,
    )

    points = cloud(2, 40, 9)
    features = torch.randn(2, 5, 40, requires_grad=True)
    rows = furthest_point_sample(points, 6)
    assert torch.equal(rows, point_sets.furthest_point_sample(points, 6))
    centres = gather_points(points.transpose(1, 2).contiguous(), rows).transpose(1, 2).contiguous()
    near = point_sets.nearest_points(points, centres, 4)[1]
    assert torch.equal(knn(4, points, centres, False), near.transpose(1, 2))
    grouped = QueryAndGroup(0.8, 4, use_xyz=False)(points, centres, features)  # (B, C, M, K)
    inside = point_sets.ball_query(points, centres, 0.8, 4)
    assert torch.equal(grouped, point_sets.gather_rows(features, inside))
    distances, back = three_nn(points, centres)
    weights = 1 / (distances + 0.1)
    spread = three_interpolate(grouped.amax(-1), back, weights)  # (B, C, N)
    taken = point_sets.gather_rows(point_sets.gather_rows(features, inside).amax(-1), back)
    wanted = (taken * weights[:, None]).sum(-1)
    torch.testing.assert_close(spread, wanted)
    seed = torch.randn(spread.shape)
    (ours,) = torch.autograd.grad(spread, features, seed)
    (plain,) = torch.autograd.grad(wanted, features, seed)
    torch.testing.assert_close(ours, plain)
