# SPDX-License-Identifier: Apache-2.0
"""What Part-A2, PAConv and rotated-IoU losses call of the stand-in for ``mmcv._ext``.

mmcv's signatures over kernels of :mod:`lidistill.ops`; the tensors to fill are mmcv's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lidistill.ops.boxes import polygon_order, roi_aware_pool
from lidistill.ops.points import assign_scores


def roiaware_pool3d_forward(
    rois: Tensor,
    pts: Tensor,
    pts_feature: Tensor,
    argmax: Tensor,
    pts_idx_of_voxels: Tensor,
    pooled_features: Tensor,
    pool_method: int,
) -> None:
    """Fill ``pts_idx_of_voxels`` (M, X, Y, Z, K), ``pooled_features`` (M, X, Y, Z, C), ``argmax``.

    ``pool_method`` is 0 for the maximum, 1 for the mean.
    """
    _, x, y, z, capacity = pts_idx_of_voxels.shape
    table = roi_aware_pool.points_of_cells(rois, pts, (x, y, z), capacity)
    pts_idx_of_voxels.copy_(table)
    if pool_method == 0:
        pooled, winner = roi_aware_pool.pool_max(pts_feature, table)
        argmax.copy_(winner)
    else:
        pooled = roi_aware_pool.pool_mean(pts_feature, table)
    pooled_features.copy_(pooled)


def roiaware_pool3d_backward(
    pts_idx_of_voxels: Tensor,
    argmax: Tensor,
    grad_out: Tensor,
    grad_in: Tensor,
    pool_method: int,
) -> None:
    """Fill ``grad_in`` (N, C)."""
    count = len(grad_in)
    if pool_method == 0:
        grad_in.copy_(roi_aware_pool.pool_max_grad(grad_out, argmax, count))
    else:
        grad_in.copy_(roi_aware_pool.pool_mean_grad(grad_out, pts_idx_of_voxels, count))


def assign_score_withk_forward(
    points: Tensor,
    centers: Tensor,
    scores: Tensor,
    knn_idx: Tensor,
    output: Tensor,
    aggregate: int,
    **sizes: int,
) -> None:
    """Fill ``output`` (B, C, M, K); like mmcv's kernel, ``aggregate`` is not looked at."""
    output.copy_(assign_scores.assign_scores(scores, points, centers, knn_idx))


def assign_score_withk_backward(
    grad_out: Tensor,
    points: Tensor,
    centers: Tensor,
    scores: Tensor,
    knn_idx: Tensor,
    grad_points: Tensor,
    grad_centers: Tensor,
    grad_scores: Tensor,
    aggregate: int,
    **sizes: int,
) -> None:
    """Fill the three gradients."""
    grads = assign_scores.assign_scores_grad(grad_out, scores, points, centers, knn_idx)
    for target, grad in zip((grad_scores, grad_points, grad_centers), grads, strict=True):
        target.copy_(grad)


def diff_iou_rotated_sort_vertices_forward(
    vertices: Tensor, mask: Tensor, num_valid: Tensor
) -> Tensor:
    """Order of the corners of shared polygons: (B, N, 9) int32 of candidates (B, N, 24, 2)."""
    return polygon_order.polygon_order(vertices, mask)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        roiaware_pool3d_forward,
        roiaware_pool3d_backward,
        assign_score_withk_forward,
        assign_score_withk_backward,
        diff_iou_rotated_sort_vertices_forward,
    )
}
