# SPDX-License-Identifier: Apache-2.0
"""The sparse half of the stand-in for ``mmcv._ext``: mmcv's own spconv 1.

mmdet3d takes spconv 2 for most networks, and these for Cylinder3D always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lidistill.ops.sparse import index_pairs as sparse


def get_indice_pairs_forward(  # noqa: PLR0913 (mmcv's signature)
    indices: Tensor,
    batch_size: int,
    out_shape: Sequence[int],
    spatial_shape: Sequence[int],
    ksize: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    out_padding: Sequence[int],
    subm: int,
    transpose: int,
) -> list[Tensor]:
    """Output coordinates, pairs (K, 2, V) and their numbers, in two, three or four dimensions."""
    shapes = (spatial_shape, out_shape, ksize, stride, padding, dilation)
    return list(sparse.index_pairs(indices, *shapes, bool(subm), bool(transpose)))


def get_indice_pairs_backward(indices: Tensor, grid: Tensor, *shapes: Any) -> list[Tensor]:
    """Answer as above: ``grid`` is memory that mmcv's kernels want to be lent, not ours."""
    return get_indice_pairs_forward(indices, *shapes)


def indice_conv_forward(
    features: Tensor,
    filters: Tensor,
    indice_pairs: Tensor,
    indice_pair_num: Tensor,
    num_activate_out: int,
    inverse: int,
    subm: int,
) -> Tensor:
    """Output features (V_out, Cout)."""
    arguments = (filters, indice_pairs, indice_pair_num, num_activate_out, bool(inverse))
    return sparse.pair_conv(features, *arguments)


def fused_indice_conv_forward(
    features: Tensor,
    filters: Tensor,
    bias: Tensor,
    indice_pairs: Tensor,
    indice_pair_num: Tensor,
    num_activate_out: int,
    inverse: int,
    subm: int,
) -> Tensor:
    """Output features (V_out, Cout) and ``bias``."""
    arguments = (filters, indice_pairs, indice_pair_num, num_activate_out, bool(inverse))
    return sparse.pair_conv(features, *arguments) + bias


def indice_conv_backward(
    features: Tensor,
    filters: Tensor,
    out_bp: Tensor,
    indice_pairs: Tensor,
    indice_pair_num: Tensor,
    inverse: int,
    subm: int,
) -> list[Tensor]:
    """Gradients of features and filters."""
    arguments = (features, filters, indice_pairs, indice_pair_num, bool(inverse))
    return list(sparse.pair_conv_grad(out_bp, *arguments))


def indice_maxpool_forward(
    features: Tensor, indice_pairs: Tensor, indice_pair_num: Tensor, num_activate_out: int
) -> Tensor:
    """Maxima (V_out, C)."""
    return sparse.pair_max(features, indice_pairs, indice_pair_num, num_activate_out)


def indice_maxpool_backward(
    features: Tensor,
    out_features: Tensor,
    out_bp: Tensor,
    indice_pairs: Tensor,
    indice_pair_num: Tensor,
) -> Tensor:
    """Gradient of the features (V, C)."""
    arguments = (features, out_features, indice_pairs, indice_pair_num)
    return sparse.pair_max_grad(out_bp, *arguments)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "get_indice_pairs_2d_forward": get_indice_pairs_forward,
    "get_indice_pairs_3d_forward": get_indice_pairs_forward,
    "get_indice_pairs_4d_forward": get_indice_pairs_forward,
    "get_indice_pairs_2d_backward": get_indice_pairs_backward,
    "get_indice_pairs_3d_backward": get_indice_pairs_backward,
    "indice_conv_forward": indice_conv_forward,
    "indice_conv_backward": indice_conv_backward,
    "fused_indice_conv_forward": fused_indice_conv_forward,
    "indice_maxpool_forward": indice_maxpool_forward,
    "indice_maxpool_backward": indice_maxpool_backward,
}
