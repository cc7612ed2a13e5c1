# SPDX-License-Identifier: Apache-2.0
"""Cells of a BEV map that boxes name: Gaussians and rotated footprints, as index and weight lists.

Never a dense mask to multiply with: with real boxes 99 % of it is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from lidistill.geometry.bev_grid import BEVGrid

SizeWeight = Literal["none", "sqrt", "area"]
"""What a cell of a footprint weighs: 1, or its share of the box, or the root of that."""
LARGEST = 100.0
"""Square metres of a footprint beyond which a Gaussian grows no more: bounds the lists' length."""
WAITS_FOR_NOTHING = ("cpu",)
"""Devices on which to count is no wait: entries of weight 0 are dropped there at once."""


@dataclass(frozen=True)
class Cells:
    """Cells of a batch of maps (B, Y, X), each with a weight.

    Attributes:
        index: (R,) int64 of each cell in the flattened batch, row by row, sample by sample.
        weights: (R,) float32. A cell may stand in the list several times; its weight is their sum.
            Entries of weight 0 keep the length from depending on values, which a GPU would have to
            be asked for.
        shape: (B, Y, X).
    """

    index: Tensor
    weights: Tensor
    shape: tuple[int, int, int]

    def mask(self) -> Tensor:
        """(B, Y, X) dense weights, to look at."""
        total = self.weights.new_zeros(self.shape[0] * self.shape[1] * self.shape[2])
        return total.index_add(0, self.index, self.weights).view(self.shape)

    def compact(self) -> Cells:
        """The same without repetitions and weights of 0; waits for a GPU."""
        return _listed(self.mask())

    def sample(self) -> Tensor:
        """(R,) int64 sample of each entry."""
        return self.index.div(self.shape[1] * self.shape[2], rounding_mode="floor")


def gaussian_radius(size: Tensor, overlap: float) -> Tensor:
    """How far a box of this size may be shifted, in cells, and still overlap itself.

    Args:
        size: (M, 2) length and width in cells.
        overlap: IoU, above 0, below 1.

    Returns:
        (M,) not rounded.

    Source: CornerNet's three cases as CenterNet and mmdet3d solve them (over 2 in place of 2a);
        the third is always the smallest then: at most a quarter of length plus width, of which the
        others are at least a half.
    """
    if not 0 < overlap < 1:
        raise ValueError(f"expected an overlap between 0 and 1, got {overlap}")
    total, area = size.sum(1), size.prod(1)
    return ((overlap * total).square() + 4 * overlap * (1 - overlap) * area).sqrt() - (
        overlap * total
    )


def gaussian_cells(
    boxes: Sequence[Tensor],
    grid: BEVGrid,
    overlap: float = 0.7,
    min_radius: int = 0,
    compat: bool = False,
) -> Cells:
    """CenterNet's Gaussians of a batch's boxes, the largest where several meet; yaw is ignored.

    Args:
        boxes: per sample (M, 7+) metres.
        grid: of the map.
        overlap: IoU that sets the radius: 0.7 in UniDistill, 0.1 in CenterPoint and VCD.
        min_radius: cells.
        compat: centres are cut towards zero as in UniDistill's release, so that those of up to one
            cell before the map's lower edges move into it.

    Returns:
        Cells; a box outside of the map still gives those of its tail that are inside.
    """
    rows, columns = grid.shape
    cell = (grid.cell[0], grid.cell[1])
    sample = sample_of(boxes)
    every = torch.cat([one[:, :7] for one in boxes]).detach() if len(boxes) else torch.zeros(0, 7)
    every = every.double()  # the ego's origin lies on a corner of four cells
    size = torch.stack([every[:, 3] / cell[0], every[:, 4] / cell[1]], 1)
    bound = _largest_radius(LARGEST / (cell[0] * cell[1]), overlap, min_radius)
    radius = gaussian_radius(size, overlap).clamp(min=0).trunc()
    radius = radius.clamp(min=min_radius, max=bound)  # (M,)
    centre = grid.cells_from_metres(every[:, :2])
    centre = centre.trunc() if compat else centre.floor()  # (M, 2) row, column
    steps = torch.arange(-bound, bound + 1, device=every.device)  # (W,)
    sigma = (2 * radius + 1) / 6
    falling = (-steps.square() / (2 * sigma.square())[:, None]).exp()
    falling = falling * (steps.abs() <= radius[:, None])  # (M, W) along one axis
    weights = (falling[:, :, None] * falling[:, None, :]).float()  # (M, W, W)
    row = centre[:, 0].long()[:, None] + steps  # (M, W)
    column = centre[:, 1].long()[:, None] + steps
    inside = ((row >= 0) & (row < rows))[:, :, None] & ((column >= 0) & (column < columns))[:, None]
    weights = (weights * inside).flatten()
    index = (sample[:, None] * rows + row.clamp(0, rows - 1))[:, :, None] * columns
    index = (index + column.clamp(0, columns - 1)[:, None]).flatten()
    return _largest(index, weights, (len(boxes), rows, columns))


def footprint_cells(
    boxes: Sequence[Tensor],
    grid: BEVGrid,
    size_weight: SizeWeight = "none",
    outside: float = 0.0,
) -> Cells:
    """Cells whose centre lies in a rotated box; waits for a GPU, as their number is asked for.

    Args:
        boxes: per sample (M, 7+) metres.
        grid: of the map.
        size_weight: ``"area"``: a cell weighs its share of its box, so that every box counts the
            same; ``"sqrt"`` the root of that, DistillBEV's; the largest where boxes overlap.
        outside: weight of every other cell.

    Returns:
        Cells, each once.

    Source: Wang et al., "DistillBEV: Boosting Multi-Camera 3D Object Detection with Cross-Modal
        Knowledge Distillation", ICCV 2023, section 3.2.
    """
    if size_weight not in get_args(SizeWeight):
        raise ValueError(
            f"size_weight: expected one of {get_args(SizeWeight)}, got {size_weight!r}"
        )
    power = {"none": 0.0, "sqrt": 0.5, "area": 1.0}[size_weight]
    maps = []
    for each in boxes:
        centres = grid.centres().to(each.device).flatten(0, 1)
        share = grid.cell[0] * grid.cell[1] / each[:, 3:5].prod(1).clamp(min=1e-6)
        weight = share.clamp(max=1.0).pow(power) * in_footprints(centres, each)
        found = weight.amax(1) if len(each) else centres.new_zeros(len(centres))
        maps.append(torch.where(found > 0, found, outside).float())
    device = boxes[0].device if len(boxes) else None
    dense = torch.stack(maps) if maps else torch.zeros(0, device=device)
    return _listed(dense.view(len(boxes), *grid.shape))


def cells_of(cells: Cells, grid: BEVGrid, other: BEVGrid, who: str) -> Cells:
    """The same places in a map of another range; weight 0 where that does not reach.

    Args:
        cells: of maps on ``grid``.
        grid: theirs.
        other: the other map's, cells of the same size.
        who: for the message.

    Raises:
        ValueError: cells of the two lie not one on one.
    """
    if grid == other:
        return cells
    start = ((other.x_range[0], grid.x_range[0]), (other.y_range[0], grid.y_range[0]))
    shift = [(a - b) / size for (a, b), size in zip(start, grid.cell, strict=True)]
    sizes = zip(grid.cell, other.cell, strict=True)
    fits = all(abs(a - b) < 1e-4 * a for a, b in sizes)
    if not fits or any(abs(step - round(step)) > 1e-3 for step in shift):
        raise ValueError(
            f"{who} compares cell by cell, but the cells do not lie one on one: the student's map "
            f"is {grid}, the teacher's {other}; give both detectors the same voxel size and stride "
            "and ranges that differ by whole cells, or compare what lies before the heads"
        )
    rows, columns = other.shape
    place = cells.index % (cells.shape[1] * cells.shape[2])
    row = place.div(cells.shape[2], rounding_mode="floor") - round(shift[1])
    column = place % cells.shape[2] - round(shift[0])
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    line = cells.sample() * rows + row.clamp(0, rows - 1)
    index = line * columns + column.clamp(0, columns - 1)
    return Cells(index, cells.weights * inside, (cells.shape[0], rows, columns))


def whole_map(batch_size: int, grid: BEVGrid, device: torch.device | str = "cpu") -> Cells:
    """Every cell, weight 1."""
    rows, columns = grid.shape
    index = torch.arange(batch_size * rows * columns, device=device)
    return Cells(index, torch.ones_like(index, dtype=torch.float32), (batch_size, rows, columns))


def in_footprints(xy: Tensor, boxes: Tensor) -> Tensor:
    """(N, M) bool: which points (N, 2) lie in which boxes (M, 7+), seen from above."""
    gap = xy[:, None] - boxes[:, :2]
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    along = gap[..., 0] * cos + gap[..., 1] * sin
    across = gap[..., 1] * cos - gap[..., 0] * sin
    return (along.abs() <= boxes[:, 3] / 2) & (across.abs() <= boxes[:, 4] / 2)


def sample_of(rows: Sequence[Tensor]) -> Tensor:
    """(sum of M,) int64: which of the tensors (M, ...) each row of all of them is from."""
    if not len(rows):
        return torch.zeros(0, dtype=torch.int64)
    kept = [torch.full((len(one),), i, device=one.device) for i, one in enumerate(rows)]
    return torch.cat(kept)


def _largest_radius(area: float, overlap: float, min_radius: int) -> int:
    """Of a square of this many cells; no other shape of that area has a larger one."""
    return max(min_radius, int(2 * (overlap**0.5 - overlap) * area**0.5))


def _largest(index: Tensor, weights: Tensor, shape: tuple[int, int, int]) -> Cells:
    """Each cell with the largest of its weights, shared by its entries."""
    count = shape[0] * shape[1] * shape[2]
    dense = weights.new_zeros(count).scatter_reduce(0, index, weights, "amax")
    if weights.device.type in WAITS_FOR_NOTHING:
        return _listed(dense.view(shape))
    some = (weights > 0).to(weights)
    entries = weights.new_zeros(count).index_add(0, index, some)
    return Cells(index, some * dense[index] / entries[index].clamp(min=1), shape)


def _listed(dense: Tensor) -> Cells:
    flat = dense.flatten()
    index = flat.nonzero().squeeze(1)
    shape = (dense.shape[0], dense.shape[1], dense.shape[2])
    return Cells(index, flat[index], shape)
