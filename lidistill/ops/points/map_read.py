# SPDX-License-Identifier: Apache-2.0
"""Read dense maps at points and cells: rows in, rows out, without waiting for a GPU.

A channels-last map is a table of rows: a bilinear read is a weighted bag of four of them, one
``embedding_bag``. Channel by channel ``grid_sample`` is faster; the memory format decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence


def read_points(maps: Tensor, cells: Sequence[Tensor]) -> Tensor:
    """Rows of points, read bilinearly; cells outside of the map count as zero.

    Args:
        maps: (B, C, Y, X).
        cells: per sample (P, 2) continuous row and column; cell k's centre is at k + 0.5.

    Returns:
        (sum of P, C), sample by sample, in the map's dtype; differentiable in the map.

    Raises:
        ValueError: not a map of as many samples.
    """
    if maps.dim() != 4 or len(maps) != len(cells):
        raise ValueError(
            f"expected a map (B, C, Y, X) of {len(cells)} samples, got {tuple(maps.shape)}"
        )
    if not sum(len(one) for one in cells):
        return maps.new_zeros(0, maps.shape[1]) + maps.reshape(-1)[:0].sum()
    if maps.is_contiguous(memory_format=torch.channels_last):
        return _read_table(maps, cells)
    size = (maps.shape[2], maps.shape[3])
    padded = pad_sequence(list(cells), batch_first=True)  # (B, P, 2)
    where = torch.stack([2 * padded[..., 1] / size[1] - 1, 2 * padded[..., 0] / size[0] - 1], -1)
    read = F.grid_sample(maps, where[:, None].to(maps.dtype), align_corners=False)  # (B, C, 1, P)
    rows = read[:, :, 0].transpose(1, 2)
    return torch.cat([rows[sample, : len(one)] for sample, one in enumerate(cells)])


def _read_table(maps: Tensor, cells: Sequence[Tensor]) -> Tensor:
    batch, channels, rows, columns = maps.shape
    table = maps.permute(0, 2, 3, 1).reshape(batch * rows * columns, channels)  # a view
    first = [torch.full((len(one),), i * rows, device=maps.device) for i, one in enumerate(cells)]
    position = torch.cat(list(cells)) - 0.5
    low = position.floor()
    part = position - low  # (P, 2)
    row = torch.stack([low[:, 0], low[:, 0] + 1], 1).long()  # (P, 2)
    column = torch.stack([low[:, 1], low[:, 1] + 1], 1).long()
    row_weight = torch.stack([1 - part[:, 0], part[:, 0]], 1)
    column_weight = torch.stack([1 - part[:, 1], part[:, 1]], 1)
    row_weight = row_weight * ((row >= 0) & (row < rows))
    column_weight = column_weight * ((column >= 0) & (column < columns))
    line = torch.cat(first)[:, None] + row.clamp(0, rows - 1)
    index = line[:, :, None] * columns + column.clamp(0, columns - 1)[:, None]  # (P, 2, 2)
    weights = row_weight[:, :, None] * column_weight[:, None]
    return F.embedding_bag(
        index.flatten(1), table, per_sample_weights=weights.flatten(1).to(table), mode="sum"
    )


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
