# SPDX-License-Identifier: Apache-2.0
"""``torchsparse.operators``: tensors side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lidistill.ops.torchsparse.tensor import SparseTensor, on_voxels_of


def cat(inputs: Sequence[SparseTensor]) -> SparseTensor:
    """Channels of several tensors on the same voxels, side by side.

    Raises:
        ValueError: tensors on other voxels, as far as stride and number tell.
    """
    kinds = [(len(each.feats), each.stride) for each in inputs]
    if len(set(kinds)) != 1:
        raise ValueError(f"expected tensors on the same voxels, got (voxels, stride) {kinds}")
    return on_voxels_of(inputs[0], torch.cat([each.feats for each in inputs], dim=1))
