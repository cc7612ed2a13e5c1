# SPDX-License-Identifier: Apache-2.0
"""Depths along a camera's optical axis cut into bins: what a depth network chooses from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DepthBins:
    """Bins one behind the other, metres along the optical axis.

    Attributes:
        edges: (D + 1,) growing; bin d covers ``[edges[d], edges[d + 1])``.
    """

    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        growing = all(a < b for a, b in zip(self.edges, self.edges[1:], strict=False))
        if len(self.edges) < 2 or not growing or self.edges[0] < 0:
            raise ValueError(f"expected two or more growing edges from 0 on, got {self.edges}")

    @classmethod
    def uniform(cls, start: float, end: float, step: float) -> DepthBins:
        """Bins of one width: (1, 60, 0.5) gives 118.

        Raises:
            ValueError: the range is no whole number of steps.
        """
        count = round((end - start) / step) if step > 0 else 0
        if count < 1 or abs(start + count * step - end) > 1e-6 * max(1.0, abs(end)):
            raise ValueError(
                f"expected a whole number of steps from start to end, got {start}, {end}, {step}"
            )
        return cls(tuple(start + k * step for k in range(count + 1)))

    @classmethod
    def growing(cls, start: float, end: float, count: int) -> DepthBins:
        """Bins whose width grows linearly with their number (LID).

        Source: Reading et al., CaDDN (2103.01100), section 3.1.
        """
        if count < 1:
            raise ValueError(f"expected one bin or more, got {count}")
        unit = (end - start) / (count * (count + 1))
        return cls(tuple(start + unit * k * (k + 1) for k in range(count + 1)))

    @classmethod
    def of(cls, value: DepthBins | Sequence[float]) -> DepthBins:
        """Bins as they are, or uniform ones from (start, end, step) of a config."""
        if isinstance(value, DepthBins):
            return value
        if len(value) != 3:
            raise ValueError(f"expected depth bins as (start, end, step) in metres, got {value}")
        return cls.uniform(*value)

    @property
    def count(self) -> int:
        """Number of bins D."""
        return len(self.edges) - 1

    def starts(self) -> Tensor:
        """(D,) float32 near edges, metres."""
        return torch.tensor(self.edges[:-1])

    def centres(self) -> Tensor:
        """(D,) float32 metres."""
        edges = torch.tensor(self.edges, dtype=torch.float64)
        return ((edges[:-1] + edges[1:]) / 2).float()

    def index(self, depth: Tensor) -> Tensor:
        """Bin of each depth (any shape), int64; -1 before the first and behind the last."""
        edges = torch.tensor(self.edges, dtype=depth.dtype, device=depth.device)
        found = torch.searchsorted(edges, depth.contiguous(), right=True) - 1
        return torch.where((found < 0) | (found >= self.count), -1, found)
