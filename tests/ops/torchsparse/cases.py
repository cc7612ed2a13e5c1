# SPDX-License-Identifier: Apache-2.0
"""Random voxels with negative coordinates in several samples, and torchsparse's rules as loops."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from lidistill.ops.torchsparse import SparseTensor

Cell = tuple[int, int, int, int]


def random_voxels(seed: int, count: int = 60, stride: int = 1, samples: int = 3) -> Tensor:
    """(V, 4) int32, x y z sample, in no order, around the origin; each sample elsewhere."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(-3, 4, (count, 3)) * stride
    sample = rng.integers(0, samples, (count, 1))
    rows = np.unique(np.concatenate([cells + 2 * stride * sample, sample], 1), axis=0)
    return torch.from_numpy(rng.permutation(rows).astype(np.int32))


def random_tensor(seed: int, channels: int, stride: int = 1, **kwargs: int) -> SparseTensor:
    """Double-precision features that want gradients."""
    coords = random_voxels(seed, stride=stride, **kwargs)
    generator = torch.Generator().manual_seed(seed)
    feats = torch.randn(len(coords), channels, dtype=torch.float64, generator=generator)
    return SparseTensor(feats.requires_grad_(), coords, stride)


def triple(value) -> tuple[int, int, int]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)


def naive_offsets(size) -> list[tuple[int, int, int]]:
    """Offsets in the order of the weights, in voxels."""
    axes = [range(1 - (n + 1) // 2, n // 2 + 1) for n in triple(size)]
    if np.prod(triple(size)) % 2:
        return [(x, y, z) for z, y, x in itertools.product(*axes[::-1])]
    return list(itertools.product(*axes))


def moved(cell: Cell, offset: tuple[int, int, int], step: tuple[int, int, int]) -> Cell:
    return (*(c + o * s for c, o, s in zip(cell, offset, step, strict=False)), cell[3])


def naive_coarse(cells: list[Cell], size, stride, step) -> list[Cell]:
    """Voxels behind a strided convolution, in lexicographic order of (batch, x, y, z)."""
    size, stride, step = triple(size), triple(stride), triple(step)
    whole = [s * t for s, t in zip(stride, step, strict=True)]
    if all(s in (1, k) for s, k in zip(stride, size, strict=True)):
        found = {(*(c // w * w for c, w in zip(u, whole, strict=False)), u[3]) for u in cells}
    else:
        reached = {moved(u, offset, step) for u in cells for offset in naive_offsets(size)}
        low = {b: [min(u[k] for u in cells if u[3] == b) for k in range(3)] for *_, b in cells}
        found = {
            u
            for u in reached
            if all(u[k] % whole[k] == 0 and u[k] >= low[u[3]][k] for k in (0, 1, 2))
        }
    return sorted(found, key=lambda u: (u[3], *u[:3]))


def naive_conv(x: dict[Cell, Tensor], kernel: Tensor, outs: list[Cell], size, step) -> list[Tensor]:
    """out[u] = sum over k of x[u + offset of k] @ kernel[k]; differentiable."""
    kernel = kernel.reshape(-1, *kernel.shape[-2:])
    rows = []
    for u in outs:
        row = kernel.new_zeros(kernel.shape[2])
        for offset, weight in zip(naive_offsets(size), kernel, strict=True):
            source = moved(u, offset, triple(step))
            if source in x:
                row = row + x[source] @ weight
        rows.append(row)
    return rows


def cells_of(coords: Tensor) -> list[Cell]:
    return [tuple(row) for row in coords.tolist()]


def by_cell(tensor: SparseTensor) -> dict[Cell, Tensor]:
    return dict(zip(cells_of(tensor.coords), tensor.feats, strict=True))
