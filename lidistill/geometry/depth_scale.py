# SPDX-License-Identifier: Apache-2.0
"""Metric depth as a continuous number of bins, and as a class: what CaDDN's descendants learn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.geometry.depth_bins import DepthBins

MODES = ("LID", "UD", "SID")


@dataclass(frozen=True)
class DepthScale:
    """N bins between two depths, and a class N for what is outside or unknown.

    Attributes:
        mode: ``LID``: widths grow linearly; ``UD``: one width; ``SID``: logarithmic in 1 + depth.
        low: near edge of the first bin, metres.
        high: far edge of the last.
        count: N.

    Source: Reading et al., CaDDN (2103.01100), section 3.1.
    """

    mode: str = "LID"
    low: float = 2.0
    high: float = 46.8
    count: int = 120

    def __post_init__(self) -> None:
        if self.mode not in MODES or not 0 <= self.low < self.high or self.count < 1:
            raise ValueError(
                f"expected a mode of {MODES}, 0 <= low < high and one bin or more, got "
                f"{self.mode!r}, {self.low}, {self.high}, {self.count}"
            )

    def position(self, depth: Tensor) -> Tensor:
        """Depths as continuous numbers of bins.

        Args:
            depth: (...) metres.

        Returns:
            (...) of the depths' dtype: d at the near edge of bin d, N at the far edge of the last;
            NaN where there is no such number (NaN itself; in LID depths far before the first bin).
        """
        span = self.high - self.low
        if self.mode == "UD":
            return (depth - self.low) / (span / self.count)
        if self.mode == "SID":
            first, last = math.log(1 + self.low), math.log(1 + self.high)
            return self.count * ((1 + depth).log() - first) / (last - first)
        unit = 2 * span / (self.count * (1 + self.count))
        return -0.5 + 0.5 * (1 + 8 * (depth - self.low) / unit).sqrt()

    def target(self, depth: Tensor) -> Tensor:
        """The class of each depth, int64: its bin, or N for what is outside or not finite."""
        position = self.position(depth)
        known = position.isfinite() & (position >= 0) & (position <= self.count)
        return torch.where(known, position.floor(), float(self.count)).long()

    def edges(self) -> Tensor:
        """(N + 1,) float64 metres."""
        number = torch.arange(self.count + 1, dtype=torch.float64)
        if self.mode == "UD":
            return self.low + (self.high - self.low) * number / self.count
        if self.mode == "SID":
            first, last = math.log(1 + self.low), math.log(1 + self.high)
            return (first + (last - first) * number / self.count).exp() - 1
        unit = (self.high - self.low) / (self.count * (1 + self.count))
        return self.low + unit * number * (number + 1)

    def bins(self) -> DepthBins:
        """The same bins for a lift and splat."""
        return DepthBins(tuple(self.edges().tolist()))


def pooled_depth(depth: Tensor, stride: int) -> Tensor:
    """Mean of the known depths of each cell.

    Args:
        depth: (B, H, W) metres, 0 = unknown.
        stride: rows and columns of a cell; the last may reach over the map's edge.

    Returns:
        (B, ceil(H / stride), ceil(W / stride)) metres; 0 where nothing is known.

    Source: MonoTAKD (2404.04910), its release: how the assistant gets its depth.
    """
    known = (depth != 0).to(depth.dtype)
    both = torch.stack([depth, known], 1)
    sums = F.avg_pool2d(both, stride, stride, ceil_mode=True, divisor_override=1)
    return sums[:, 0] / sums[:, 1].clamp(min=1)
