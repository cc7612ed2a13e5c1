# SPDX-License-Identifier: Apache-2.0
"""What the stand-in for ``mmcv._ext`` answers: mmcv's signatures over lidistill's kernels.

Most functions write into tensors that mmcv's Python layer made. :mod:`lidistill.ops.mmcv.ext` puts
:data:`FUNCTIONS` in place. To add an op: its kernel in a file of its own, its signature here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lidistill.ops import focal_loss
from lidistill.ops.boxes import nms, points_in_boxes, rotated_iou
from lidistill.ops.points import scatter as scatter_points
from lidistill.ops.points import voxelize

FUNCTIONS: dict[str, Callable[..., Any]] = {}  # by mmcv's name


def _answers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Answer mmcv's calls of this name with ``function``."""
    FUNCTIONS[function.__name__] = function
    return function


# --- voxels ---------------------------------------------------------------------------------------


@_answers
def hard_voxelize_forward(  # noqa: PLR0913 (mmcv's signature)
    points: Tensor,
    voxel_size: Tensor,
    coors_range: Tensor,
    voxels: Tensor,
    coors: Tensor,
    num_points_per_voxel: Tensor,
    voxel_num: Tensor,
    max_points: int,
    max_voxels: int,
    NDim: int = 3,
    deterministic: bool = True,
) -> None:
    """Fill ``voxels``, ``coors``, ``num_points_per_voxel``, ``voxel_num``; always deterministic."""
    _expect_3d(NDim)
    grid = voxelize.VoxelGrid.from_range(voxel_size.tolist(), coors_range.tolist())
    found = voxelize.hard_voxelize_into(
        points,
        grid,
        voxels[:max_voxels, :max_points],
        coors[:max_voxels],
        num_points_per_voxel[:max_voxels],
    )
    voxel_num.fill_(found)


@_answers
def dynamic_voxelize_forward(
    points: Tensor, voxel_size: Tensor, coors_range: Tensor, coors: Tensor, NDim: int = 3
) -> None:
    """Fill ``coors`` (N, 3) with each point's cell (z, y, x), -1 outside."""
    _expect_3d(NDim)
    grid = voxelize.VoxelGrid.from_range(voxel_size.tolist(), coors_range.tolist())
    coors.copy_(voxelize.dynamic_voxelize(points, grid))


def _expect_3d(dimensions: int) -> None:
    if dimensions != 3:
        raise NotImplementedError(
            f"expected voxels of NDim=3, got {dimensions}; lidistill's stand-in has only these"
        )


@_answers
def dynamic_point_to_voxel_forward(
    feats: Tensor, coors: Tensor, reduce_type: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Reduce points that share a cell: features (V, C), cells (V, 3), voxel of point, counts."""
    rows, row_of_point, counts = scatter_points.unique_rows(coors)
    reduced = scatter_points.reduce_points(feats.detach(), row_of_point, counts, reduce_type)
    return reduced, rows, row_of_point.int(), counts.int()


@_answers
def dynamic_point_to_voxel_backward(
    grad_feats: Tensor,
    grad_reduced_feats: Tensor,
    feats: Tensor,
    reduced_feats: Tensor,
    coors_idx: Tensor,
    reduce_count: Tensor,
    reduce_type: str,
) -> None:
    """Fill ``grad_feats`` (N, C)."""
    grad_feats.copy_(
        scatter_points.reduce_points_backward(
            grad_reduced_feats, feats, reduced_feats, coors_idx, reduce_count, reduce_type
        )
    )


# --- overlaps -------------------------------------------------------------------------------------


@_answers
def box_iou_rotated(
    boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool
) -> None:
    """Fill ``ious`` (N * M, or N if aligned)."""
    mode = rotated_iou.MODES[mode_flag]
    ious.copy_(rotated_iou.rotated_iou(boxes1, boxes2, mode, aligned).reshape(ious.shape))


@_answers
def bbox_overlaps(
    boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Fill ``ious`` of axis-aligned boxes: (N, M), or (N,) if aligned."""
    if not aligned:
        boxes1, boxes2 = boxes1[:, None], boxes2[None]
    left1, top1, right1, bottom1 = boxes1.unbind(-1)
    left2, top2, right2, bottom2 = boxes2.unbind(-1)
    width = (torch.minimum(right1, right2) - torch.maximum(left1, left2) + offset).clamp_(min=0)
    height = (torch.minimum(bottom1, bottom2) - torch.maximum(top1, top2) + offset).clamp_(min=0)
    shared = width.mul_(height)
    base = (right1 - left1 + offset) * (bottom1 - top1 + offset)
    if mode == 0:
        base = base + (right2 - left2 + offset) * (bottom2 - top2 + offset) - shared
    ious.copy_(shared.div_(base))


@_answers
def iou3d_boxes_overlap_bev_forward(boxes_a: Tensor, boxes_b: Tensor, ans_overlap: Tensor) -> None:
    """Fill ``ans_overlap`` (N, M) with shared footprint areas of boxes (N, 7), (M, 7)."""
    footprints_a, footprints_b = map(rotated_iou.bev_rectangles, (boxes_a, boxes_b))
    ans_overlap.copy_(rotated_iou.rotated_overlap(footprints_a, footprints_b))


# --- suppression ----------------------------------------------------------------------------------


@_answers
def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: int,
) -> Tensor:
    """Rows kept; like mmcv's kernels, labels are not looked at."""
    return nms.nms_rotated(dets, scores, iou_threshold)


def _fill_kept(kept: Tensor, keep: Tensor, num_out: Tensor) -> None:
    keep[: len(kept)] = kept.to(keep.device)
    num_out.fill_(len(kept))


@_answers
def iou3d_nms3d_forward(
    boxes: Tensor, keep: Tensor, num_out: Tensor, nms_overlap_thresh: float
) -> None:
    """Fill ``keep`` and ``num_out``: places kept of boxes (N, 7) given best first."""
    footprints = rotated_iou.bev_rectangles(boxes)
    _fill_kept(nms.nms_sorted_bev(footprints, nms_overlap_thresh), keep, num_out)


@_answers
def iou3d_nms3d_normal_forward(
    boxes: Tensor, keep: Tensor, num_out: Tensor, nms_overlap_thresh: float
) -> None:
    """Fill ``keep`` and ``num_out`` as above, with every yaw taken as 0."""
    footprints = rotated_iou.bev_rectangles(boxes)
    kept = nms.nms_sorted_bev(footprints, nms_overlap_thresh, rotated=False)
    _fill_kept(kept, keep, num_out)


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    return nms.nms(boxes, scores, iou_threshold, offset)


def _softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    name = next(name for name, number in nms.SOFT_METHODS.items() if number == method)
    scored, rows = nms.soft_nms(boxes, scores, iou_threshold, sigma, min_score, name, offset)
    dets[: len(scored)] = scored.to(dets.device)
    return rows


def _nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    return nms.nms_match(dets[:, :4], dets[:, 4], iou_threshold)


FUNCTIONS.update(nms=_nms, softnms=_softnms, nms_match=_nms_match)


# --- points in boxes ------------------------------------------------------------------------------


@_answers
def points_in_boxes_cpu_forward(boxes: Tensor, pts: Tensor, pts_indices: Tensor) -> None:
    """Fill ``pts_indices`` (M, N) with 1 where point n lies in box m."""
    pts_indices.copy_(points_in_boxes.points_in_boxes(pts, boxes))


@_answers
def points_in_boxes_part_forward(boxes: Tensor, pts: Tensor, box_idx_of_points: Tensor) -> None:
    """Fill ``box_idx_of_points`` (B, N) with the first box of each point, or -1."""
    for sample, indices in enumerate(box_idx_of_points):
        indices.copy_(points_in_boxes.first_box_of_points(pts[sample], boxes[sample]))


@_answers
def points_in_boxes_all_forward(boxes: Tensor, pts: Tensor, box_idx_of_points: Tensor) -> None:
    """Fill ``box_idx_of_points`` (B, N, M) with 1 where point n lies in box m."""
    for sample, indices in enumerate(box_idx_of_points):
        indices.copy_(points_in_boxes.points_in_boxes(pts[sample], boxes[sample]).t())


# --- losses ---------------------------------------------------------------------------------------


@_answers
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` (N, C)."""
    output.copy_(focal_loss.sigmoid_focal_loss(input, target, weight, gamma, alpha))


@_answers
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input`` (N, C)."""
    grad_input.copy_(focal_loss.sigmoid_focal_loss_grad(input, target, weight, gamma, alpha))


@_answers
def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` (N,) from softmax probabilities ``input`` (N, C)."""
    output.copy_(focal_loss.softmax_focal_loss(input, target, weight, gamma, alpha))


@_answers
def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Fill ``grad_input`` (N, C) from softmax probabilities ``input`` (N, C)."""
    grad_input.copy_(focal_loss.softmax_focal_loss_grad(input, target, weight, gamma, alpha))


# --- what mmcv tells about its build --------------------------------------------------------------


@_answers
def get_compiler_version() -> str:
    """Shown in mmengine's environment report."""
    return "none (lidistill.ops.mmcv.ext)"


@_answers
def get_compiling_cuda_version() -> str:
    """Shown in mmengine's environment report."""
    return "none (lidistill.ops.mmcv.ext)"
