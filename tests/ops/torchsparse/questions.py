# SPDX-License-Identifier: Apache-2.0
"""What is asked of ``torchsparse``, ours and its own: functions from arrays to arrays by name.

In the interpreter of ``LIDISTILL_TORCHSPARSE_PYTHON`` that is torchsparse 1.4.0 built for the CPU.
There its convolution has no gradient, `spdevoxelize` a wrong one, and sums are in single precision,
so a network's gradients are taken by autograd along the tables that torchsparse made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from lidistill import compat
from lidistill.compat import torchsparse_names
from tests.ops.torchsparse import networks

compat.apply()

import torchsparse  # noqa: E402
from torchsparse import nn  # noqa: E402
from torchsparse.nn import functional  # noqa: E402
from torchsparse.nn.utils import get_kernel_offsets  # noqa: E402

Arrays = dict[str, np.ndarray]


def whose() -> Arrays:
    """Whether lidistill answers."""
    return {"ours": np.array(torchsparse_names.answers())}


def offsets(size: Any, stride: int) -> Arrays:
    """Kernel offsets in the order of the weights."""
    return {"offsets": get_kernel_offsets(size, stride).numpy()}


def conv(coords: np.ndarray, feats: np.ndarray, size: Any, stride: Any, step: int) -> Arrays:
    """A convolution with bias, and its transposed one; weights from a fixed seed."""
    torch.manual_seed(0)
    down = nn.Conv3d(feats.shape[1], 5, size, stride, bias=True)
    up = nn.Conv3d(5, 4, size, stride, transposed=True)
    x = torchsparse.SparseTensor(torch.from_numpy(feats), torch.from_numpy(coords), step)
    x.cmaps[x.stride] = x.coords  # where torchsparse's transposed convolution finds them
    with torch.no_grad():
        middle = down(x)
        back = up(middle)
    weights = {"down": down.kernel, "bias": down.bias, "up": up.kernel}
    return {
        "coords": middle.C.numpy(),
        "stride": np.array(middle.s),
        "middle": middle.F.numpy(),
        "back coords": back.C.numpy(),
        "back": back.F.numpy(),
        **{name: each.detach().numpy() for name, each in weights.items()},
    }


def look_up(coords: np.ndarray, stride: int) -> Arrays:
    """Rows of the eight voxels above each voxel."""
    voxels = torch.from_numpy(coords)
    numbers = functional.sphash(voxels, get_kernel_offsets(2, stride))
    return {"rows": functional.sphashquery(numbers, functional.sphash(voxels)).numpy()}


def voxelize(feats: np.ndarray, place: np.ndarray, voxels: int) -> Arrays:
    """Counts, means and the gradient of their squares."""
    leaf = torch.from_numpy(feats).requires_grad_()
    rows = torch.from_numpy(place)
    counts = functional.spcount(rows, voxels)
    out = functional.spvoxelize(leaf, rows, counts)
    out.square().sum().backward()
    return {"counts": counts.numpy(), "means": out.detach().numpy(), "gradient": leaf.grad.numpy()}


def devoxelize(points: np.ndarray, rows: np.ndarray, feats: np.ndarray, scale: int) -> Arrays:
    """Trilinear shares, what the points read, and its gradient."""
    leaf = torch.from_numpy(feats).requires_grad_()
    query = torch.from_numpy(rows)  # (8, N)
    weights = functional.calc_ti_weights(torch.from_numpy(points), query, scale=scale)
    out = functional.spdevoxelize(leaf, query.T.contiguous(), weights.T.contiguous())
    answer = {"weights": weights.numpy(), "read": out.detach().numpy()}
    if (rows >= 0).all():  # torchsparse writes in front of its array for others
        out.square().sum().backward()
        answer["gradient"] = leaf.grad.numpy()
    return answer


def start(kind: str) -> Arrays:
    """Start weights of a network from a fixed seed."""
    return {name: each.numpy() for name, each in _network(kind).state_dict().items()}


def features(kind: str, seed: int, training: bool) -> Arrays:
    """What a network makes of one sample in single precision, and its running statistics."""
    model = _network(kind).float().train(training)
    feats, coords = networks.voxels(seed, samples=1)
    with torch.no_grad():
        out = model(feats.float(), coords)
    return {"features": out.numpy(), **{name: each.numpy() for name, each in model.named_buffers()}}


def gradients(kind: str, seed: int, training: bool) -> Arrays:
    """Features and all gradients in double precision, along the tables that the other one made."""
    model = _network(kind).train(training)
    feats, coords = networks.voxels(seed, samples=1)
    leaf = feats.requires_grad_()
    with contextlib.nullcontext() if torchsparse_names.answers() else _by_autograd():
        out = model(leaf, coords)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    found = {name: each.grad.numpy() for name, each in model.named_parameters()}
    return {**found, "features": out.detach().numpy(), "input": leaf.grad.numpy()}


def _network(kind: str) -> torch.nn.Module:
    return networks.build(kind, **({"drop_ratio": 0.0} if kind == "SPVCNNBackbone" else {}))


@contextlib.contextmanager
def _by_autograd() -> Iterator[None]:
    """Let torch sum along torchsparse's own tables, in any precision."""

    class Convolve:
        @staticmethod
        def apply(
            x: Tensor, weight: Tensor, maps: Tensor, counts: Tensor, sizes: Any, turned: bool
        ) -> Tensor:
            out = x.new_zeros(sizes[0 if turned else 1], weight.shape[2])
            for kernel, pairs in zip(weight, maps.long().split(counts.tolist()), strict=True):
                ins, outs = pairs.flip(1).T if turned else pairs.T
                out = out.index_add(0, outs, x[ins] @ kernel)
            return out

    class Devoxelize:
        @staticmethod
        def apply(feats: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
            there = (rows >= 0).unsqueeze(2)
            return (feats[rows.clamp(min=0).long()] * weights.unsqueeze(2) * there).sum(1)

    class Voxelize:
        @staticmethod
        def apply(feats: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
            total = feats.new_zeros(len(counts), feats.shape[1]).index_add(0, rows, feats)
            return total / counts.unsqueeze(1)

    with (
        mock.patch("torchsparse.nn.functional.conv.ConvolutionFunction", Convolve),
        mock.patch("torchsparse.nn.functional.devoxelize.DevoxelizeFunction", Devoxelize),
        mock.patch("torchsparse.nn.functional.voxelize.VoxelizeFunction", Voxelize),
    ):
        yield
