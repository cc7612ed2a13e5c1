# SPDX-License-Identifier: Apache-2.0
"""Read feature vectors out of channel-major maps at given pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _PixelRead(torch.autograd.Function):
    """Gather (P, C) vectors from (B, C, H, W); the gradient is one flat ``index_add``."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, image: Tensor, pixel: Tensor) -> Tensor:
        ctx.save_for_backward(image, pixel)
        ctx.map_shape = maps.shape
        return maps.flatten(2)[image, :, pixel]  # (P, C)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        image, pixel = ctx.saved_tensors
        _, channels, height, width = ctx.map_shape
        channel = torch.arange(channels, device=grad.device)
        flat = (image[:, None] * channels + channel) * (height * width) + pixel[:, None]
        out = grad.new_zeros(ctx.map_shape)
        out.view(-1).index_add_(0, flat.flatten(), grad.flatten())
        return out, None, None


def read_pixels(feature_map: Tensor, image: Tensor, rowcol: Tensor) -> Tensor:
    """Read a dense map at integer pixels.

    Args:
        feature_map: (B, C, H, W).
        image: (P,) integer image of each pixel.
        rowcol: (P, 2) integer row and column.

    Returns:
        (P, C) feature vectors in the map's dtype.

    Raises:
        ValueError: a pixel lies outside the map.
    """
    _check_pixels(feature_map, image, rowcol, tuple(feature_map.shape[2:]))
    image, rowcol = image.long(), rowcol.long()
    pixel = rowcol[:, 0] * feature_map.shape[3] + rowcol[:, 1]
    return _PixelRead.apply(feature_map, image, pixel)


def read_pixels_lowres(
    feature_map: Tensor,
    image: Tensor,
    rowcol: Tensor,
    output_hw: tuple[int, int],
    align_corners: bool = True,
) -> Tensor:
    """Read a bilinearly upsampled map at given pixels without building the upsampled map.

    Exact: equals ``interpolate(feature_map, output_hw, mode="bilinear")`` read at the pixels, and
    stays exact when the vectors are L2-normalised afterwards, as PPKT's head does.

    Args:
        feature_map: (B, C, h, w) low-resolution map.
        image: (P,) integer image of each pixel.
        rowcol: (P, 2) row and column at full resolution, integer = pixel centre; floats read
            between.
        output_hw: height and width (H, W) of the map that is not built.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        (P, C) feature vectors in the map's dtype.

    Raises:
        ValueError: a pixel lies outside the full-resolution map.
    """
    _check_pixels(feature_map, image, rowcol, output_hw)
    _, channels, low_height, low_width = feature_map.shape
    row, row_next, down = _axis(rowcol[:, 0], low_height, output_hw[0], align_corners)
    column, column_next, right = _axis(rowcol[:, 1], low_width, output_hw[1], align_corners)
    cells = feature_map.permute(0, 2, 3, 1).reshape(-1, channels)  # (B * h * w, C)
    start = image.long() * (low_height * low_width)
    corners = [
        (start + rows * low_width + columns, row_share * column_share)
        for rows, row_share in ((row, 1 - down), (row_next, down))
        for columns, column_share in ((column, 1 - right), (column_next, right))
    ]
    index, share = (torch.stack(part, 1) for part in zip(*corners, strict=True))  # (P, 4)
    return functional.embedding_bag(
        index, cells, mode="sum", per_sample_weights=share.to(cells.dtype)
    )


def _axis(
    position: Tensor, low: int, high: int, align_corners: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Cell, next cell and share of the next cell for positions on the upsampled axis."""
    position = position.double()
    if align_corners:
        source = position * ((low - 1) / (high - 1) if high > 1 else 0.0)
    else:
        source = ((position + 0.5) * (low / high) - 0.5).clamp(min=0)
    cell = source.floor().long().clamp(0, low - 1)
    share = (source - cell).clamp(0, 1)
    return cell, (cell + 1).clamp(max=low - 1), share


def _check_pixels(
    feature_map: Tensor, image: Tensor, rowcol: Tensor, output_hw: tuple[int, ...]
) -> None:
    if feature_map.ndim != 4 or image.ndim != 1 or rowcol.shape != (len(image), 2):
        raise ValueError(
            "expected a map (B, C, H, W), image (P,) and rowcol (P, 2), got "
            f"{tuple(feature_map.shape)}, {tuple(image.shape)} and {tuple(rowcol.shape)}"
        )
    if len(image) == 0:
        return
    limits = (feature_map.shape[0], *output_hw)
    for name, values, limit in zip(
        ("image", "row", "column"), (image, rowcol[:, 0], rowcol[:, 1]), limits, strict=True
    ):
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > limit - 1:
            raise ValueError(
                f"{name} indices must lie in 0 .. {limit - 1}, got {low:g} .. {high:g}; "
                "were the pairs transformed together with the images?"
            )
