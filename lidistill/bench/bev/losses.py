# SPDX-License-Identifier: Apache-2.0
"""Benches of UniDistill's losses at its sizes: points of boxes, their relation, the response.

The references go the way of the authors' release: boxes to the host, corners in numpy, each loss
samples for itself, the mask cell by cell on the host, the response on every cell times the mask.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lidistill.bench.case import Case
from lidistill.geometry.bev_cells import gaussian_cells
from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.box_points import nine_points
from lidistill.losses.bev import EPS, absolute, gram_relation, max_class_response
from lidistill.ops.points.map_read import PointReader, read_cells

# samples, boxes a sample, cells a side, channels before and behind the BEV network
FULL = (2, 40, 180, 256, 512)
QUICK = (2, 5, 24, 8, 12)
CELL = 0.6
CLASSES = (1, 2, 2, 1, 2, 2)  # of the six tasks
BRANCHES = (2, 1, 3, 2, 2, 1)  # offset, height, size, heading, velocity, IoU
SIZES = ((4.6, 1.9), (6.9, 2.5), (11.0, 2.9), (0.7, 0.7), (1.8, 0.6), (2.1, 0.8), (0.4, 0.4))
MASKED = 0.7


def cases(size: str, device: str = "cpu") -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = UniDistill's: 180 x 180 cells, 256 and 512 channels; "quick" = for tests.
        device: of the maps.

    Returns:
        Feature and relation loss on channels-last maps (as BEV pooling leaves them) and on
        channel-first maps, forward and both ways; mask; response both ways.
    """
    scene = BoxScene(*(FULL if size == "full" else QUICK), device=device)
    words = scene.words
    found = []
    for memory in (torch.channels_last, torch.contiguous_format):
        last = memory == torch.channels_last
        form = "channels last" if last else "channels first"
        points = [
            ("feature", scene.low, scene.feature, scene.reference_feature),
            ("relation", scene.high, scene.relation, scene.reference_relation),
        ]
        for name, maps, ours, reference in points:
            laid = [one.contiguous(memory_format=memory) for one in maps]
            first = [one.contiguous() for one in maps]  # the authors' maps are channels first
            for both_ways in (False, True):
                title = "forward + backward" if both_ways else "forward"
                found.append(
                    Case(
                        f"unidistill_{name}, {form}, {title}",
                        words,
                        _run(reference, first, both_ways),
                        _run(ours, laid, both_ways),
                    )
                )
    found.append(Case("unidistill_gaussian mask", words, scene.reference_mask, scene.mask))
    found.append(
        Case(
            "unidistill_response, mask included, forward + backward",
            words,
            scene.reference_response,
            scene.response,
        )
    )
    return found


def _run(
    loss: Callable[[Tensor, Tensor], Tensor], maps: list[Tensor], both_ways: bool
) -> Callable[[], tuple[Tensor, ...]]:
    student, teacher = maps[0].detach().requires_grad_(both_ways), maps[1]

    def run() -> tuple[Tensor, ...]:
        value = loss(student, teacher)
        if not both_ways:
            return (value,)
        return value.detach(), *torch.autograd.grad(value, student)

    return run


class BoxScene:
    """Seeded maps, boxes and heads, shared by reference and ours."""

    def __init__(
        self, samples: int, boxes: int, cells: int, low: int, high: int, device: str = "cpu"
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        end = cells * CELL / 2
        self.grid = BEVGrid((-end, end), (-end, end), (CELL, CELL))
        self.words = f"{samples} x {low}/{high} x {cells} x {cells}, {boxes} boxes a sample"

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(device)

        self.low = [normal(samples, low, cells, cells) for _ in range(2)]
        self.high = [normal(samples, high, cells, cells) for _ in range(2)]
        self.heads = [
            [
                [normal(samples, width, cells, cells) for width in (count, *BRANCHES)]
                for count in CLASSES
            ]
            for _ in range(2)
        ]
        kind = torch.randint(len(SIZES), (samples, boxes), generator=generator)
        size = torch.tensor(SIZES)[kind]
        place = (torch.rand(samples, boxes, 2, generator=generator) * 2 - 1) * (end - 1)
        yaw = (torch.rand(samples, boxes, 1, generator=generator) * 2 - 1) * torch.pi
        ones = torch.ones(samples, boxes, 1)
        parts = [place, -ones, size, 1.5 * ones, yaw, ones, ones, kind[..., None] + 1]
        self.boxes = torch.cat(parts, 2).to(device)  # (B, M, 10), the last one label + 1

    # -- ours -------------------------------------------------------------------------------------
    def _reader(self) -> PointReader:
        """Where the boxes' points lie; a loss reads both sides there."""
        cells = self.grid.cells_from_metres(nine_points(self.boxes.flatten(0, 1))).flatten(0, 1)
        return PointReader(cells, [9 * len(one) for one in self.boxes], self.grid.shape)

    def feature(self, student: Tensor, teacher: Tensor) -> Tensor:
        """L1 of nine points."""
        read = self._reader()
        return absolute(read(student), read(teacher), eps=9 * EPS)

    def relation(self, student: Tensor, teacher: Tensor) -> Tensor:
        """L1 of the points' cosines."""
        read = self._reader()
        return gram_relation(read(student), read(teacher), points=9)

    def mask(self) -> tuple[Tensor, ...]:
        """Cells and weights."""
        found = gaussian_cells(list(self.boxes), self.grid, MASKED)
        return found.index, found.weights

    def response(self) -> tuple[Tensor, ...]:
        """Both terms on the masked cells alone."""
        places = gaussian_cells(list(self.boxes), self.grid, MASKED)
        leaves = [[one.detach().requires_grad_() for one in task] for task in self.heads[0]]
        rows = []
        for tasks in (leaves, self.heads[1]):
            heat = [read_cells(task[0], places.index) for task in tasks]
            boxes = [read_cells(one, places.index) for task in tasks for one in task[1:]]
            rows.append((torch.cat(heat, 1), torch.cat(boxes, 1)))
        (heat_s, boxes_s), (heat_t, boxes_t) = rows
        loss = max_class_response(heat_s, heat_t, places.weights)
        loss = loss + absolute(boxes_s, boxes_t, places.weights)
        return loss.detach(), *torch.autograd.grad(loss, [one for task in leaves for one in task])

    # -- the authors' way -------------------------------------------------------------------------
    def _reference_points(self, maps: Tensor) -> tuple[Tensor, float]:
        """(B, M, 9, C) samples and the number of boxes; corners in numpy on the host."""
        count = 0
        for rows in self.boxes:
            last = len(rows) - 1
            while last > 0 and rows[last, :9].sum() == 0:
                last -= 1
            count += last + 1
        found = []
        for rows in self.boxes:
            array = rows.cpu().numpy()
            corners = torch.from_numpy(_corners(array)).to(rows)  # (M, 4, 2)
            middle = rows[:, None, :2]
            edges = [(corners[:, i] + corners[:, j]) / 2 for i, j in ((0, 1), (1, 2), (2, 3))]
            edges.append((corners[:, 0] + corners[:, 3]) / 2)
            found.append(torch.cat([corners, middle, torch.stack(edges, 1)], 1))
        points = torch.stack(found)
        where = (points - self.grid.x_range[0]) / (self.grid.x_range[1] - self.grid.x_range[0])
        read = F.grid_sample(maps, where * 2 - 1, align_corners=False)  # (B, C, M, 9)
        return read.permute(0, 2, 3, 1), float(count)

    def reference_feature(self, student: Tensor, teacher: Tensor) -> Tensor:
        """As released but for the swapped axes."""
        own, count = self._reference_points(student)
        target, _ = self._reference_points(teacher)
        valid = self.boxes.sum(2) != 0
        gap = F.l1_loss(own[valid], target[valid], reduction="none")
        return gap.mean(2).mean(1).sum() / (count + EPS)

    def reference_relation(self, student: Tensor, teacher: Tensor) -> Tensor:
        """As released but for the swapped axes."""
        own, count = self._reference_points(student)
        target, _ = self._reference_points(teacher)
        valid = self.boxes.sum(2) != 0
        sides = []
        for rows in (own[valid], target[valid]):
            unit = rows / (torch.norm(rows, dim=2, keepdim=True) + EPS)
            sides.append(torch.bmm(unit, unit.transpose(1, 2)))
        gap = F.l1_loss(sides[0], sides[1], reduction="none")
        return gap.mean(2).mean(1).sum() / (count + EPS)

    def _reference_mask(self) -> Tensor:
        rows, columns = self.grid.shape
        dense = self.boxes.new_zeros(len(self.boxes), rows, columns)
        for sample, boxes in enumerate(self.boxes):
            for box in boxes:
                if box.sum() == 0:
                    break
                width, height = box[3] / CELL, box[4] / CELL
                radius = max(0, int(_radius(height, width)))
                u = (box[0] - self.grid.x_range[0]) / CELL
                v = (box[1] - self.grid.y_range[0]) / CELL
                centre = torch.stack([u, v]).to(torch.int32)
                _draw(dense[sample], centre, radius)
        return dense

    def reference_mask(self) -> tuple[Tensor, ...]:
        """The same cells as ours, taken from the dense mask."""
        dense = self._reference_mask().flatten()
        index = dense.nonzero().squeeze(1)
        return index, dense[index]

    def reference_response(self) -> tuple[Tensor, ...]:
        """All cells, all channels, times the mask."""
        mask = self._reference_mask()
        leaves = [[one.detach().requires_grad_() for one in task] for task in self.heads[0]]
        heat_s, boxes_s, heat_t, boxes_t = [], [], [], []
        for own, target in zip(leaves, self.heads[1], strict=True):
            heat_s.append(own[0].sigmoid().clamp(1e-4, 1 - 1e-4))
            heat_t.append((target[0] / 2).sigmoid().clamp(1e-4, 1 - 1e-4))
            boxes_s.append(torch.cat(own[1:], 1))
            boxes_t.append(torch.cat(target[1:], 1))
        surest_s = torch.cat(heat_s, 1).max(1).values
        surest_t = torch.cat(heat_t, 1).max(1).values
        gap = F.l1_loss(surest_s, surest_t, reduction="none")
        loss = (gap * mask).sum() / (mask.sum() + EPS)
        gap = F.l1_loss(torch.cat(boxes_s, 1), torch.cat(boxes_t, 1), reduction="none").mean(1)
        loss = loss + (gap * mask).sum() / (mask.sum() + EPS)
        return loss.detach(), *torch.autograd.grad(loss, [one for task in leaves for one in task])


def _corners(boxes: NDArray) -> NDArray[np.float32]:
    signs = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)], dtype=np.float32) / 2
    corners = boxes[:, None, 3:5] * signs
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    turn = np.stack([np.stack([cos, sin], 1), np.stack([-sin, cos], 1)], 1)  # (M, 2, 2)
    placed = np.einsum("mki,mij->mkj", corners, turn) + boxes[:, None, :2]
    return np.asarray(placed, dtype=np.float32)


def _radius(height: Tensor, width: Tensor, overlap: float = MASKED) -> Tensor:
    b1 = height + width
    c1 = width * height * (1 - overlap) / (1 + overlap)
    r1 = (b1 + torch.sqrt(b1**2 - 4 * c1)) / 2
    b2 = 2 * (height + width)
    c2 = (1 - overlap) * width * height
    r2 = (b2 + torch.sqrt(b2**2 - 16 * c2)) / 2
    a3 = 4 * overlap
    b3 = -2 * overlap * (height + width)
    c3 = (overlap - 1) * width * height
    r3 = (b3 + torch.sqrt(b3**2 - 4 * a3 * c3)) / 2
    return min(r1, r2, r3)


def _draw(heatmap: Tensor, centre: Tensor, radius: int) -> None:
    """A Gaussian made in numpy, the maximum taken in place: CenterNet's function."""
    sigma = (2 * radius + 1) / 6
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    gaussian = np.exp(-(columns**2 + rows**2) / (2 * sigma**2))
    gaussian[gaussian < np.finfo(gaussian.dtype).eps * gaussian.max()] = 0
    x, y = int(centre[0]), int(centre[1])
    height, width = heatmap.shape
    left, right = min(x, radius), min(width - x, radius + 1)
    top, bottom = min(y, radius), min(height - y, radius + 1)
    part = heatmap[y - top : y + bottom, x - left : x + right]
    cut = gaussian[radius - top : radius + bottom, radius - left : radius + right]
    if min(cut.shape) > 0 and min(part.shape) > 0:
        torch.max(part, torch.from_numpy(cut).to(part), out=part)
