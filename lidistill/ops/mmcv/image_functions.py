# SPDX-License-Identifier: Apache-2.0
"""The image half of the stand-in for ``mmcv._ext``: RoIAlign and deformable convolutions.

mmcv's signatures over :mod:`lidistill.ops.images`; the tensors to fill are mmcv's, those that only
its kernels need as buffers are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lidistill.ops.images.deform_conv import Geometry, deform_conv
from lidistill.ops.images.roi_align import (
    roi_align,
    roi_align_grad,
    roi_align_max,
    roi_align_max_grad,
    rotated_regions,
    upright_regions,
)

FUNCTIONS: dict[str, Callable[..., Any]] = {}  # by mmcv's name


def _answers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Answer mmcv's calls of this name with ``function``."""
    FUNCTIONS[function.__name__] = function
    return function


# --- regions --------------------------------------------------------------------------------------


@_answers
def roi_align_forward(  # noqa: PLR0913 (mmcv's signature)
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``output`` (N, C, P, Q); for the maximum (``pool_mode`` 0), where it was read."""
    regions = upright_regions(rois, spatial_scale, aligned)
    bins = (aligned_height, aligned_width)
    if pool_mode == 0:
        values, at_y, at_x = roi_align_max(input, regions, bins, sampling_ratio)
        argmax_y.copy_(at_y)
        argmax_x.copy_(at_x)
    else:
        values = roi_align(input, regions, bins, sampling_ratio)
    output.copy_(values)


@_answers
def roi_align_backward(  # noqa: PLR0913 (mmcv's signature)
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``grad_input`` (B, C, H, W)."""
    regions = upright_regions(rois, spatial_scale, aligned)
    shape = tuple(grad_input.shape)
    if pool_mode == 0:
        grad = roi_align_max_grad(grad_output, regions, argmax_y, argmax_x, shape)
    else:
        grad = roi_align_grad(grad_output, regions, shape, sampling_ratio)
    grad_input.copy_(grad)


@_answers
def roi_align_rotated_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Fill ``output`` (N, C, P, Q)."""
    regions = rotated_regions(rois, spatial_scale, aligned, clockwise)
    output.copy_(roi_align(input, regions, (pooled_height, pooled_width), sampling_ratio))


@_answers
def roi_align_rotated_backward(
    grad_output: Tensor,
    rois: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Fill ``grad_input`` (B, C, H, W)."""
    regions = rotated_regions(rois, spatial_scale, aligned, clockwise)
    shape = tuple(grad_input.shape)
    grad_input.copy_(roi_align_grad(grad_output, regions, shape, sampling_ratio))


# --- deformable convolutions ----------------------------------------------------------------------


def _geometry(numbers: dict[str, int]) -> Geometry:
    """From ``deform_conv``'s words: horizontal before vertical."""
    return Geometry(
        stride=(numbers["dH"], numbers["dW"]),
        padding=(numbers["padH"], numbers["padW"]),
        dilation=(numbers["dilationH"], numbers["dilationW"]),
        groups=numbers["group"],
        deform_groups=numbers["deformable_group"],
    )


def _modulated_geometry(numbers: dict[str, int]) -> Geometry:
    return Geometry(
        stride=(numbers["stride_h"], numbers["stride_w"]),
        padding=(numbers["pad_h"], numbers["pad_w"]),
        dilation=(numbers["dilation_h"], numbers["dilation_w"]),
        groups=numbers["group"],
        deform_groups=numbers["deformable_group"],
    )


def _gradients(
    inputs: Sequence[Tensor | None], grad_output: Tensor, geometry: Geometry, wanted: Sequence[int]
) -> list[Tensor]:
    """Gradients of the ``wanted`` among maps, offset, weight, mask, bias."""
    leaves = [None if part is None else part.detach() for part in inputs]
    asked = [leaf for place in wanted if (leaf := leaves[place]) is not None]
    for leaf in asked:
        leaf.requires_grad_()
    with torch.enable_grad():
        maps, offset, weight, mask, bias = leaves
        if maps is None or offset is None or weight is None:
            raise ValueError("expected maps, offset and weight, got None among them")
        out = deform_conv(maps, offset, weight, geometry, mask, bias)
        return list(torch.autograd.grad(out, asked, grad_output, materialize_grads=True))


@_answers
def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **numbers: int,
) -> None:
    """Fill ``output`` (B, D, P, Q)."""
    output.copy_(deform_conv(input, offset, weight, _geometry(numbers)))


@_answers
def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **numbers: int,
) -> None:
    """Fill ``gradInput`` (B, C, H, W) and ``gradOffset``."""
    inputs = (input, offset, weight, None, None)
    maps, offsets = _gradients(inputs, gradOutput, _geometry(numbers), (0, 1))
    gradInput.copy_(maps)
    gradOffset.copy_(offsets)


@_answers
def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **numbers: int,
) -> None:
    """Add ``scale`` times the weight's gradient to ``gradWeight``."""
    inputs = (input, offset, gradWeight, None, None)  # linear in the weight: its values are unused
    (kernel,) = _gradients(inputs, gradOutput, _geometry(numbers), (2,))
    gradWeight.add_(kernel, alpha=scale)


@_answers
def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **numbers: int,
) -> None:
    """Fill ``output`` (B, D, P, Q)."""
    used = bias if with_bias else None
    geometry = _modulated_geometry(numbers)
    output.copy_(deform_conv(input, offset, weight, geometry, mask, used))


@_answers
def modulated_deform_conv_backward(  # noqa: PLR0913 (mmcv's signature)
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **numbers: int,
) -> None:
    """Fill the five gradients."""
    inputs = (input, offset, weight, mask, bias if with_bias else None)
    targets = [grad_input, grad_offset, grad_weight, grad_mask, grad_bias]
    wanted = range(5 if with_bias else 4)
    grads = _gradients(inputs, grad_output, _modulated_geometry(numbers), wanted)
    for target, grad in zip(targets, grads, strict=False):
        target.copy_(grad)
