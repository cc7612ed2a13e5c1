# SPDX-License-Identifier: Apache-2.0
"""Point ops of mmcv whose Python half asks for CUDA; CPU tensors take lidistill's kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def patch_furthest(module: Any) -> None:
    """`FurthestPointSampling` for CPU points."""

    def forward(ctx: Any, points_xyz: Tensor, num_points: int) -> Tensor:
        from lidistill.ops.points.point_sets import furthest_point_sample

        rows = furthest_point_sample(points_xyz, num_points)
        ctx.mark_non_differentiable(rows)
        return rows

    _for_cpu(module.FurthestPointSampling, forward, tensor_at=0)


def patch_knn(module: Any) -> None:
    """`KNN` for CPU points."""

    def forward(
        ctx: Any,
        k: int,
        xyz: Tensor,
        center_xyz: Tensor | None = None,
        transposed: bool = False,
    ) -> Tensor:
        from lidistill.ops.points.point_sets import nearest_points

        centres = xyz if center_xyz is None else center_xyz
        if transposed:
            xyz, centres = xyz.transpose(2, 1), centres.transpose(2, 1)
        rows = nearest_points(xyz, centres, k)[1].transpose(2, 1).contiguous()  # (B, K, M)
        ctx.mark_non_differentiable(rows)
        return rows

    _for_cpu(module.KNN, forward, tensor_at=1)


def patch_boxes(module: Any) -> None:
    """`points_in_boxes_part` and `points_in_boxes_all` for points (B, N, 3), boxes (B, M, 7)."""

    def part(points: Tensor, boxes: Tensor) -> Tensor:
        """(B, N) int32, the first box of each point, -1 for none."""
        from lidistill.ops.boxes.points_in_boxes import first_box_of_points

        return torch.stack([first_box_of_points(*pair) for pair in zip(points, boxes, strict=True)])

    def every(points: Tensor, boxes: Tensor) -> Tensor:
        """(B, N, M) int32, 1 where a point is in a box."""
        from lidistill.ops.boxes.points_in_boxes import points_in_boxes

        pairs = zip(points, boxes, strict=True)
        return torch.stack([points_in_boxes(*pair).t().int() for pair in pairs])

    for name, ours in (("points_in_boxes_part", part), ("points_in_boxes_all", every)):
        setattr(module, name, _choose(getattr(module, name), ours, tensor_at=0))


def _for_cpu(function: Any, forward: Callable[..., Any], tensor_at: int) -> None:
    """Replace ``function.forward`` of an autograd function, whose first argument is its context."""
    function.forward = staticmethod(_choose(function.forward, forward, tensor_at + 1))


def _choose(original: Callable[..., Any], ours: Callable[..., Any], tensor_at: int) -> Any:
    """``ours`` where the tensor at that place is on the CPU, else ``original``."""
    if hasattr(original, "__wrapped__"):
        return original

    @wraps(original)
    def choose(*args: Any) -> Any:
        own = args[tensor_at].device.type == "cpu"
        return (ours if own else original)(*args)

    return choose
