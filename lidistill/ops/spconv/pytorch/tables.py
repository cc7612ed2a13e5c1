# SPDX-License-Identifier: Apache-2.0
"""``spconv.pytorch.tables``: sums and joins of sparse tensors on the same voxels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import nn

from lidistill.ops.spconv.pytorch.core import SparseConvTensor
from lidistill.ops.spconv.pytorch.modules import SparseModule, layers_of


class JoinTable(SparseModule):
    """Channels of several sparse tensors side by side."""

    def forward(self, input: Sequence[SparseConvTensor]) -> SparseConvTensor:
        """Tensors of V voxels -> one with the sum of their channels."""
        _check_same(input)
        return input[0].replace_feature(torch.cat([each.features for each in input], 1))


class AddTable(SparseModule):
    """Sum of several sparse tensors."""

    def forward(self, input: Sequence[SparseConvTensor]) -> SparseConvTensor:
        """Tensors (V, C) -> their sum (V, C)."""
        _check_same(input)
        return input[0].replace_feature(reduce(torch.add, [each.features for each in input]))


class ConcatTable(SparseModule):
    """Several layers on one input, for `JoinTable` or `AddTable`."""

    def forward(self, input: Any) -> list[Any]:
        """What each layer makes of ``input``."""
        return [module(input) for module in layers_of(self)]

    def add(self, module: nn.Module) -> ConcatTable:
        """Append a layer."""
        self.add_module(str(len(self._modules)), module)
        return self


def _check_same(tensors: Sequence[SparseConvTensor]) -> None:
    """Refuse tensors of other voxels, in their number at least."""
    kinds = [(each.batch_size, each.spatial_shape, len(each.indices)) for each in tensors]
    if any(kind != kinds[0] for kind in kinds):
        raise ValueError(
            f"expected tensors on the same voxels, got (batch, grid, voxels) {kinds}: put them on "
            "one set of voxels first (submanifold and inverse convolutions keep it)"
        )
