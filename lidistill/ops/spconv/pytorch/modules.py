# SPDX-License-Identifier: Apache-2.0
"""``spconv.pytorch.modules``: the base class of sparse layers, and containers."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from lidistill.ops.spconv.pytorch.core import SparseConvTensor


class SparseModule(nn.Module):
    """Base of layers that take a sparse tensor; `SparseSequential` hands them one.

    Args:
        name: for spconv's benchmark records; kept, not used.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        self.name = name
        self._sparse_unique_name = ""


def layers_of(module: nn.Module) -> list[nn.Module]:
    """Its layers in order, one that stands there twice included (``children()`` leaves it out)."""
    return [each for each in module._modules.values() if each is not None]


class SparseSequential(SparseModule):
    """Sparse layers, and dense ones that see the features (V, C) alone; these skip empty tensors.

    Args:
        args: layers, or one `OrderedDict` of them.
        kwargs: more of them by name.

    Raises:
        ValueError: a name that is taken.
    """

    def __init__(self, *args: Any, **kwargs: nn.Module) -> None:
        super().__init__()
        named = {str(number): module for number, module in enumerate(args)}
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            named = args[0]
        for name, module in (*named.items(), *kwargs.items()):
            self.add(module, name)

    def __getitem__(self, index: int) -> nn.Module:
        return layers_of(self)[index]

    def __len__(self) -> int:
        return len(self._modules)

    def add(self, module: nn.Module, name: str | None = None) -> None:
        """Append a layer, by default under its number."""
        name = str(len(self)) if name is None else name
        if name in self._modules:
            raise ValueError(f"expected a new name, got {name!r}; known: {list(self._modules)}")
        self.add_module(name, module)

    def forward(self, input: Any) -> Any:
        """A sparse tensor, or features alone, through all layers."""
        for module in layers_of(self):
            if is_spconv_module(module) or not isinstance(input, SparseConvTensor):
                input = module(input)
            elif len(input.indices):
                input = input.replace_feature(module(input.features))
        return input


class _OnFeatures:
    """Lets a dense layer take a sparse tensor, too."""

    def forward(self, input: Any) -> Any:
        """Features (V, C) or a sparse tensor, of which the same comes back."""
        apply: Any = super().forward  # type: ignore[misc]
        if isinstance(input, SparseConvTensor):
            return input.replace_feature(apply(input.features))
        return apply(input)


class SparseBatchNorm(_OnFeatures, nn.BatchNorm1d):
    """`nn.BatchNorm1d` on features or a sparse tensor."""


class SparseSyncBatchNorm(_OnFeatures, nn.SyncBatchNorm):
    """`nn.SyncBatchNorm` on features or a sparse tensor."""


class SparseReLU(_OnFeatures, nn.ReLU):
    """`nn.ReLU` on features or a sparse tensor."""


class SparseIdentity(_OnFeatures, nn.Identity):
    """`nn.Identity` on features or a sparse tensor."""


class Identity(nn.Module):
    """Gives back what it gets."""

    def forward(self, input: Any) -> Any:
        """``input``."""
        return input


class ToDense(SparseModule):
    """A sparse tensor as a dense map."""

    def forward(self, x: SparseConvTensor) -> Tensor:
        """(B, C, ...)."""
        return x.dense()


def is_spconv_module(module: nn.Module) -> bool:
    """Whether a layer takes a sparse tensor."""
    return isinstance(module, SparseModule | _OnFeatures)


def is_sparse_conv(module: nn.Module) -> bool:
    """Whether a layer is a sparse convolution."""
    return isinstance(module, SparseModule) and hasattr(module, "conv1x1")


def assign_name_for_sparse_modules(module: nn.Module) -> None:
    """Tell each sparse layer its name in ``module``."""
    for name, each in module.named_modules():
        if isinstance(each, SparseModule):
            each._sparse_unique_name = name
