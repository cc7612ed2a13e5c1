# SPDX-License-Identifier: Apache-2.0
"""What the losses on rows share: checks, shares of weights, sums per sample, and their edges.

At the edges (a row of zeros, a channel without spread) a direction or a correlation is not defined,
and the derivative of a square root is infinite. There the value is 0 and the gradient is 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lidistill.ops.precision import full_precision

SHORTEST = 1e-6
"""Norms up to this one count as zero: such a row has no direction, such a channel no spread."""


def map_rows(feature_map: Tensor) -> tuple[Tensor, Tensor]:
    """All cells of a dense map as rows.

    Args:
        feature_map: (B, C, ...) with any number of spatial axes.

    Returns:
        (B * cells, C) rows, sample by sample, and (B * cells,) int64 sample of each.
    """
    batch, channels = feature_map.shape[:2]
    rows = feature_map.flatten(2).transpose(1, 2).reshape(-1, channels)
    cells = len(rows) // max(batch, 1)
    return rows, torch.arange(batch, device=rows.device).repeat_interleave(cells)


def check_rows(student: Tensor, teacher: Tensor, same_width: bool = False) -> tuple[Tensor, Tensor]:
    """Both as float32 (float64 where one is); the teacher without gradient.

    Raises:
        ValueError: not two lists of as many rows; unequal widths where they must be equal.
    """
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise ValueError(
            "expected student and teacher rows (R, C) of the same places, got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}; map_rows turns maps into rows"
        )
    if same_width and student.shape[1] != teacher.shape[1]:
        raise ValueError(
            f"student width {student.shape[1]} and teacher width {teacher.shape[1]} differ; add a "
            f"connector, e.g. dict(type=Linear, in_features={student.shape[1]}, "
            f"out_features={teacher.shape[1]})"
        )
    double = torch.float64 in (student.dtype, teacher.dtype)
    dtype = torch.float64 if double else torch.float32
    return student.to(dtype), teacher.detach().to(dtype)


def row_weights(rows: Tensor, weights: Tensor | None) -> Tensor | None:
    """(R,) shares that add up to 1, without gradient; None if there is nothing to share.

    Raises:
        ValueError: not one weight per row; weights that are no numbers or infinite.
    """
    if weights is None:
        return rows.new_full((len(rows),), 1.0 / len(rows)) if len(rows) else None
    if weights.shape != rows.shape[:1]:
        raise ValueError(f"expected weights ({len(rows)},), got {tuple(weights.shape)}")
    weights = weights.detach().to(rows)
    total = float(weights.sum())
    if not math.isfinite(total):
        raise ValueError(f"expected finite weights, got a sum of {total} over {len(rows)} rows")
    return weights / total if total > 0 else None


def measure_of(shares: Tensor) -> Tensor:
    """(R,) the shares, scaled so that equal ones become 1 and rows without weight do not count."""
    return shares / shares.square().sum()


def samples_of(sample: Tensor | None, rows: Tensor) -> tuple[Tensor, int]:
    """(R,) int64 samples renumbered without gaps, and their number."""
    if sample is None:
        return torch.zeros(len(rows), dtype=torch.int64, device=rows.device), 1
    known, ids = sample.unique(return_inverse=True)
    return ids, len(known)


def sample_sum(values: Tensor, ids: Tensor, count: int) -> Tensor:
    """(count, ...) sums of the rows of each sample."""
    return values.new_zeros(count, *values.shape[1:]).index_add(0, ids, values)


def directions(values: Tensor, dim: int = 1, eps: float = 0.0) -> Tensor:
    """Unit vectors; what is not longer than :data:`SHORTEST` becomes zero, with gradient zero.

    ``torch.nn.functional.normalize`` divides such a vector, and its gradient, by 1e-12.

    Args:
        values: vectors along ``dim``; half precision becomes float32.
        dim: axis of the vectors.
        eps: added to the lengths.
    """
    length = torch.linalg.vector_norm(full_precision(values), dim=dim, keepdim=True)
    return values / (divisor(length, SHORTEST) + eps)


def length_of(squares: Tensor, shortest: float = SHORTEST) -> Tensor:
    """Square roots; 0, with gradient 0, where the length counts as zero.

    Args:
        squares: squared lengths.
        shortest: lengths up to this one count as zero.
    """
    short = squares <= shortest**2
    return squares.masked_fill(short, 1.0).sqrt().masked_fill(short, 0.0)


def divisor(lengths: Tensor, shortest: float = 0.0) -> Tensor:
    """Lengths to divide by: infinite, without gradient, where not above ``shortest``."""
    return lengths.masked_fill(lengths <= shortest, torch.inf)


def check_temperature(temperature: float, usual: float = 1.0) -> None:
    """Raise a ValueError unless a softmax can be divided by it."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}; usual is {usual}")


def centred(rows: Tensor, shares: Tensor) -> Tensor:
    """(R, C) rows without their mean under the shares (R,).

    The first row is taken off before: what is the same everywhere becomes exactly 0, no rounding
    error that a division by its deviation would blow up.
    """
    rows = rows - rows[:1].detach()
    return rows - shares @ rows
