# SPDX-License-Identifier: Apache-2.0
"""Read dense maps at points and cells: rows out of maps, without waiting for a GPU.

A channels-last map is a table of rows: a bilinear read is a weighted bag of four of them, one
``embedding_bag``. Channel by channel ``grid_sample`` is faster; the memory format decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.geometry.map_sampling import sample_maps


class PointReader:
    """Reads maps of one size at the same points, bilinearly; cells outside of the map are zero.

    Args:
        cells: (P, 2) continuous row and column, sample by sample; cell k's centre is at k + 0.5.
        counts: points of each sample.
        shape: (Y, X) of the maps.
    """

    def __init__(self, cells: Tensor, counts: Sequence[int], shape: tuple[int, int]) -> None:
        if cells.shape != (sum(counts), 2):
            raise ValueError(
                f"expected cells ({sum(counts)}, 2) for {list(counts)} points a sample, got "
                f"{tuple(cells.shape)}"
            )
        self.cells, self.counts, self.shape = cells, list(counts), shape

    def __call__(self, maps: Tensor) -> Tensor:
        """(P, C) rows of maps (B, C, Y, X), in their dtype; differentiable in the maps.

        Raises:
            ValueError: maps of another size, or of another number of samples.
        """
        if maps.dim() != 4 or (len(maps), *maps.shape[2:]) != (len(self.counts), *self.shape):
            raise ValueError(
                f"expected a map ({len(self.counts)}, C, {self.shape[0]}, {self.shape[1]}), got "
                f"{tuple(maps.shape)}"
            )
        if not len(self.cells):
            return maps.new_zeros(0, maps.shape[1]) + maps.reshape(-1)[:0].sum()
        if maps.is_contiguous(memory_format=torch.channels_last):
            index, weights = self._bags
            table = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])  # a view
            weights = weights.to(table)
            return F.embedding_bag(index, table, per_sample_weights=weights, mode="sum")
        read = sample_maps(maps, self._where, align_corners=False)  # (B, C, 1, P)
        rows = read[:, :, 0].transpose(1, 2)
        return torch.cat([rows[sample, :count] for sample, count in enumerate(self.counts)])

    @cached_property
    def _bags(self) -> tuple[Tensor, Tensor]:
        """(P, 4) rows of the table, and their weights."""
        rows, columns = self.shape
        position = self.cells - 0.5
        steps, low, high = _constants(rows, columns, position.device, position.dtype)
        corner = position.floor()[:, None] + steps  # (P, 2, 2): lower and upper, row and column
        inside = corner.clamp(low, high)
        share = (1 - (position[:, None] - corner).abs()) * (inside == corner)
        where = inside.long()
        line, column = where[:, :, 0], where[:, :, 1]
        if len(self.counts) > 1:
            first = [line.new_full((count, 1), i * rows) for i, count in enumerate(self.counts)]
            line = line + torch.cat(first)
        index = line[:, :, None] * columns + column[:, None]  # (P, 2, 2)
        weights = share[:, :, :1] * share[:, None, :, 1]
        return index.flatten(1), weights.flatten(1)

    @cached_property
    def _where(self) -> Tensor:
        """(B, 1, largest count, 2) normalised (x, y), padded."""
        rows, columns = self.shape
        where = torch.stack(
            [2 * self.cells[:, 1] / columns - 1, 2 * self.cells[:, 0] / rows - 1], 1
        )
        parts = list(where.split(self.counts))
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)[:, None]


def read_cells(maps: Tensor, index: Tensor) -> Tensor:
    """Rows of whole cells.

    Args:
        maps: (B, C, Y, X).
        index: (R,) int64 in the flattened (B, Y, X).

    Returns:
        (R, C) in the map's dtype.
    """
    cells = maps.shape[2] * maps.shape[3]
    sample = index.div(cells, rounding_mode="floor")
    rows: Tensor = maps.flatten(2)[sample, :, index - sample * cells]
    return rows


@lru_cache(maxsize=64)
def _constants(
    rows: int, columns: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Steps to the corners, first and last cell: copied to a device once."""
    steps = torch.tensor([[0, 0], [1, 1]], device=device, dtype=dtype)
    last = torch.tensor([rows - 1, columns - 1], device=device, dtype=dtype)
    return steps, torch.zeros_like(last), last
