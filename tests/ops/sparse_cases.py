# SPDX-License-Identifier: Apache-2.0
"""Random sparse grids, and naive loops to compare tables and convolutions with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass
class Grid:
    """A batch of sparse grids and the dense map of its active cells."""

    coords: Tensor  # (V, 1 + D) int32
    shape: list[int]
    batch_size: int
    active: Tensor  # (B, *shape) bool

    def dense(self, features: Tensor) -> Tensor:
        """(V, C) as (B, C, *shape), differentiably."""
        size = (self.batch_size, *self.shape, features.shape[1])
        cells = tuple(self.coords.to(features.device).long().T)
        dense = features.new_zeros(size).index_put(cells, features)
        return dense.movedim(-1, 1)

    def sparse(self, dense: Tensor) -> Tensor:
        """(B, C, *shape) at the active cells: (V, C)."""
        return dense.movedim(1, -1)[tuple(self.coords.long().T)]


def random_grid(
    rng: np.random.Generator, axes: int = 3, shuffled: bool = True, multiple: int = 1
) -> Grid:
    """Up to three samples of 3 to 8 cells an axis, a tenth to a half of them active."""
    shape = (-(-rng.integers(3, 9, size=axes) // multiple) * multiple).tolist()
    batch_size = int(rng.integers(1, 4))
    active = torch.from_numpy(rng.random((batch_size, *shape)) < rng.uniform(0.1, 0.5))
    coords = active.nonzero().int()
    if shuffled:
        coords = coords[torch.from_numpy(rng.permutation(len(coords)))]
    return Grid(coords.contiguous(), shape, batch_size, active)


def naive_sources(
    coords: np.ndarray, out_coords: np.ndarray, step, kernel_size: list[int]
) -> np.ndarray:
    """(K, V_out) input row that each output reads; ``step(out, k)`` is the input cell or None."""
    rows = {tuple(c): row for row, c in enumerate(coords.tolist())}
    kernel = list(np.ndindex(*kernel_size))
    sources = np.full((len(kernel), len(out_coords)), -1)
    for k, offset in enumerate(kernel):
        for out, cell in enumerate(out_coords.tolist()):
            wanted = step(np.array(cell[1:]), np.array(offset))
            if wanted is not None:
                sources[k, out] = rows.get((cell[0], *wanted.tolist()), -1)
    return sources


def naive_conv(features: Tensor, weight: Tensor, sources: np.ndarray, bias: Tensor) -> Tensor:
    """One row, one offset at a time; differentiable."""
    rows = []
    for out in range(sources.shape[1]):
        row = bias
        for k in range(sources.shape[0]):
            if sources[k, out] >= 0:
                row = row + weight[:, k] @ features[sources[k, out]]
        rows.append(row)
    return torch.stack(rows) if rows else features.new_zeros((0, len(bias)))
