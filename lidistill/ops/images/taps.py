# SPDX-License-Identifier: Apache-2.0
"""Bilinear reads of feature maps as weighted sums of pixels, on any device.

What RoIAlign and deformable convolutions read is, for each output, a short list of pixels with
weights: *taps*. Their sum is one ``embedding_bag`` over the map's pixels as rows, so the values at
the single positions, (positions, channels), are never made. Its transpose, the gradient of the map,
is an ``embedding_bag`` over outputs, pixel by pixel: a fixed order of summation on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.ops.gradients import differentiable_once


@dataclass(frozen=True)
class Taps:
    """Pixels and weights that each output sums.

    Attributes:
        index: (G, T) int64 pixels, as rows of the flattened map.
        weight: (G, T) of the map's dtype.
    """

    index: Tensor
    weight: Tensor


def clamped_taps(y: Tensor, x: Tensor, height: int, width: int) -> Taps:
    """Taps of positions that keep the border pixel's value for one pixel beyond it, RoIAlign's way.

    Args:
        y: (...) pixels; pixel centres are integers.
        x: (...) pixels.
        height: of the map.
        width: of the map.

    Returns:
        Four taps a position (..., 4), indices in one map; zero weight outside ``[-1, height]`` x
        ``[-1, width]``, the bounds included. NaN counts as outside.
    """
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y = torch.where(inside, y, 0).clamp(0, height - 1)
    x = torch.where(inside, x, 0).clamp(0, width - 1)
    low_y, low_x = y.floor(), x.floor()
    part_y, part_x = y - low_y, x - low_x
    row, column = low_y.long(), low_x.long()
    below, right = (row + 1).clamp(max=height - 1), (column + 1).clamp(max=width - 1)
    index = [row * width + column, row * width + right]
    index += [below * width + column, below * width + right]
    weight = _corner_weights(part_y, part_x) * inside.unsqueeze(-1)
    return Taps(torch.stack(index, -1), weight)


def zero_padded_taps(y: Tensor, x: Tensor, height: int, width: int) -> Taps:
    """Taps of positions in a map with zeros around it, the deformable convolution's way.

    Args as `clamped_taps`; differentiable in ``y`` and ``x``. NaN positions have NaN weights.
    """
    low_y, low_x = y.detach().floor(), x.detach().floor()
    weight = _corner_weights(y - low_y, x - low_x)
    rows = torch.stack([low_y, low_y, low_y + 1, low_y + 1], -1)
    columns = torch.stack([low_x, low_x + 1, low_x, low_x + 1], -1)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    inside &= ((y > -1) & (x > -1)).unsqueeze(-1)  # at -1 itself nothing is read, nor a gradient
    index = torch.where(inside, rows * width + columns, 0).long()
    unknown = (y.isnan() | x.isnan()).unsqueeze(-1)
    return Taps(index, torch.where(inside | unknown, weight, 0))


def _corner_weights(part_y: Tensor, part_x: Tensor) -> Tensor:
    """(..., 4): upper left, upper right, lower left, lower right."""
    rest_y, rest_x = 1 - part_y, 1 - part_x
    corners = [rest_y * rest_x, rest_y * part_x, part_y * rest_x, part_y * part_x]
    return torch.stack(corners, -1)


def pixel_rows(maps: Tensor) -> Tensor:
    """Maps (B, C, H, W) as rows (B * H * W, C)."""
    return maps.flatten(2).transpose(1, 2).reshape(-1, maps.shape[1])


def sum_taps(rows: Tensor, taps: Taps) -> Tensor:
    """Weighted sums of rows (R, C), float32 or float64: (G, C); differentiable in both."""
    summed: Tensor = _SumTaps.apply(rows, taps.index, taps.weight)
    return summed


def spread_taps(gradient: Tensor, taps: Taps, num_rows: int) -> Tensor:
    """Transpose of `sum_taps` in the rows: (G, C) into (``num_rows``, C)."""
    if not len(gradient) or not taps.index.numel():
        return gradient.new_zeros((num_rows, gradient.shape[1]))
    ordered, order = taps.index.flatten().sort(stable=True)
    starts = torch.searchsorted(ordered, torch.arange(num_rows, device=ordered.device))
    outputs = order.div(taps.index.shape[1], rounding_mode="floor")
    weight = taps.weight.flatten()[order]
    return F.embedding_bag(outputs, gradient, starts, mode="sum", per_sample_weights=weight)


class _SumTaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        """See `sum_taps`."""
        ctx.save_for_backward(rows, index, weight)
        if not index.numel():
            return rows.new_zeros((len(index), rows.shape[1]))
        return F.embedding_bag(index, rows, mode="sum", per_sample_weights=weight)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        """Gradients of rows and weights."""
        rows, index, weight = ctx.saved_tensors
        gradient = grads[0].contiguous()
        rows_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            rows_grad = spread_taps(gradient, Taps(index, weight), len(rows))
        if ctx.needs_input_grad[2]:
            tap_grads = [(gradient * rows[column]).sum(1) for column in index.unbind(1)]
            weight_grad = torch.stack(tap_grads, 1) if tap_grads else torch.zeros_like(weight)
        return rows_grad, None, weight_grad
