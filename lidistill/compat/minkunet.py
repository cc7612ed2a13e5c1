# SPDX-License-Identifier: Apache-2.0
"""MinkUNet's voxels on the CPU: mmdet3d moves its index tables to CUDA in any case."""

from __future__ import annotations

from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def patch_voxelize(module: Any) -> None:
    """`Det3DDataPreprocessor.voxelize` of type ``minkunet`` for CPU points.

    Args:
        module: ``mmdet3d.models.data_preprocessors.data_preprocessor``.
    """
    preprocessor = module.Det3DDataPreprocessor
    original = preprocessor.voxelize
    if getattr(original, "on_any_device", False):
        return

    @wraps(original)
    def voxelize(self: Any, points: list[Tensor], data_samples: list[Any]) -> dict[str, Tensor]:
        on_cpu = all(rows.device.type == "cpu" for rows in points)
        if self.voxel_type == "minkunet" and on_cpu:
            return _voxelize(self, points, data_samples)
        voxels: dict[str, Tensor] = original(self, points, data_samples)
        return voxels

    voxelize.on_any_device = True  # type: ignore[attr-defined]
    preprocessor.voxelize = voxelize


@torch.no_grad()
def _voxelize(
    preprocessor: Any, points: list[Tensor], data_samples: list[Any]
) -> dict[str, Tensor]:
    """One point for each voxel, and in each sample the voxel of every point, as mmdet3d's."""
    voxels, coords = [], []
    for batch, (rows, sample) in enumerate(zip(points, data_samples, strict=True)):
        cells = torch.round(rows[:, :3] / rows.new_tensor(preprocessor.voxel_layer.voxel_size))
        cells = cells.int()
        cells -= cells.amin(0)
        kept, voxel_of_point = preprocessor.sparse_quantize(
            cells.numpy(), return_index=True, return_inverse=True
        )
        most = preprocessor.max_voxels
        if preprocessor.training and most is not None and len(kept) > most:
            kept = np.random.choice(kept, most, replace=False)  # noqa: NPY002 (mmdet3d's stream)
        chosen = torch.from_numpy(kept)
        if hasattr(sample.gt_pts_seg, "pts_semantic_mask"):
            labels = sample.gt_pts_seg.pts_semantic_mask
            sample.gt_pts_seg.voxel_semantic_mask = labels[chosen]
        side = (1, 0) if preprocessor.batch_first else (0, 1)
        placed = F.pad(cells[chosen], side, value=batch)
        sample.batch_idx = placed[:, 0 if preprocessor.batch_first else -1]
        sample.point2voxel_map = torch.from_numpy(voxel_of_point).long()
        voxels.append(rows[chosen])
        coords.append(placed)
    return {"voxels": torch.cat(voxels), "coors": torch.cat(coords)}
