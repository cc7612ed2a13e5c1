# SPDX-License-Identifier: Apache-2.0
"""CPU kernels behind :mod:`lidistill.ops.bev.frustum_read`."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from lidistill.jit import njit

Array: TypeAlias = np.ndarray


@njit
def _weight(depth: Array, pixel: int, k: int, part: float) -> float:
    """Probability between two bins; bins outside have none."""
    found = 0.0
    if 0 <= k < depth.shape[1]:
        found += (1.0 - part) * depth[pixel, k]
    if 0 <= k + 1 < depth.shape[1]:
        found += part * depth[pixel, k + 1]
    return found


@njit
def read(
    window: tuple[int, int, int],
    places: tuple[Array, Array, Array, Array],
    rows: Array,
    depth: Array,
    out: Array,
) -> None:
    """Add voxels to the rows of ``out``.

    Args:
        window: first voxel, one past the last, and the row that is ``out``'s first.
        places: (V,) row of each voxel; (V, 4) image, column, row and bin before its place; (V, 3)
            how far after them; (2,) h, w.
        rows: (M * h * w, C) features.
        depth: (M * h * w, D) distributions.
        out: (n, C).
    """
    low, high, first = window
    cells, whole, part, size = places
    for v in range(low, high):
        target = out[cells[v] - first]
        for corner in range(4):
            du, dv = corner % 2, corner // 2
            u, y = whole[v, 1] + du, whole[v, 2] + dv
            if u < 0 or y < 0 or u >= size[1] or y >= size[0]:
                continue
            pixel = (whole[v, 0] * size[0] + y) * size[1] + u
            weight = part[v, 0] if du else 1 - part[v, 0]
            weight *= part[v, 1] if dv else 1 - part[v, 1]
            weight *= _weight(depth, pixel, whole[v, 3], part[v, 2])
            if weight == 0:
                continue
            source = rows[pixel]
            scale = np.float32(weight)
            for c in range(len(target)):
                target[c] += scale * source[c]


@njit(fastmath={"reassoc", "contract", "nsz"})
def read_back(
    window: tuple[int, int, int],
    pixels: tuple[int, int],
    places: tuple[Array, Array, Array, Array],
    rows: Array,
    depth: Array,
    grad: Array,
    grad_rows: Array,
    grad_depth: Array,
) -> None:
    """Add the gradients of the voxels of a window; ``grad`` (n, C) is that of ``out``.

    Only pixels from the first of ``pixels`` up to the second take their share.
    """
    low, high, first = window
    cells, whole, part, size = places
    bins = depth.shape[1]
    for v in range(low, high):
        source = grad[cells[v] - first]
        k, along = whole[v, 3], part[v, 2]
        for corner in range(4):
            du, dv = corner % 2, corner // 2
            u, y = whole[v, 1] + du, whole[v, 2] + dv
            if u < 0 or y < 0 or u >= size[1] or y >= size[0]:
                continue
            pixel = (whole[v, 0] * size[0] + y) * size[1] + u
            if pixel < pixels[0] or pixel >= pixels[1]:
                continue
            weight = part[v, 0] if du else 1 - part[v, 0]
            weight *= part[v, 1] if dv else 1 - part[v, 1]
            if weight == 0:
                continue
            scale = np.float32(weight * _weight(depth, pixel, k, along))
            own, target = rows[pixel], grad_rows[pixel]
            alike = np.float32(0.0)
            for c in range(len(source)):
                alike += own[c] * source[c]
            if scale != 0:
                for c in range(len(source)):
                    target[c] += scale * source[c]
            if 0 <= k < bins:
                grad_depth[pixel, k] += alike * weight * (1 - along)
            if 0 <= k + 1 < bins:
                grad_depth[pixel, k + 1] += alike * weight * along
