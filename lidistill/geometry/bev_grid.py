# SPDX-License-Identifier: Apache-2.0
"""Bird's-eye-view grid: the only place that converts metres, cells and normalised coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lidistill.geometry.map_sampling import sample_maps


@dataclass(frozen=True)
class BEVGrid:
    """A BEV map ``[row = y, column = x]`` over a rectangle of the horizontal plane.

    Row 0 is at ``y_range[0]``, column 0 at ``x_range[0]``. In cell coordinates cell k covers
    ``[k, k + 1)`` and its centre is at ``k + 0.5``.

    Attributes:
        x_range: (start, end) metres.
        y_range: (start, end) metres.
        cell: Cell size (x, y), metres.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    cell: tuple[float, float]

    def __post_init__(self) -> None:
        if self.x_range[0] >= self.x_range[1] or self.y_range[0] >= self.y_range[1]:
            raise ValueError(
                f"expected start < end, got x_range {self.x_range}, y_range {self.y_range}"
            )
        if len(self.cell) != 2 or min(self.cell) <= 0:
            raise ValueError(f"expected a positive cell size (x, y), got {self.cell}")

    @property
    def shape(self) -> tuple[int, int]:
        """(Y rows, X columns)."""
        return (
            round((self.y_range[1] - self.y_range[0]) / self.cell[1]),
            round((self.x_range[1] - self.x_range[0]) / self.cell[0]),
        )

    def cells_from_metres(self, xy: Tensor) -> Tensor:
        """(P, 2) continuous (row, column) of points (P, 2) (x, y) metres; centres at +0.5."""
        column = (xy[..., 0] - self.x_range[0]) / self.cell[0]
        row = (xy[..., 1] - self.y_range[0]) / self.cell[1]
        return torch.stack([row, column], dim=-1)

    def metres_from_cells(self, rowcol: Tensor) -> Tensor:
        """(P, 2) (x, y) metres of continuous cell coordinates (P, 2) (row, column)."""
        x = rowcol[..., 1] * self.cell[0] + self.x_range[0]
        y = rowcol[..., 0] * self.cell[1] + self.y_range[0]
        return torch.stack([x, y], dim=-1)

    def centres(self) -> Tensor:
        """(Y, X, 2) float32 (x, y) metres of the cell centres."""
        rows, columns = self.shape
        row, column = torch.meshgrid(
            torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij"
        )
        return self.metres_from_cells(torch.stack([row, column], dim=-1))

    def index(self, xy: Tensor) -> tuple[Tensor, Tensor]:
        """(P, 2) int64 (row, column) of the cell that holds each point, and (P,) bool inside."""
        cells = torch.floor(self.cells_from_metres(xy)).long()
        limit = torch.tensor(self.shape, device=xy.device)
        return cells, ((cells >= 0) & (cells < limit)).all(dim=-1)

    def normalised_from_metres(self, xy: Tensor) -> Tensor:
        """(P, 2) (x, y) in [-1, 1] for ``grid_sample(align_corners=False)``: edges at -1 and 1."""
        rows, columns = self.shape
        cells = self.cells_from_metres(xy)
        return torch.stack([2 * cells[..., 1] / columns - 1, 2 * cells[..., 0] / rows - 1], dim=-1)

    def read_bilinear(
        self, bev: Tensor, xy: Tensor, batch: Tensor | None = None, compat: bool = False
    ) -> Tensor:
        """Features of points, read bilinearly from a map; differentiable in the map.

        Cells outside the map count as zero, as in ``grid_sample`` with zero padding.

        Args:
            bev: (B, C, Y, X); a coarser map of the same rectangle may be read with `strided`.
            xy: (P, 2) metres.
            batch: (P,) int64 sample of each point; None where B is 1.
            compat: True reads as SLidR's VoxelNet branch does: cell k's value stands at its
                *lower edge*, corners are clamped into the map after the split, and weights come
                from the clamped corners, so that they add up to less than one past the last cell.

        Returns:
            (P, C).

        Raises:
            ValueError: If the map has another number of cells than this grid.
        """
        if bev.dim() != 4 or tuple(bev.shape[2:]) != self.shape:
            raise ValueError(
                f"expected a BEV map (B, C, {self.shape[0]}, {self.shape[1]}), got "
                f"{tuple(bev.shape)}; for a strided map use grid.strided(factor)"
            )
        if batch is None:
            if bev.shape[0] != 1:
                raise ValueError(f"expected batch (P,) for a map of {bev.shape[0]} samples")
            batch = torch.zeros(len(xy), dtype=torch.long, device=xy.device)
        position = self.cells_from_metres(xy) - (0.0 if compat else 0.5)
        rows, row_weights = _corners(position[:, 0], self.shape[0], compat)
        columns, column_weights = _corners(position[:, 1], self.shape[1], compat)
        out = bev.new_zeros(len(xy), bev.shape[1])
        for row, row_weight in zip(rows, row_weights, strict=True):
            for column, column_weight in zip(columns, column_weights, strict=True):
                weight = (row_weight * column_weight).to(bev.dtype)
                out = out + weight[:, None] * bev[batch, :, row, column]
        return out

    def moved(self, bev: Tensor, source_from_target: Tensor) -> Tensor:
        """A map of another moment seen from the present one: bilinear, zero where it saw nothing.

        Args:
            bev: (B, C, Y, X) in the source frame.
            source_from_target: (B, 4, 4) with the z axes (nearly) parallel; may scale or mirror.

        Returns:
            (B, C, Y, X) in the target frame.
        """
        xy = self.centres().to(bev.device)  # (Y, X, 2)
        matrix = source_from_target.to(bev.device, torch.float32)
        with torch.autocast(bev.device.type, enabled=False):
            moved = torch.einsum("bij,yxj->byxi", matrix[:, :2, :2], xy)
        moved = moved + matrix[:, None, None, :2, 3]
        return sample_maps(bev, self.normalised_from_metres(moved), align_corners=False)

    def strided(self, factor: int) -> BEVGrid:
        """The grid of a map of the same rectangle with cells ``factor`` times as large."""
        if any(size % factor for size in self.shape):
            raise ValueError(f"expected a factor that divides {self.shape}, got {factor}")
        return BEVGrid(self.x_range, self.y_range, (self.cell[0] * factor, self.cell[1] * factor))


def _corners(position: Tensor, size: int, compat: bool) -> tuple[Tensor, Tensor]:
    """Lower and upper neighbour of positions (P,) on one axis and their weights, each (2, P)."""
    low = torch.floor(position)
    corners = torch.stack([low, low + 1])
    clamped = corners.clamp(0, size - 1)
    if compat:
        weights = torch.stack([clamped[1] - position, position - clamped[0]])
    else:
        weights = torch.stack([corners[1] - position, position - low]) * (corners == clamped)
    return clamped.long(), weights
