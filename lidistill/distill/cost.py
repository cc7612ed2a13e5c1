# SPDX-License-Identifier: Apache-2.0
"""What a model costs: parameters, multiply-adds of its layers, time of a forward pass.

Convention: one multiply-add (MAC) per weight and place, as mmdet3d's and the papers' "FLOPs" tables
count; twice that are floating-point operations. Counted are linear maps, convolutions, transposed
convolutions, and sparse convolutions by their pairs of voxels; norms, activations, biases, pooling,
attention products and box decoding are not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_CONV = nn.modules.conv._ConvNd
_TRANSPOSED = nn.modules.conv._ConvTransposeNd


@contextmanager
def counted(model: nn.Module) -> Iterator[dict[str, int]]:
    """Multiply-adds of what runs inside, by module path."""
    costs: dict[str, int] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            costs[name] = costs.get(name, 0) + multiply_adds(module, inputs[0], output)

        return hook

    handles = [
        module.register_forward_hook(hook_for(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | _CONV) or _is_sparse(module)
    ]
    try:
        yield costs
    finally:
        for handle in handles:
            handle.remove()


def multiply_adds(layer: Any, incoming: Any, output: Any) -> int:
    """Multiply-adds of one call of one layer."""
    if isinstance(layer, nn.Linear):
        return int(output.numel()) * layer.in_features
    if isinstance(layer, _CONV):
        places = incoming if isinstance(layer, _TRANSPOSED) else output
        per_place = layer.weight.numel() // places.shape[1]
        return int(places.numel()) * per_place
    pairs = sparse_pairs(layer, incoming, output)
    return pairs * int(layer.in_channels) * int(layer.out_channels)


def sparse_pairs(layer: Any, incoming: Any, output: Any) -> int:
    """Pairs (input voxel, output voxel) of a sparse convolution of spconv.

    Output o reads the input at ``stride * o - padding + dilation * k`` for each kernel offset k. A
    transposed convolution and an inverse one (whose geometry is that of the strided layer with its
    ``indice_key``) have the pairs of the convolution that runs the other way.

    Raises:
        ValueError: an inverse convolution whose strided layer is not known.
    """
    inverse, geometry, kernel = getattr(layer, "inverse", False), layer, layer.kernel_size
    if inverse:
        geometry = incoming.find_indice_pair(layer.indice_key)
        if geometry is None:
            raise ValueError(
                f"an inverse convolution takes the pairs of an earlier strided layer with its "
                f"indice_key {layer.indice_key!r}; known: {sorted(incoming.indice_dict)}"
            )
        kernel = geometry.ksize
    if inverse or getattr(layer, "transposed", False):
        incoming, output = output, incoming
    dims = int(layer.ndim)
    volume = torch.tensor(list(kernel)).prod()
    if int(volume) == 1 and len(incoming.indices) == len(output.indices):
        return len(output.indices)
    size, dilation = _vector(kernel, dims), _vector(geometry.dilation, dims)
    if getattr(layer, "subm", False):
        stride, padding = torch.ones(dims).long(), (size // 2) * dilation
    else:
        stride, padding = _vector(geometry.stride, dims), _vector(geometry.padding, dims)
    shape = torch.tensor(list(incoming.spatial_shape))
    known = _keys(incoming.indices.cpu().long(), shape).sort().values
    out = output.indices.cpu().long()
    pairs = 0
    for offset in torch.cartesian_prod(*(torch.arange(int(n)) for n in size)).view(-1, dims):
        at = out.clone()
        at[:, 1:] = out[:, 1:] * stride - padding + dilation * offset
        at = at[((at[:, 1:] >= 0) & (at[:, 1:] < shape)).all(1)]
        keys = _keys(at, shape)
        found = torch.searchsorted(known, keys).clamp(max=max(len(known) - 1, 0))
        pairs += int((known[found] == keys).sum()) if len(known) else 0
    return pairs


def parameters(model: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def median_time(function: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds of some calls, after one that does not count."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _is_sparse(module: nn.Module) -> bool:
    return hasattr(module, "indice_key") and hasattr(module, "kernel_size")


def _vector(value: Any, dims: int) -> Tensor:
    values = list(value) if isinstance(value, list | tuple) else [value] * dims
    return torch.tensor([int(item) for item in values])


def _keys(indices: Tensor, shape: Tensor) -> Tensor:
    keys = indices[:, 0]
    for axis, size in enumerate(shape.tolist()):
        keys = keys * size + indices[:, axis + 1]
    return keys
