# SPDX-License-Identifier: Apache-2.0
"""Random and edge inputs of mmcv's ops, and what mmcv's Python layer answers to them.

Used in the test's process (over the stand-in) and, as a script, by the interpreter that has
compiled mmcv. It therefore imports mmcv and torch only, never lidistill:

    python -m tests.ops.op_cases RESULT.npz
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch

SECOND_RANGE = (0, -40, -3, 70.4, 40, 1)
SECOND_VOXEL = (0.05, 0.05, 0.1)
VOXEL_GRIDS = {
    "second": (SECOND_VOXEL, SECOND_RANGE),
    "pillars": ((0.16, 0.16, 4), (0, -39.68, -3, 69.12, 39.68, 1)),
    "uneven": ((0.3, 0.7, 0.11), (-7, -3, -1.3, 8.1, 4.2, 2.9)),
}


def points_of_grid(name: str, count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Points inside and outside the grid, many on cell borders, some not finite."""
    voxel, limits = (np.asarray(numbers) for numbers in VOXEL_GRIDS[name])
    rng = np.random.default_rng(len(name) + count)
    low, high = limits[:3] - 1, limits[3:] + 1
    points = np.concatenate([rng.uniform(low, high, (count, 3)), rng.normal(size=(count, 1))], 1)
    borders = rng.random(count) < 0.3
    cells = rng.integers(-2, (limits[3:] - limits[:3]) / voxel + 3, (count, 3))
    points[borders, :3] = (limits[:3] + cells * voxel)[borders]
    points[rng.random(count) < 0.2, :3] = limits[:3] + 1.01  # one crowded voxel
    for number, value in enumerate((np.nan, np.inf, -np.inf, 1e30), start=1):
        points[number * count // 6 : number * count // 6 + (count > 6), number % 3] = value
    return torch.tensor(points, dtype=dtype)


def rotated_boxes(count: int, seed: int) -> torch.Tensor:
    """Boxes x, y, w, h, angle that overlap often, with edge cases among the first."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate(
        [
            rng.uniform(-6, 6, (count, 2)),
            rng.uniform(0.5, 5, (count, 2)),
            rng.uniform(-4, 4, (count, 1)),
        ],
        1,
    )
    edges = np.array(
        [
            [0, 0, 2, 2, 0],  # identical to the next
            [0, 0, 2, 2, 0],
            [2, 0, 2, 2, 0],  # shares a side with the first
            [2, 2, 2, 2, 0],  # shares a corner with the first
            [0, 0, 1, 1, 0],  # inside the first, same centre
            [0, 0, 2, 2, np.pi / 2],  # the first, turned onto itself
            [0, 0, 2, 2, np.pi / 4],
            [0.5, 0, 1, 2, 0],  # inside the first, three sides shared
            [0, 0, 0, 2, 0.3],  # no area
            [1, 1, 1e-8, 1e-8, 0.3],
            [0, 0, 4, 0.1, 1.0],  # long and thin
            [1000, 1000, 2, 2, 0],  # far away
        ]
    )
    boxes[: len(edges)] = edges[:count]
    return torch.tensor(boxes, dtype=torch.float32)


def upright_boxes(count: int, seed: int) -> torch.Tensor:
    """Boxes x1, y1, x2, y2 that overlap often; some identical, some without area."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 20, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.5, 8, (count, 2))], 1)
    boxes[::7] = boxes[0]
    boxes[3::11, 2:] = boxes[3::11, :2]
    return torch.tensor(boxes, dtype=torch.float32)


def scores_with_ties(count: int, seed: int) -> torch.Tensor:
    """Scores in steps of 0.01: some are equal."""
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.integers(0, 100, count) / 100, dtype=torch.float32)


def bottom_boxes(count: int, seed: int) -> torch.Tensor:
    """Boxes x, y, z (bottom), l, w, h, yaw; the first ones upright on round numbers."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate(
        [
            rng.uniform(-5, 5, (count, 2)),
            rng.uniform(-2, 0, (count, 1)),
            rng.uniform(0.5, 5, (count, 3)),
            rng.uniform(-4, 4, (count, 1)),
        ],
        1,
    )
    boxes[:2] = [[0, 0, -1, 2, 2, 2, 0], [1, 1, 0, 4, 2, 1, np.pi / 2]][:count]
    return torch.tensor(boxes, dtype=torch.float32)


def points_near_boxes(boxes: torch.Tensor, count: int) -> torch.Tensor:
    """Points around the boxes, a third on half metres: on the faces of the upright boxes."""
    rng = np.random.default_rng(count)
    points = rng.uniform(-7, 7, (count, 3)) * (1, 1, 0.4)
    points[: count // 3] = np.round(points[: count // 3] * 2) / 2
    return torch.tensor(points, dtype=torch.float32)


def voxel_cases() -> dict[str, Callable[[], tuple]]:
    """Hard and dynamic voxelization: grids x limits x sizes."""
    from mmcv.ops import Voxelization
    from mmcv.ops.voxelize import voxelization

    cases: dict[str, Callable[[], tuple]] = {}
    for grid, (voxel, limits) in VOXEL_GRIDS.items():
        for count in (0, 1, 400, 20000):
            for max_points, max_voxels in ((5, 16000), (1, 7), (32, 300)):

                def hard(grid=grid, count=count, most=(max_points, max_voxels)):
                    voxel, limits = VOXEL_GRIDS[grid]
                    module = Voxelization(voxel, limits, *most)
                    return module(points_of_grid(grid, count))

                cases[f"hard/{grid}/{count}/{max_points}x{max_voxels}"] = hard
            cases[f"dynamic/{grid}/{count}"] = (
                lambda grid=grid, count=count, voxel=voxel, limits=limits: (
                    voxelization(points_of_grid(grid, count), voxel, limits, -1, -1),
                )
            )
    for dtype in (torch.float64, torch.float16):
        cases[f"hard/{dtype}"] = lambda dtype=dtype: voxelization(
            points_of_grid("uneven", 500, dtype), *VOXEL_GRIDS["uneven"], 4, 100
        )
    return cases


def box_cases() -> dict[str, Callable[[], tuple]]:
    """Overlaps and suppression, rotated and upright; points in boxes."""
    from mmcv import ops

    cases: dict[str, Callable[[], tuple]] = {}
    for count in (1, 12, 150):
        for mode in ("iou", "iof"):
            for aligned in (False, True):
                for clockwise in (False, True):
                    key = f"box_iou_rotated/{count}/{mode}/{aligned}/{clockwise}"
                    cases[key] = lambda c=count, m=mode, a=aligned, w=clockwise: (
                        ops.box_iou_rotated(rotated_boxes(c, 1), rotated_boxes(c, 2), m, a, w),
                    )
            for offset in (0, 1):
                for aligned in (False, True):
                    key = f"bbox_overlaps/{count}/{mode}/{offset}/{aligned}"
                    cases[key] = lambda c=count, m=mode, a=aligned, o=offset: (
                        ops.bbox_overlaps(upright_boxes(c, 1), upright_boxes(c, 2), m, a, o),
                    )
        for threshold in (0.0, 0.01, 0.5, 0.9):
            cases[f"nms_rotated/{count}/{threshold}"] = lambda c=count, t=threshold: (
                ops.nms_rotated(rotated_boxes(c, 3), scores_with_ties(c, 3), t)
            )
            cases[f"nms/{count}/{threshold}"] = lambda c=count, t=threshold: (
                *ops.nms(upright_boxes(c, 3), scores_with_ties(c, 3), t),
                *ops.nms(upright_boxes(c, 3), scores_with_ties(c, 3), t, offset=1),
            )
            for method in ("naive", "linear", "gaussian"):
                cases[f"soft_nms/{count}/{threshold}/{method}"] = (
                    lambda c=count, t=threshold, m=method: ops.soft_nms(
                        upright_boxes(c, 4), scores_with_ties(c, 4), t, method=m
                    )
                )
        cases[f"points_in_boxes_cpu/{count}"] = lambda c=count: (
            ops.points_in_boxes_cpu(
                points_near_boxes(bottom_boxes(c, 5), 500)[None], bottom_boxes(c, 5)[None]
            ),
        )
    cases["nms_match"] = lambda: tuple(
        ops.nms_match(torch.cat([upright_boxes(60, 6), scores_with_ties(60, 6)[:, None]], 1), 0.4)
    )
    empty, none = torch.zeros(0, 5), torch.zeros(0)
    cases["box_iou_rotated/empty"] = lambda: (ops.box_iou_rotated(empty, rotated_boxes(3, 0)),)
    cases["nms/empty"] = lambda: ops.nms(empty[:, :4], none, 0.5)
    return cases


def answers() -> dict[str, np.ndarray]:
    """All outputs of all cases, flat: ``case#position``."""
    found = {}
    for case, call in (voxel_cases() | box_cases()).items():
        for position, output in enumerate(call()):
            found[f"{case}#{position}"] = np.asarray(output)
    return found


if __name__ == "__main__":
    np.savez(sys.argv[1], **answers())
