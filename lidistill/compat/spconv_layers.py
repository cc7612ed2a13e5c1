# SPDX-License-Identifier: Apache-2.0
"""CPU forward passes for the layers of spconv and spconv-triton; quantized ones stay untouched.

spconv 2.3.8 on the CPU asks for a CUDA stream in ``backward``, races with more than one thread
(silently wrong), reads non-contiguous coordinates wrongly, and its CUDA builds refuse CPU tensors;
spconv-triton has no kernels for the CPU. The functions here replace the layers' forwards for CPU
tensors by `lidistill.ops.sparse.layers`, whatever algorithm the layer was built with.

On CUDA the library's kernels run, always by its differentiable way where that is asked for: left to
itself, a layer in ``eval`` mode gives no gradient, without an error, and looks away from autocast
(a bfloat16 input then fails).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor

DONE = "lidistill_bridge"
"""Attribute of a function that has taken the place of a library's."""


def patch_core(module: Any) -> None:
    """Make `SparseConvTensor` copy non-contiguous coordinates (``nonzero().int()`` gives such).

    Its ``dense()`` indexes with a list, which torch has announced to read as one index tensor.
    """
    tensor_class = module.SparseConvTensor
    original = tensor_class.__init__
    if hasattr(original, DONE):
        return

    @wraps(original)
    def init(self: Any, features: Tensor, indices: Tensor, *args: Any, **kwargs: Any) -> None:
        original(self, features, indices.contiguous(), *args, **kwargs)

    setattr(init, DONE, True)
    tensor_class.__init__ = init
    module.scatter_nd = _scatter


def _scatter(indices: Tensor, updates: Tensor, shape: Sequence[int]) -> Tensor:
    """Zeros of ``shape`` with ``updates`` (V, C) at the cells ``indices`` (V, 1 + D)."""
    return updates.new_zeros(shape).index_put(tuple(indices.unbind(1)), updates)


def patch_conv(module: Any) -> None:
    """Send CPU tensors of all convolution layers through ours, mend ``eval`` on CUDA."""
    base = module.SparseConvolutionBase
    _for_cpu(base, "_conv_forward", "conv_forward", tensor_at=1, otherwise=differentiable)


def patch_pool(module: Any) -> None:
    """Send CPU tensors of all pooling layers through ours."""
    _for_cpu(module.SparseMaxPool, "forward", "max_pool_forward")
    _for_cpu(module.SparseAvgPool, "forward", "avg_pool_forward")
    _for_cpu(module.SparseGlobalMaxOrAvgPool, "forward", "global_pool_forward")


def _for_cpu(
    layer: type,
    method: str,
    ours: str,
    tensor_at: int = 0,
    otherwise: Callable[[Callable], Callable] = lambda original: original,
) -> None:
    """Replace ``layer.method`` by ours for sparse tensors on the CPU, unless quantized.

    ``ours`` is a function of `lidistill.ops.sparse.layers`, imported when it is needed.
    """
    original = getattr(layer, method)
    if hasattr(original, DONE):
        return
    theirs = otherwise(original)

    @wraps(original)
    def choose(self: Any, *args: Any, **kwargs: Any) -> Any:
        x = args[tensor_at] if len(args) > tensor_at else kwargs["input"]
        if x.features.device.type != "cpu" or x.is_quantized:
            return theirs(self, *args, **kwargs)
        from lidistill.ops.sparse import layers

        return getattr(layers, ours)(self, *args, **kwargs)

    setattr(choose, DONE, True)
    setattr(layer, method, choose)


def differentiable(original: Callable) -> Callable:
    """`SparseConvolutionBase._conv_forward` that goes the way of training wherever it can.

    That way has gradients, and under autocast it computes in float16 whatever it is given. It is
    not taken without gradients outside autocast, nor by fused activations and quantized tensors,
    which it refuses.
    """

    def forward(self: Any, training: bool, input: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = torch.is_grad_enabled() or torch.is_autocast_enabled(input.features.device.type)
        able = self.act_type.value == 0 and not input.is_quantized
        return original(self, training or (wanted and able), input, *args, **kwargs)

    return forward
