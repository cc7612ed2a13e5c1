# SPDX-License-Identifier: Apache-2.0
"""Sampling and neighbourhoods of point sets, as PointNet++ and PointRCNN use them, on the CPU.

mmcv has these as CUDA kernels only. Indices, ties and filling follow its kernels: the lower index
wins a tie, a ball takes its first points in order and repeats the first of them.

Gathering by index and weighted sums of gathered points are torch's own; their gradients are exact
sums in a fixed order.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lidistill.jit import njit
from lidistill.ops._threads import in_parallel
from lidistill.ops.boxes.points_in_boxes import points_in_boxes


def furthest_point_sample(points: Tensor, count: int) -> Tensor:
    """Points that are far from each other: start with the first, then always the furthest left.

    Args:
        points: (B, N, 3) metres.
        count: M points to take, at most N; a set with fewer distinct points repeats some.

    Returns:
        (B, M) int32 rows of ``points``.

    Source: PointNet++, Qi et al., NeurIPS 2017, section 3.2.
    """
    _expect_sets(points, "points")
    if not 0 < count <= points.shape[1]:
        raise ValueError(f"expected 1 to {points.shape[1]} points to sample, got {count}")
    chosen = torch.empty((len(points), count), dtype=torch.int32)
    arrays = (_floats(points), chosen.numpy())
    in_parallel(lambda first, last: _furthest(*arrays, first, last), len(points))
    return chosen.to(points.device)


def furthest_point_sample_with_distances(distances: Tensor, count: int) -> Tensor:
    """The same from given distances (B, N, N), for instance between features: (B, M) int32."""
    if distances.ndim != 3 or distances.shape[1] != distances.shape[2]:
        raise ValueError(f"expected distances (B, N, N), got {tuple(distances.shape)}")
    if not 0 < count <= distances.shape[1]:
        raise ValueError(f"expected 1 to {distances.shape[1]} points to sample, got {count}")
    chosen = torch.empty((len(distances), count), dtype=torch.int32)
    arrays = (_floats(distances), chosen.numpy())
    in_parallel(lambda first, last: _furthest_given(*arrays, first, last), len(distances))
    return chosen.to(distances.device)


def ball_query(
    points: Tensor, centres: Tensor, max_radius: float, count: int, min_radius: float = 0.0
) -> Tensor:
    """The first ``count`` points of each ball (or shell), in the order of the point set.

    Args:
        points: (B, N, 3) metres.
        centres: (B, M, 3) metres.
        max_radius: metres, itself outside.
        count: K points per ball.
        min_radius: metres, itself inside; the centre point always counts.

    Returns:
        (B, M, K) int32 rows of ``points``. A ball with fewer points repeats its first one; an empty
        one holds row 0.
    """
    _expect_sets(points, "points")
    _expect_sets(centres, "centres")
    rows = torch.zeros((*centres.shape[:2], count), dtype=torch.int32)
    for sample in range(len(points)):
        arrays = (_floats(points[sample]), _floats(centres[sample]), rows[sample].numpy())
        radii = (np.float32(min_radius) ** 2, np.float32(max_radius) ** 2)
        in_parallel(lambda first, last: _ball(*arrays, *radii, first, last), centres.shape[1])  # noqa: B023 -- joined at once
    return rows.to(points.device)


def nearest_points(points: Tensor, centres: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The nearest points of each centre.

    Args:
        points: (B, N, 3) metres, at least ``count`` a sample.
        centres: (B, M, 3) metres.
        count: K.

    Returns:
        Squared distances (B, M, K), nearest first, and int32 rows of ``points`` (B, M, K).
    """
    _expect_sets(points, "points")
    _expect_sets(centres, "centres")
    if points.shape[1] < count:
        raise ValueError(f"expected at least {count} points a sample, got {points.shape[1]}")
    shape = (*centres.shape[:2], count)
    distances, rows = torch.empty(shape), torch.empty(shape, dtype=torch.int32)
    for sample in range(len(points)):
        arrays = (
            _floats(points[sample]),
            _floats(centres[sample]),
            distances[sample].numpy(),
            rows[sample].numpy(),
        )
        in_parallel(lambda first, last: _nearest(*arrays, first, last), centres.shape[1])  # noqa: B023 -- joined at once
    return distances.to(points), rows.to(points.device)


def gather_rows(features: Tensor, rows: Tensor) -> Tensor:
    """Columns of (B, C, N) at ``rows`` (B, ...): (B, C, ...). Differentiable."""
    flat = rows.flatten(1).long()[:, None].expand(-1, features.shape[1], -1)
    return features.gather(2, flat).unflatten(2, rows.shape[1:])


def scatter_rows(gradient: Tensor, rows: Tensor, count: int) -> Tensor:
    """Transpose of :func:`gather_rows`: (B, C, ...) summed into (B, C, ``count``)."""
    flat = rows.flatten(1).long()[:, None].expand(-1, gradient.shape[1], -1)
    zeros = gradient.new_zeros((*gradient.shape[:2], count))
    return zeros.scatter_add_(2, flat, gradient.flatten(2))


def pool_points_in_boxes(
    points: Tensor, features: Tensor, boxes: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """The first points inside each box with their features; a box with fewer repeats them in turn.

    Args:
        points: (B, N, 3) metres.
        features: (B, N, C).
        boxes: (B, M, 7), origin at the bottom's centre, as mmcv's.
        count: K points per box.

    Returns:
        (B, M, K, 3 + C) coordinates and features, zero for an empty box; (B, M) bool empty.
    """
    pooled, empty = [], []
    for xyz, values, found in zip(points, features, boxes, strict=True):
        inside = points_in_boxes(xyz, found)  # (M, N)
        total = inside.sum(1)
        order = torch.argsort((~inside).to(torch.uint8), dim=1, stable=True)  # inside first
        turn = torch.arange(count, device=order.device) % total.clamp(min=1)[:, None]  # (M, K)
        rows = order.gather(1, turn)
        taken = torch.cat([xyz.to(values), values], dim=1)[rows]  # (M, K, 3 + C)
        pooled.append(taken * (total > 0).to(taken)[:, None, None])
        empty.append(total == 0)
    return torch.stack(pooled), torch.stack(empty)


def _expect_sets(points: Tensor, name: str) -> None:
    if points.ndim != 3 or points.shape[2] != 3:
        raise ValueError(f"expected {name} (B, N, 3), got {tuple(points.shape)}")


def _floats(points: Tensor) -> np.ndarray:
    return points.detach().float().cpu().contiguous().numpy()


@njit
def _furthest(points, chosen, first, last):  # type: ignore[no-untyped-def]
    for sample in range(first, last):
        xyz = points[sample]
        x, y, z = xyz[:, 0].copy(), xyz[:, 1].copy(), xyz[:, 2].copy()
        far = np.full(len(xyz), np.float32(1e10), dtype=np.float32)
        at = 0
        chosen[sample, 0] = 0
        for step in range(1, chosen.shape[1]):
            cx, cy, cz = x[at], y[at], z[at]
            for k in range(len(far)):
                dx, dy, dz = x[k] - cx, y[k] - cy, z[k] - cz
                far[k] = min(far[k], dx * dx + dy * dy + dz * dz)
            at = int(np.argmax(far))
            chosen[sample, step] = at


@njit
def _furthest_given(distances, chosen, first, last):  # type: ignore[no-untyped-def]
    for sample in range(first, last):
        far = np.full(distances.shape[1], np.float32(1e10), dtype=np.float32)
        at = 0
        chosen[sample, 0] = 0
        for step in range(1, chosen.shape[1]):
            far = np.minimum(far, distances[sample, at])
            at = int(np.argmax(far))
            chosen[sample, step] = at


@njit
def _ball(points, centres, rows, near, far, first, last):  # type: ignore[no-untyped-def]
    for centre in range(first, last):
        found = 0
        for k in range(len(points)):
            distance = np.float32(0)
            for axis in range(3):
                shift = centres[centre, axis] - points[k, axis]
                distance += shift * shift
            if distance == 0 or near <= distance < far:
                if found == 0:
                    rows[centre, :] = k
                rows[centre, found] = k
                found += 1
                if found == rows.shape[1]:
                    break


@njit
def _nearest(points, centres, distances, rows, first, last):  # type: ignore[no-untyped-def]
    count = rows.shape[1]
    for centre in range(first, last):
        best, at = distances[centre], rows[centre]
        best[:] = np.inf
        at[:] = 0
        for k in range(len(points)):
            distance = np.float32(0)
            for axis in range(3):
                shift = centres[centre, axis] - points[k, axis]
                distance += shift * shift
            if not distance < best[count - 1]:  # NaN is near nothing
                continue
            place = count - 1
            while place > 0 and best[place - 1] > distance:
                best[place], at[place] = best[place - 1], at[place - 1]
                place -= 1
            best[place], at[place] = distance, k
