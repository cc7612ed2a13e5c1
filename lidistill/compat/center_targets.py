# SPDX-License-Identifier: Apache-2.0
"""CenterPoint's targets for all boxes of a sample at once; mmdet3d makes them box by box."""

from __future__ import annotations

from functools import lru_cache, wraps
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

COLUMNS = 9
"""Of a box: centre, size, yaw, velocity; with others, mmdet3d's own loop says what is wrong."""


def patch_head(module: Any) -> None:
    """`CenterHead.get_targets_single`, equal to the bit, without a loop in Python over tensors.

    Args:
        module: ``mmdet3d.models.dense_heads.centerpoint_head``.
    """
    head = module.CenterHead
    original = head.get_targets_single
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def get_targets_single(self: Any, gt_instances_3d: Any) -> Any:
        boxes = gt_instances_3d.bboxes_3d
        labels = gt_instances_3d.labels_3d
        values = torch.cat((boxes.gravity_center, boxes.tensor[:, 3:]), dim=1).to(labels.device)
        on_cpu = values.detach().cpu()  # the one wait for a GPU
        if values.shape[1] != COLUMNS or not torch.isfinite(on_cpu).all():
            return original(self, gt_instances_3d)
        return _targets(self, values, on_cpu, labels)

    head.get_targets_single = get_targets_single


def _targets(head: Any, boxes: Tensor, on_cpu: Tensor, labels: Tensor) -> tuple[list[Tensor], ...]:
    """Targets of one sample.

    Args:
        head: mmdet3d's ``CenterHead``.
        boxes: (N, 9) centre of gravity, size, yaw, velocity.
        on_cpu: the same.
        labels: (N,) of all tasks' classes, one after another.

    Returns:
        Four lists with an entry a task: heatmap (C, H, W), boxes (M, 10) by slot, cells (M,) as
        ``y * W + x``, and which slots are taken (M,).
    """
    cfg, device = head.train_cfg, labels.device
    slots = cfg["max_objs"] * cfg["dense_reg"]
    width, height = (int(cells) // cfg["out_size_factor"] for cells in cfg["grid_size"][:2])
    task, slot, cls, box = _places([len(names) for names in head.class_names], labels.cpu())
    cells, offsets = _cells(cfg, on_cpu[box])
    radius = _radii(cfg, on_cpu[box])
    x, y = cells.unbind(1)
    kept = (slot < slots) & (on_cpu[box, 3:5] > 0).all(1)
    kept &= (x >= 0) & (x < width) & (y >= 0) & (y < height)
    task, slot, cls, box = (one[kept] for one in (task, slot, cls, box))

    count = sum(len(names) for names in head.class_names)
    heatmaps = on_cpu.new_zeros((count, height, width))
    places = (cls, x[kept], y[kept], radius[kept])
    _draw(heatmaps.numpy(), np.stack([one.numpy() for one in places], axis=1))

    rows = boxes.new_zeros((len(head.class_names), slots, 10), dtype=torch.float32)
    taken = boxes.new_zeros(rows.shape[:2], dtype=torch.uint8)
    index = labels.new_zeros(rows.shape[:2], dtype=torch.int64)
    task, slot, box = (one.to(device) for one in (task, slot, box))
    rows[task, slot] = _rows(boxes[box], offsets[kept].to(device), head.norm_bbox)
    taken[task, slot] = 1
    index[task, slot] = (y * width + x)[kept].to(device)
    maps = heatmaps.to(device).split([len(names) for names in head.class_names])
    return list(maps), list(rows), list(index), list(taken)


def _places(sizes: list[int], labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Task, slot, class and row of boxes of known classes: class by class, then as they come."""
    task_of = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    known = (labels >= 0) & (labels < len(task_of))
    box = torch.arange(len(labels))[known]
    box = box[torch.argsort(labels[known], stable=True)]
    cls = labels[box].long()
    task = task_of[cls]
    first = torch.searchsorted(task, torch.arange(len(sizes)))  # row of a task's first box
    return task, torch.arange(len(box)) - first[task], cls, box


def _per_metre(cfg: Any) -> tuple[Tensor, Tensor]:
    """Lower corner of the range and size of a voxel, each (2,), x and y."""
    return torch.tensor(cfg["point_cloud_range"])[:2], torch.tensor(cfg["voxel_size"])[:2]


def _cells(cfg: Any, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Cell (K, 2) of each centre, x and y, cut towards zero, and what is left of it."""
    low, voxel = _per_metre(cfg)
    centre = ((boxes[:, :2] - low) / voxel / cfg["out_size_factor"]).float()
    cell = centre.to(torch.int32)
    return cell.long(), centre - cell


def _radii(cfg: Any, boxes: Tensor) -> Tensor:
    """Radius (K,) of the Gaussians, in cells.

    The smallest of CornerNet's three (1808.01244, section 3.2, with its release's roots): a box
    whose corners are moved so far still overlaps by ``gaussian_overlap`` if it is as large, lies
    inside, or lies around.
    """
    _, voxel = _per_metre(cfg)
    length, width = (boxes[:, 3:5] / voxel / cfg["out_size_factor"]).unbind(1)
    overlap = cfg["gaussian_overlap"]
    total, area = width + length, length * width
    as_large = _root(1, total, area * (1 - overlap) / (1 + overlap))
    inside = _root(4, 2 * total, (1 - overlap) * length * width)
    around = _root(4 * overlap, -2 * overlap * total, (overlap - 1) * length * width)
    smallest = torch.minimum(torch.minimum(as_large, inside), around)
    return smallest.long().clamp(min=cfg["min_radius"])


def _root(a: float, b: Tensor, c: Tensor) -> Tensor:
    """Larger root times `a`."""
    return (b + torch.sqrt(b**2 - 4 * a * c)) / 2


def _draw(heatmaps: NDArray[Any], places: NDArray[np.int64]) -> None:
    """Draw Gaussians into (C, H, W), the higher value wins; places (K, 4): class, x, y, radius."""
    height, width = heatmaps.shape[1:]
    for cls, x, y, radius in places.tolist():
        left, right = min(x, radius), min(width - x, radius + 1)
        top, bottom = min(y, radius), min(height - y, radius + 1)
        under = heatmaps[cls, y - top : y + bottom, x - left : x + right]
        bell = _bell(radius)[radius - top : radius + bottom, radius - left : radius + right]
        np.maximum(under, bell, out=under)


@lru_cache(maxsize=256)
def _bell(radius: int) -> NDArray[np.float32]:
    """A Gaussian of (2 r + 1)^2 cells."""
    along = np.arange(-radius, radius + 1, dtype=np.float64)
    sigma = (2 * radius + 1) / 6
    bell = np.exp(-(along**2 + along[:, None] ** 2) / (2 * sigma * sigma))
    bell[bell < np.finfo(bell.dtype).eps * bell.max()] = 0
    return bell.astype(np.float32)


def _rows(boxes: Tensor, offsets: Tensor, log_sizes: bool) -> Tensor:
    """Regression targets (K, 10): offset in the cell, z, size, sine and cosine of yaw, velocity."""
    sizes = boxes[:, 3:6].log() if log_sizes else boxes[:, 3:6]
    yaw = boxes[:, 6:7]
    columns = (offsets, boxes[:, 2:3], sizes, torch.sin(yaw), torch.cos(yaw), boxes[:, 7:9])
    return torch.cat(columns, dim=1).float()
