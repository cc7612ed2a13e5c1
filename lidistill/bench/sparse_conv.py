# SPDX-License-Identifier: Apache-2.0
"""Sparse convolution on the CPU, forward and backward, beside spconv's own CPU path.

The reference is spconv 2.3.8 as released, on one thread (with more it is wrong) and with the CUDA
stream that its ``backward`` asks for answered, without which it does not train at all. Both sides
build their pair tables anew in each call, as in a training step; two rows are the tables alone.
Where no spconv package is installed there is no reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidistill import compat
from lidistill.bench.case import Case
from lidistill.compat import spconv_choice
from lidistill.ops.sparse.neighbours import strided_table, submanifold_table

LAYERS = ("submanifold 3x3x3", "strided 3x3x3", "strided + inverse 2x2x2", "1x1x1")


def cases(size: str) -> list[Case]:
    """Index tables, and each kind of layer at several widths.

    Args:
        size: ``"quick"`` or ``"full"`` (50,000 voxels).
    """
    compat.apply()
    count = 2000 if size == "quick" else 50_000
    coords, shape = surface(count)
    tables = [table_case(subm, coords, shape) for subm in (True, False)]
    return tables + [
        layer_case(kind, channels, coords, shape)
        for kind in LAYERS
        for channels in ((16,) if size == "quick" else (32, 64, 128))
    ]


def surface(count: int, seed: int = 0) -> tuple[Tensor, list[int]]:
    """Voxels of a hilly ground with walls, about seven neighbours each, as of a 64-beam scan.

    Args:
        count: voxels V.
        seed: of the hills and gaps.

    Returns:
        Coordinates (V, 4) int32 (batch, z, y, x), ordered as our voxelizers give them, and the
        grid's shape.
    """
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(count))) + 20
    y, x = np.mgrid[:side, :side]
    height = 12 + 6 * np.sin(x / 23) * np.cos(y / 31) + 2 * np.sin(x / 7 + y / 11)
    z = (height + 0.5 * rng.normal(size=x.shape)).astype(np.int64)
    ground = np.stack([z, y, x], axis=-1)[rng.random(x.shape) < 0.75]
    wall_z, wall_x = np.mgrid[1:24, :side].reshape(2, -1)
    walls = [np.stack([wall_z, np.full_like(wall_x, side * i // 5), wall_x], 1) for i in (1, 3, 4)]
    cells = np.unique(np.concatenate([ground, *walls]), axis=0)
    cells = cells[np.sort(rng.permutation(len(cells))[:count])]
    coords = np.concatenate([np.zeros_like(cells[:, :1]), cells], axis=1).astype(np.int32)
    return torch.from_numpy(coords), [32, side + side % 2, side + side % 2]


def table_case(subm: bool, coords: Tensor, shape: list[int]) -> Case:
    """Which input feeds which output of a 3x3x3 convolution.

    Args:
        subm: of a submanifold one; else of stride 2.
        coords: (V, 4) int32.
        shape: of the grid.
    """
    stride = 1 if subm else 2
    geometry = ([3] * 3, [stride] * 3, [1] * 3, [1] * 3)
    out_shape = [(size - 1) // stride + 1 for size in shape]

    def reference() -> Any:
        from spconv.core import ConvAlgo
        from spconv.pytorch import ops

        arguments = (coords, 1, shape, ConvAlgo.Native, *geometry, [0] * 3, subm, False)
        return ops.get_indice_pairs(*arguments)[0]

    def ours() -> Tensor:
        if subm:
            submanifold_table(coords, shape, *geometry[::3])
            return coords
        return strided_table(coords, shape, out_shape, *geometry)[0]

    name = f"index tables, {LAYERS[0 if subm else 1]}"
    return Case(name, f"{len(coords)} voxels", reference if has_reference() else None, ours)


def has_reference() -> bool:
    """Whether spconv's own package answers to its name here."""
    return spconv_choice.answer() == "spconv"


def layer_case(kind: str, channels: int, coords: Tensor, shape: list[int]) -> Case:
    """Forward and backward of one kind of layer.

    Args:
        kind: one of ``LAYERS``.
        channels: width of inputs and outputs.
        coords: (V, 4) int32.
        shape: of the grid.
    """
    import spconv.pytorch as spconv
    from spconv.core import ConvAlgo

    torch.manual_seed(0)
    key = {"indice_key": "a", "algo": ConvAlgo.Native}  # what spconv's CUDA builds run on the CPU
    layers: dict[str, Callable[[], list[Any]]] = {
        LAYERS[0]: lambda: [spconv.SubMConv3d(channels, channels, 3, **key)],
        LAYERS[1]: lambda: [spconv.SparseConv3d(channels, channels, 3, 2, 1, **key)],
        LAYERS[2]: lambda: [
            spconv.SparseConv3d(channels, channels, 2, 2, **key),
            spconv.SparseInverseConv3d(channels, channels, 2, **key),
        ],
        LAYERS[3]: lambda: [spconv.SubMConv3d(channels, channels, 1, **key)],
    }
    net = layers[kind]()
    features = torch.randn(len(coords), channels, requires_grad=True)
    seeds: dict[int, Tensor] = {}

    def work() -> Tensor:
        x = spconv.SparseConvTensor(features, coords, shape, 1)
        for layer in net:
            x = layer(x)
        seed = seeds.get(len(x.features))
        if seed is None:  # the first call only: it must not count
            seed = seeds[len(x.features)] = torch.randn_like(x.features)
        inputs = [features, *(p for layer in net for p in layer.parameters())]
        torch.autograd.grad(x.features, inputs, seed)
        return x.features

    def reference() -> Tensor:
        with library_path():
            return work()

    title = f"sparse conv, {kind}"
    size = f"{len(coords)} voxels x {channels} channels"
    return Case(title, size, reference if has_reference() else None, work)


@contextmanager
def library_path() -> Iterator[None]:
    """Take the bridge off spconv's convolutions, on one thread, with its stream answered."""
    from spconv.pytorch import ops
    from spconv.pytorch.conv import SparseConvolutionBase

    bridged, stream = SparseConvolutionBase._conv_forward, ops.get_current_stream
    threads = torch.get_num_threads()
    SparseConvolutionBase._conv_forward = bridged.__wrapped__
    ops.get_current_stream = lambda: 0
    torch.set_num_threads(1)
    try:
        yield
    finally:
        SparseConvolutionBase._conv_forward, ops.get_current_stream = bridged, stream
        torch.set_num_threads(threads)
