# SPDX-License-Identifier: Apache-2.0
"""The point-set half of the stand-in for ``mmcv._ext``: what PointNet++ and PointRCNN call.

mmcv's signatures over :mod:`lidistill.ops.points.point_sets`; the tensors to fill are mmcv's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lidistill.ops.points import point_sets, stacked


def furthest_point_sampling_forward(
    points_tensor: Tensor, temp_tensor: Tensor, idx_tensor: Tensor, b: int, n: int, m: int
) -> None:
    """Fill ``idx_tensor`` (B, M)."""
    idx_tensor.copy_(point_sets.furthest_point_sample(points_tensor, m))


def furthest_point_sampling_with_dist_forward(
    points_tensor: Tensor, temp_tensor: Tensor, idx_tensor: Tensor, b: int, n: int, m: int
) -> None:
    """Fill ``idx_tensor`` (B, M) from distances (B, N, N)."""
    idx_tensor.copy_(point_sets.furthest_point_sample_with_distances(points_tensor, m))


def ball_query_forward(
    new_xyz_tensor: Tensor,
    xyz_tensor: Tensor,
    idx_tensor: Tensor,
    b: int,
    n: int,
    m: int,
    min_radius: float,
    max_radius: float,
    nsample: int,
) -> None:
    """Fill ``idx_tensor`` (B, M, K)."""
    rows = point_sets.ball_query(xyz_tensor, new_xyz_tensor, max_radius, nsample, min_radius)
    idx_tensor.copy_(rows)


def knn_forward(
    xyz_tensor: Tensor,
    new_xyz_tensor: Tensor,
    idx_tensor: Tensor,
    dist2_tensor: Tensor,
    b: int,
    n: int,
    m: int,
    nsample: int,
) -> None:
    """Fill ``idx_tensor`` and ``dist2_tensor`` (B, M, K), nearest first."""
    distances, rows = point_sets.nearest_points(xyz_tensor, new_xyz_tensor, nsample)
    idx_tensor.copy_(rows)
    dist2_tensor.copy_(distances)


def three_nn_forward(
    unknown_tensor: Tensor,
    known_tensor: Tensor,
    dist2_tensor: Tensor,
    idx_tensor: Tensor,
    b: int,
    n: int,
    m: int,
) -> None:
    """Fill ``dist2_tensor`` and ``idx_tensor`` (B, N, 3), nearest first."""
    distances, rows = point_sets.nearest_points(known_tensor, unknown_tensor, 3)
    idx_tensor.copy_(rows)
    dist2_tensor.copy_(distances)


def three_interpolate_forward(
    points_tensor: Tensor,
    idx_tensor: Tensor,
    weight_tensor: Tensor,
    out_tensor: Tensor,
    b: int,
    c: int,
    m: int,
    n: int,
) -> None:
    """Fill ``out_tensor`` (B, C, N) with weighted sums of three columns of (B, C, M)."""
    taken = point_sets.gather_rows(points_tensor, idx_tensor)  # (B, C, N, 3)
    out_tensor.copy_((taken * weight_tensor[:, None]).sum(-1))


def three_interpolate_backward(
    grad_out_tensor: Tensor,
    idx_tensor: Tensor,
    weight_tensor: Tensor,
    grad_points_tensor: Tensor,
    b: int,
    c: int,
    n: int,
    m: int,
) -> None:
    """Fill ``grad_points_tensor`` (B, C, M)."""
    shares = grad_out_tensor[..., None] * weight_tensor[:, None]  # (B, C, N, 3)
    grad_points_tensor.copy_(point_sets.scatter_rows(shares, idx_tensor, m))


def gather_points_forward(
    points_tensor: Tensor,
    idx_tensor: Tensor,
    out_tensor: Tensor,
    b: int,
    c: int,
    n: int,
    npoints: int,
) -> None:
    """Fill ``out_tensor`` (B, C, M)."""
    out_tensor.copy_(point_sets.gather_rows(points_tensor, idx_tensor))


def gather_points_backward(
    grad_out_tensor: Tensor,
    idx_tensor: Tensor,
    grad_points_tensor: Tensor,
    b: int,
    c: int,
    n: int,
    npoints: int,
) -> None:
    """Fill ``grad_points_tensor`` (B, C, N)."""
    grad_points_tensor.copy_(point_sets.scatter_rows(grad_out_tensor, idx_tensor, n))


def group_points_forward(
    points_tensor: Tensor,
    idx_tensor: Tensor,
    out_tensor: Tensor,
    b: int,
    c: int,
    n: int,
    npoints: int,
    nsample: int,
) -> None:
    """Fill ``out_tensor`` (B, C, M, K)."""
    out_tensor.copy_(point_sets.gather_rows(points_tensor, idx_tensor))


def group_points_backward(
    grad_out_tensor: Tensor,
    idx_tensor: Tensor,
    grad_points_tensor: Tensor,
    b: int,
    c: int,
    n: int,
    npoints: int,
    nsample: int,
) -> None:
    """Fill ``grad_points_tensor`` (B, C, N)."""
    grad_points_tensor.copy_(point_sets.scatter_rows(grad_out_tensor, idx_tensor, n))


def roipoint_pool3d_forward(
    xyz: Tensor,
    boxes3d: Tensor,
    pts_feature: Tensor,
    pooled_features: Tensor,
    pooled_empty_flag: Tensor,
) -> None:
    """Fill ``pooled_features`` (B, M, K, 3 + C) and ``pooled_empty_flag`` (B, M)."""
    count = pooled_features.shape[2]
    pooled, empty = point_sets.pool_points_in_boxes(xyz, pts_feature, boxes3d, count)
    pooled_features.copy_(pooled)
    pooled_empty_flag.copy_(empty)


# --- samples one behind the other -----------------------------------------------------------------


def stack_ball_query_forward(
    new_xyz_tensor: Tensor,
    new_xyz_batch_cnt: Tensor,
    xyz_tensor: Tensor,
    xyz_batch_cnt: Tensor,
    idx_tensor: Tensor,
    max_radius: float,
    nsample: int,
) -> None:
    """Fill ``idx_tensor`` (M, K)."""
    sets = (xyz_tensor, xyz_batch_cnt, new_xyz_tensor, new_xyz_batch_cnt)
    idx_tensor.copy_(stacked.stacked_ball_query(*sets, max_radius, nsample))


def stack_group_points_forward(
    features_tensor: Tensor,
    features_batch_cnt_tensor: Tensor,
    idx_tensor: Tensor,
    idx_batch_cnt_tensor: Tensor,
    out_tensor: Tensor,
    b: int,
    m: int,
    c: int,
    nsample: int,
) -> None:
    """Fill ``out_tensor`` (M, C, K)."""
    counts, rows = features_batch_cnt_tensor, idx_tensor
    taken = stacked.stacked_gather(features_tensor, counts, rows, idx_batch_cnt_tensor)
    out_tensor.copy_(taken)


def stack_group_points_backward(
    grad_out_tensor: Tensor,
    idx_tensor: Tensor,
    idx_batch_cnt_tensor: Tensor,
    features_batch_cnt_tensor: Tensor,
    grad_features_tensor: Tensor,
    b: int,
    c: int,
    m: int,
    n: int,
    nsample: int,
) -> None:
    """Fill ``grad_features_tensor`` (N, C)."""
    counts = (features_batch_cnt_tensor, idx_tensor, idx_batch_cnt_tensor)
    grad_features_tensor.copy_(stacked.stacked_scatter(grad_out_tensor, n, *counts))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        furthest_point_sampling_forward,
        furthest_point_sampling_with_dist_forward,
        ball_query_forward,
        knn_forward,
        three_nn_forward,
        three_interpolate_forward,
        three_interpolate_backward,
        gather_points_forward,
        gather_points_backward,
        group_points_forward,
        group_points_backward,
        roipoint_pool3d_forward,
        stack_ball_query_forward,
        stack_group_points_forward,
        stack_group_points_backward,
    )
}
