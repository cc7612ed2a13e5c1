# SPDX-License-Identifier: Apache-2.0
"""mmcv's ops as functions of arrays: values and gradients, the same call over either extension.

Asked in the test's process (over the stand-in) and, through `oracle_server`, of compiled mmcv. It
therefore imports mmcv and torch only, never lidistill. Arrays come and go as numpy's, and decide by
their dtype in what precision an op computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmcv import ops
from mmcv.ops.modulated_deform_conv import modulated_deform_conv2d
from mmcv.ops.voxelize import voxelization

Array = np.ndarray


def _tensors(*arrays: Array) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def _with_gradients(
    function: Callable[..., torch.Tensor], arrays: Sequence[Array]
) -> dict[str, Array]:
    """Output, and gradients of its sum under fixed weights in every input."""
    leaves = [leaf.requires_grad_() for leaf in _tensors(*arrays)]
    out = function(*leaves)
    weights = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view(out.shape)
    grads = torch.autograd.grad(out, leaves, weights)
    found = {f"grad {place}": grad.numpy() for place, grad in enumerate(grads)}
    return {"out": out.detach().numpy(), **found}


# --- voxels and boxes -----------------------------------------------------------------------------


def hard_voxelize(
    points: Array, size: Sequence[float], limits: Sequence[float], most: tuple[int, int]
) -> dict[str, Array]:
    """Voxels, their cells and their numbers of points."""
    found = voxelization(*_tensors(points), list(size), list(limits), *most)
    names = ("features", "cells", "counts")
    return {name: part.numpy() for name, part in zip(names, found, strict=True)}


def dynamic_voxelize(
    points: Array, size: Sequence[float], limits: Sequence[float]
) -> dict[str, Array]:
    """The cell of each point."""
    found = voxelization(*_tensors(points), list(size), list(limits), -1, -1)
    return {"cells": found.numpy()}


def box_iou_rotated(
    boxes1: Array, boxes2: Array, mode: str, aligned: bool, clockwise: bool
) -> dict[str, Array]:
    """Overlaps."""
    found = ops.box_iou_rotated(*_tensors(boxes1, boxes2), mode, aligned, clockwise)
    return {"overlaps": found.numpy()}


def bbox_overlaps(
    boxes1: Array, boxes2: Array, mode: str, aligned: bool, offset: int
) -> dict[str, Array]:
    """Overlaps."""
    found = ops.bbox_overlaps(*_tensors(boxes1, boxes2), mode, aligned, offset)
    return {"overlaps": found.numpy()}


def nms(boxes: Array, scores: Array, threshold: float, offset: int) -> dict[str, Array]:
    """Boxes kept, with scores, and their rows."""
    boxes_kept, rows = ops.nms(*_tensors(boxes, scores), threshold, offset=offset)
    return {"boxes": boxes_kept.numpy(), "rows": rows.numpy()}


def soft_nms(
    boxes: Array, scores: Array, threshold: float, sigma: float, method: str, offset: int
) -> dict[str, Array]:
    """Boxes kept, with lowered scores, and their rows."""
    numbers = {"sigma": sigma, "min_score": 0.05, "method": method, "offset": offset}
    boxes_kept, rows = ops.soft_nms(*_tensors(boxes, scores), threshold, **numbers)
    return {"boxes": boxes_kept.numpy(), "rows": rows.numpy()}


def nms_match(boxes: Array, scores: Array, threshold: float) -> dict[str, Array]:
    """Groups, as their lengths and all rows one behind the other."""
    dets = torch.cat(_tensors(boxes, scores[:, None]), 1)
    groups = [np.asarray(group) for group in ops.nms_match(dets, threshold)]
    lengths = np.array([len(group) for group in groups])
    return {"lengths": lengths, "rows": np.concatenate([*groups, np.zeros(0, dtype=int)])}


def nms_rotated(boxes: Array, scores: Array, threshold: float, clockwise: bool) -> dict[str, Array]:
    """Boxes kept, with scores, and their rows."""
    kept, rows = ops.nms_rotated(*_tensors(boxes, scores), threshold, clockwise=clockwise)
    if rows is None:  # of no boxes
        return {"boxes": kept.numpy()}
    return {"boxes": kept.numpy(), "rows": rows.numpy()}


def points_in_boxes_cpu(points: Array, boxes: Array) -> dict[str, Array]:
    """Table of points and boxes."""
    return {"inside": ops.points_in_boxes_cpu(*_tensors(points, boxes)).numpy()}


# --- feature maps ---------------------------------------------------------------------------------


def roi_align(
    maps: Array,
    rois: Array,
    bins: tuple[int, int],
    scale: float,
    ratio: int,
    mode: str,
    aligned: bool,
) -> dict[str, Array]:
    """Bins of regions, and the maps' gradient."""
    (regions,) = _tensors(rois)
    return _with_gradients(
        lambda maps: ops.roi_align(maps, regions, bins, scale, ratio, mode, aligned), [maps]
    )


def roi_align_rotated(
    maps: Array,
    rois: Array,
    bins: tuple[int, int],
    scale: float,
    ratio: int,
    aligned: bool,
    clockwise: bool,
) -> dict[str, Array]:
    """Bins of regions, and the maps' gradient."""
    (regions,) = _tensors(rois)
    return _with_gradients(
        lambda maps: ops.roi_align_rotated(maps, regions, bins, scale, ratio, aligned, clockwise),
        [maps],
    )


def deform_conv(
    maps: Array, offset: Array, weight: Array, geometry: dict[str, object]
) -> dict[str, Array]:
    """Output and the gradients of all three."""
    numbers = [geometry[name] for name in ("stride", "padding", "dilation")]
    groups = (geometry["groups"], geometry["deform_groups"])
    return _with_gradients(
        lambda *inputs: ops.deform_conv2d(*inputs, *numbers, *groups, False, 1),
        [maps, offset, weight],
    )


def modulated_deform_conv(
    maps: Array, offset: Array, mask: Array, weight: Array, bias: Array, geometry: dict[str, object]
) -> dict[str, Array]:
    """Output and the gradients of all five."""
    numbers = [geometry[name] for name in ("stride", "padding", "dilation")]
    groups = (geometry["groups"], geometry["deform_groups"])
    return _with_gradients(
        lambda *inputs: modulated_deform_conv2d(*inputs, *numbers, *groups),
        [maps, offset, mask, weight, bias],
    )
