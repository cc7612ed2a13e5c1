# SPDX-License-Identifier: Apache-2.0
"""Benches of BEV pooling, forward and backward: six images lifted into one bird's-eye view.

The references make the volume of all points, as the releases of LSS and BEVDet do, and sum it by
sorting, a running sum and differences (LSS's own trick, its gradient by hand as there), or by
``index_add``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidistill.bench.case import Case
from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.depth_bins import DepthBins
from lidistill.geometry.frames import make_transform, rotation_about_z
from lidistill.geometry.frustum import batch_cells, frustum_pixels
from lidistill.ops.bev.pool import bev_pool, pool_plan

# cameras, image, stride, depths, channels, half the map in metres, cell
FULL = (6, (256, 704), 16, (1.0, 60.0, 0.5), 80, 51.2, 0.8)
QUICK = (2, (64, 96), 16, (1.0, 9.0, 1.0), 8, 8.0, 1.0)
LIDAR_FROM_CAMERA = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def cases(size: str) -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = 6 x 256 x 704 at stride 16, 118 bins, 80 channels, 128 x 128 cells; "quick" =
            seconds, for tests.

    Returns:
        The sum with a plan at hand beside both references, and with a plan made each time.
    """
    lifted = Lifted(*(FULL if size == "full" else QUICK))
    words = lifted.words
    return [
        Case("BEV pooling, beside sort + cumsum", words, lifted.cumsum, lifted.ours),
        Case("BEV pooling, beside index_add", words, lifted.index_add, lifted.ours),
        Case("BEV pooling, new plan each step", words, lifted.cumsum, lifted.with_plan),
    ]


class Lifted:
    """Seeded inputs on the geometry of a rig that looks around; calls return sum and gradients."""

    def __init__(
        self,
        cameras: int,
        image: tuple[int, int],
        stride: int,
        depths: tuple[float, float, float],
        channels: int,
        half: float,
        cell: float,
        device: str = "cpu",
    ) -> None:
        bins = DepthBins.of(depths)
        rows, columns = image[0] // stride, image[1] // stride
        grid = BEVGrid((-half, half), (-half, half), (cell, cell))
        self.num_cells = grid.shape[0] * grid.shape[1]
        pixels = frustum_pixels(image, (rows, columns))
        matrices, present = _around(cameras, image)
        self.cells = batch_cells(matrices, present, pixels, bins.centres(), grid, (-5.0, 3.0))
        self.cells = self.cells.to(device)
        made = torch.Generator().manual_seed(0)
        shape = (cameras, bins.count, rows, columns)
        logits = torch.randn(shape, generator=made)
        self.depth = logits.softmax(1).to(device).requires_grad_()
        self.context = torch.randn(cameras, channels, rows, columns, generator=made)
        self.context = self.context.to(device).requires_grad_()
        self.cotangent = torch.randn(self.num_cells, channels, generator=made).to(device)
        self.plan = pool_plan(self.cells, self.num_cells)
        self.words = (
            f"{cameras} x {image[0]} x {image[1]}, stride {stride}, {bins.count} bins, "
            f"{channels} channels, {grid.shape[0]} x {grid.shape[1]} cells"
        )

    def _gradients(self, pooled: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        value = pooled()
        leaves = (self.depth, self.context)
        return value.detach(), *torch.autograd.grad(value, leaves, self.cotangent)

    def ours(self) -> tuple[Tensor, ...]:
        """With the plan of this geometry at hand."""
        return self._gradients(lambda: bev_pool(self.depth, self.context, self.plan))

    def with_plan(self) -> tuple[Tensor, ...]:
        """With a plan made for these cells."""
        plan = pool_plan(self.cells, self.num_cells)
        return self._gradients(lambda: bev_pool(self.depth, self.context, plan))

    def _volume(self) -> tuple[Tensor, Tensor]:
        """All points' vectors (K, C) and cells (K,), of those inside the map."""
        volume = self.depth.unsqueeze(1) * self.context.unsqueeze(2)  # (M, C, D, h, w)
        rows = volume.permute(0, 2, 3, 4, 1).reshape(-1, volume.shape[1])
        flat = self.cells.flatten()
        kept = flat >= 0
        return rows[kept], flat[kept].long()

    def cumsum(self) -> tuple[Tensor, ...]:
        """Sorted by cell, summed up along the list, differences at the cells' ends."""

        def pooled() -> Tensor:
            rows, cells = self._volume()
            order = cells.argsort()
            rows, cells = rows[order], cells[order]
            sums, found = _CumulativeSum.apply(rows, cells)
            out = rows.new_zeros(self.num_cells, rows.shape[1])
            return out.index_put((found,), sums)

        return self._gradients(pooled)

    def index_add(self) -> tuple[Tensor, ...]:
        """Each point added to its cell."""

        def pooled() -> Tensor:
            rows, cells = self._volume()
            return rows.new_zeros(self.num_cells, rows.shape[1]).index_add(0, cells, rows)

        return self._gradients(pooled)


class _CumulativeSum(torch.autograd.Function):
    """Sums of runs of equal cells; the gradient of a row is that of its run."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        total = rows.cumsum(0)
        last = torch.ones(len(cells), dtype=torch.bool, device=cells.device)
        last[:-1] = cells[1:] != cells[:-1]
        total, found = total[last], cells[last]
        ctx.save_for_backward(last)
        ctx.mark_non_differentiable(found)
        return torch.cat([total[:1], total[1:] - total[:-1]]), found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (last,) = ctx.saved_tensors
        run = last.cumsum(0)
        run[last] -= 1
        return grads[0][run], None


def _around(cameras: int, image: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(1, N, 3, 4) matrices of level cameras that look around, and that all are there."""
    intrinsics = np.eye(4)
    intrinsics[:2, :3] = [[0.8 * image[1], 0, image[1] / 2], [0, 0.8 * image[1], image[0] / 2]]
    pose = make_transform(LIDAR_FROM_CAMERA, [0.8, 0.0, -0.3])
    turns = [rotation_about_z(2 * np.pi * k / cameras) @ pose for k in range(cameras)]
    matrices = np.stack([(turn @ np.linalg.inv(intrinsics))[:3] for turn in turns])
    return matrices[None], np.ones((1, cameras), dtype=bool)
