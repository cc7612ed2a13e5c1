# SPDX-License-Identifier: Apache-2.0
"""The stand-in's ops give the same on a CUDA device as on the CPU."""

from __future__ import annotations

import pytest
import torch

from lidistill.ops.boxes import nms, points_in_boxes, polygon_order, roi_aware_pool
from lidistill.ops.boxes.rotated_iou import rotated_iou
from lidistill.ops.images import deform_conv, roi_align
from lidistill.ops.mmcv import functions as mmcv_functions
from lidistill.ops.points import assign_scores, stacked, voxelize
from lidistill.ops.points import scatter as scatter_points
from lidistill.ops.sparse import index_pairs
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


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ratio", [0, 2])
def test_regions(ratio) -> None:
    maps = random(2, 8, 20, 30)
    corner = random(40, 2, seed=1).abs() * 20
    image = (torch.arange(40) % 2)[:, None].float()
    rois = torch.cat([image, corner, corner + random(40, 2, seed=2).abs() * 30], 1)
    turned = torch.cat([image, corner, random(40, 3, seed=3).abs() * 10], 1)

    def pool(maps, rois, turned):
        upright = roi_align.upright_regions(rois, 0.5, True)
        rotated = roi_align.rotated_regions(turned, 0.5, True, True)
        bins = (3, 4)
        values = roi_align.roi_align(maps, upright, bins, ratio)
        return (
            values,
            roi_align.roi_align_grad(values, upright, tuple(maps.shape), ratio),
            roi_align.roi_align(maps, rotated, bins, ratio),
            *roi_align.roi_align_max(maps, upright, bins, ratio),
        )

    same_on_both(pool, maps, rois, turned, tolerance=1e-4)


def test_deformable_convolution_and_its_gradients() -> None:
    geometry = deform_conv.Geometry(padding=(1, 1), groups=2, deform_groups=2)
    shapes = ((2, 8, 10, 12), (2, 36, 10, 12), (6, 4, 3, 3), (2, 18, 10, 12))

    def call(*parts):
        leaves = [part.detach().requires_grad_() for part in parts]
        maps, offset, weight, mask = leaves
        out = deform_conv.deform_conv(maps, offset, weight, geometry, mask)
        return (out.detach(), *torch.autograd.grad(out.square().sum(), leaves))

    parts = [random(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    same_on_both(call, *parts, tolerance=5e-3)  # squares of sums of 36 products


def test_pooling_and_assembly() -> None:
    boxes = op_cases.bottom_boxes(20, 1)
    points = op_cases.points_near_boxes(boxes, 500)
    features = random(500, 6)

    def pool(boxes, points, features):
        table = roi_aware_pool.points_of_cells(boxes, points, (4, 3, 2), 16)
        best, winner = roi_aware_pool.pool_max(features, table)
        return (
            table,
            best,
            winner,
            roi_aware_pool.pool_mean(features, table),
            roi_aware_pool.pool_max_grad(best, winner, 500),
            roi_aware_pool.pool_mean_grad(best, table, 500),
        )

    same_on_both(pool, boxes, points, features, tolerance=1e-4)
    rows = torch.randint(0, 9, (2, 5, 4), generator=torch.Generator().manual_seed(0))
    sets = (random(2, 5, 4, 3), random(2, 9, 3, 7, seed=1), random(2, 9, 3, 7, seed=2), rows)
    same_on_both(assign_scores.assign_scores, *sets, tolerance=1e-5)
    same_on_both(
        lambda *given: assign_scores.assign_scores_grad(given[1], given[0], *given[2:]),
        sets[0],
        random(2, 7, 5, 4, seed=3),
        *sets[1:],
        tolerance=1e-4,
    )
    same_on_both(polygon_order.polygon_order, random(3, 5, 24, 2), random(3, 5, 24) > 0.8)


def test_stacked_samples_and_sparse_pairs() -> None:
    counts, centres = torch.tensor([30, 20]).int(), torch.tensor([5, 6]).int()
    same_on_both(
        lambda *given: stacked.stacked_ball_query(*given, 1.0, 4),
        random(50, 3),
        counts,
        random(11, 3, seed=1),
        centres,
    )
    rows = torch.randint(0, 20, (11, 4), generator=torch.Generator().manual_seed(0))
    same_on_both(stacked.stacked_gather, random(50, 6), counts, rows, centres)
    coords = torch.cartesian_prod(*[torch.arange(n) for n in (2, 3, 4, 5)])[::3].int()
    shapes = ((3, 4, 5), (3, 4, 5), (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1))

    def convolve(coords, features, weight):
        out, pairs, numbers = index_pairs.index_pairs(coords, *shapes)
        sums = index_pairs.pair_conv(features, weight, pairs, numbers, len(out), False)
        arguments = (features, weight, pairs, numbers, False)
        return (out, pairs, sums, *index_pairs.pair_conv_grad(sums, *arguments))

    weight = random(3, 3, 3, 4, 5, seed=1)
    same_on_both(convolve, coords, random(len(coords), 4), weight, tolerance=1e-3)
