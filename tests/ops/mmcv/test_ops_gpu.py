# SPDX-License-Identifier: Apache-2.0
"""The stand-in's ops give the same on a CUDA device as on the CPU."""

from __future__ import annotations

import pytest
import torch

from lidistill.ops.boxes import nms, points_in_boxes
from lidistill.ops.boxes.rotated_iou import rotated_iou
from lidistill.ops.mmcv import functions as mmcv_functions
from lidistill.ops.points import scatter as scatter_points
from lidistill.ops.points import voxelize
from tests.ops import op_cases

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def same_on_both(function, *arguments, tolerance: float = 1e-6) -> None:
    """Call ``function`` with tensors on the CPU, then on the GPU; results must not differ."""
    on_gpu = [a.cuda() if isinstance(a, torch.Tensor) else a for a in arguments]
    expected, found = function(*arguments), function(*on_gpu)
    if isinstance(expected, torch.Tensor):
        expected, found = (expected,), (found,)
    for one, other in zip(expected, found, strict=True):
        assert other.device.type == "cuda"
        torch.testing.assert_close(other.cpu(), one, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", op_cases.VOXEL_GRIDS)
@pytest.mark.parametrize("count", [0, 20000])
def test_voxelization(name, count) -> None:
    grid = voxelize.VoxelGrid.from_range(*op_cases.VOXEL_GRIDS[name])
    points = op_cases.points_of_grid(name, count)
    points = torch.nan_to_num(points, 1e30)  # NaN compares unequal to itself in the features
    same_on_both(voxelize.dynamic_voxelize, points, grid)
    same_on_both(voxelize.hard_voxelize, points, grid, 5, 3000)


def test_scatter() -> None:
    grid = voxelize.VoxelGrid.from_range(*op_cases.VOXEL_GRIDS["uneven"])
    points = torch.nan_to_num(op_cases.points_of_grid("uneven", 2000), 0, 0, 0).clamp(-50, 50)
    coords = voxelize.dynamic_voxelize(points, grid)
    same_on_both(scatter_points.unique_rows, coords)
    for reduction in ("max", "mean"):
        same_on_both(
            lambda f, c, kind=reduction: mmcv_functions.dynamic_point_to_voxel_forward(f, c, kind),
            points,
            coords,
            tolerance=1e-4,  # metres; a sum on the GPU has no fixed order
        )


def test_boxes() -> None:
    boxes1, boxes2 = op_cases.rotated_boxes(100, 1), op_cases.rotated_boxes(100, 2)
    scores = torch.rand(100, generator=torch.Generator().manual_seed(0))
    same_on_both(rotated_iou, boxes1, boxes2)
    same_on_both(nms.nms_rotated, boxes1, scores, 0.2)
    same_on_both(nms.nms, op_cases.upright_boxes(100, 1), scores, 0.2)
    boxes = op_cases.bottom_boxes(20, 1)
    points = op_cases.points_near_boxes(boxes, 3000)
    same_on_both(points_in_boxes.points_in_boxes, points, boxes)
    same_on_both(points_in_boxes.first_box_of_points, points, boxes)
