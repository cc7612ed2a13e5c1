# SPDX-License-Identifier: Apache-2.0
"""Deformable convolution, with and without modulation.

Each kernel position reads the map at its place plus an offset of its own, bilinearly, zero outside;
modulation weighs each read.

Source: Dai et al., "Deformable Convolutional Networks" (1703.06211), eq. 2; Zhu et al.,
"Deformable ConvNets v2" (1811.11168), eq. 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lidistill.ops.images.taps import Taps, pixel_rows, sum_taps, zero_padded_taps
from lidistill.ops.precision import full_precision


@dataclass(frozen=True)
class Geometry:
    """Of a convolution; pairs are (vertical, horizontal).

    Attributes:
        stride: in pixels.
        padding: in pixels.
        dilation: in pixels.
        groups: of channels, as in every convolution.
        deform_groups: of channels that share offsets.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    deform_groups: int = 1


def deform_conv(
    maps: Tensor,
    offset: Tensor,
    weight: Tensor,
    geometry: Geometry,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Deformable convolution; differentiable in every tensor.

    Args:
        maps: (B, C, H, W).
        offset: (B, deform_groups * K * 2, P, Q) pixels, y before x, for each of K kernel positions.
        weight: (D, C / groups, kernel height, kernel width).
        geometry: of the convolution.
        mask: (B, deform_groups * K, P, Q) modulation, or None.
        bias: (D,) or None.

    Returns:
        (B, D, P, Q) of the maps' dtype; half precision is summed in float32.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    _check(maps, offset, weight, geometry, mask)
    dtype = maps.dtype
    maps, offset, weight = (full_precision(part) for part in (maps, offset, weight))
    mask = None if mask is None else full_precision(mask)
    # one sample at a time: its columns are K times as large as the map
    samples = [
        _convolve(maps[b : b + 1], offset[b], weight, geometry, None if mask is None else mask[b])
        for b in range(len(maps))
    ]
    out = torch.stack(samples) if samples else _nothing(maps, offset, weight)
    if bias is not None and bias.numel():
        out = out + full_precision(bias)[:, None, None]
    return out.to(dtype)


def _nothing(maps: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Output of an empty batch: (0, D, P, Q), with gradient."""
    zero = (maps.sum() + offset.sum() + weight.sum()) * 0
    return zero + maps.new_zeros((0, len(weight), *offset.shape[2:]))


def _check(
    maps: Tensor, offset: Tensor, weight: Tensor, geometry: Geometry, mask: Tensor | None
) -> None:
    positions = weight.shape[2] * weight.shape[3]
    groups, deform_groups = geometry.groups, geometry.deform_groups
    if maps.shape[1] != weight.shape[1] * groups or maps.shape[1] % deform_groups:
        raise ValueError(
            f"expected maps of {weight.shape[1] * groups} channels, a multiple of the "
            f"{deform_groups} deform groups, got {maps.shape[1]}"
        )
    axes = zip(
        maps.shape[2:],
        weight.shape[2:],
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        strict=True,
    )
    size = [(n + 2 * pad - step * (k - 1) - 1) // stride + 1 for n, k, stride, pad, step in axes]
    wanted = (len(maps), deform_groups * positions * 2, *size)
    if offset.shape != wanted:
        raise ValueError(f"expected offsets {wanted}, got {tuple(offset.shape)}")
    wanted = (len(maps), deform_groups * positions, *size)
    if mask is not None and mask.shape != wanted:
        raise ValueError(f"expected a mask {wanted}, got {tuple(mask.shape)}")


def _convolve(
    one: Tensor, offset: Tensor, weight: Tensor, geometry: Geometry, mask: Tensor | None
) -> Tensor:
    """One sample (1, C, H, W): (D, P, Q)."""
    _, channels, height, width = one.shape
    parts, (rows, columns) = geometry.deform_groups, weight.shape[2:]
    positions, size = rows * columns, offset.shape[1:]
    y, x = _places(offset.view(parts, positions, 2, *size), rows, columns, geometry)
    taps = zero_padded_taps(y, x, height, width)  # (parts, K, P, Q, 4)
    tap_weight = taps.weight
    if mask is not None:
        tap_weight = tap_weight * mask.view(parts, positions, *size, 1)
    group = torch.arange(parts, device=one.device).view(-1, 1, 1, 1, 1)
    flat = Taps((taps.index + group * (height * width)).flatten(0, 3), tap_weight.flatten(0, 3))
    per_part = one.reshape(parts, channels // parts, height, width)
    read = sum_taps(pixel_rows(per_part), flat)  # (parts * K * P * Q, C / parts)
    read = read.view(parts, positions, size[0] * size[1], channels // parts)
    # (groups, C / groups * K, P * Q), channels before kernel positions, as the weight lies
    stacked = read.permute(0, 3, 1, 2).reshape(geometry.groups, -1, size[0] * size[1])
    kernel = weight.reshape(geometry.groups, weight.shape[0] // geometry.groups, -1)
    return torch.bmm(kernel, stacked).view(-1, *size)


def _places(offset: Tensor, rows: int, columns: int, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """y and x (parts, K, P, Q) that the kernel positions read, of offsets (parts, K, 2, P, Q)."""
    ramp = [torch.arange(n, device=offset.device).to(offset) for n in offset.shape[3:]]
    place_y = ramp[0] * geometry.stride[0] - geometry.padding[0]
    place_x = ramp[1] * geometry.stride[1] - geometry.padding[1]
    kernel_y = torch.arange(rows, device=offset.device).to(offset) * geometry.dilation[0]
    kernel_x = torch.arange(columns, device=offset.device).to(offset) * geometry.dilation[1]
    kernel_y, kernel_x = kernel_y.repeat_interleave(columns), kernel_x.repeat(rows)  # (K,)
    y = kernel_y[:, None, None] + place_y[:, None] + offset[:, :, 0]
    x = kernel_x[:, None, None] + place_x + offset[:, :, 1]
    return y, x
