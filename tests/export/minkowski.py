# SPDX-License-Identifier: Apache-2.0
"""MinkowskiEngine's and torchsparse's convolutions, and SLidR's MinkUNet, as loops over voxels.

A sparse tensor is a dictionary (x, y, z) -> feature vector; ``stride`` is its tensor stride, in
which coordinates grow by. Nothing here uses the package.
"""

from __future__ import annotations

import itertools

import torch

CHANNELS, STEM, PLANES, BLOCKS, OUT = 2, 3, (3, 4, 5, 4), (1, 2, 1, 1), 6
LEVELS = len(PLANES) // 2


def offset_of(index: int, size: int, engine: str = "minkowski") -> tuple[int, int, int]:
    """Offset of kernel row ``index``, in cells: first axis fastest; odd sizes are centred."""
    digits = [index % size, index // size % size, index // size**2]
    if engine == "torchsparse" and size % 2 == 0:  # its even sizes run with the last axis fastest
        digits = digits[::-1]
    start = size // 2 if size % 2 else 0
    return tuple(digit - start for digit in digits)


def convolve(x: dict, kernel: torch.Tensor, stride: int, out: list, engine: str) -> dict:
    """out[u] = sum over offsets of x[u + offset * stride] @ kernel[offset]."""
    size = round(kernel.shape[0] ** (1 / 3))
    result = {}
    for u in out:
        total = torch.zeros(kernel.shape[2], dtype=kernel.dtype)
        for index in range(kernel.shape[0]):
            step = offset_of(index, size, engine)
            source = tuple(c + s * stride for c, s in zip(u, step, strict=True))
            if source in x:
                total = total + x[source] @ kernel[index]
        result[u] = total
    return result


def halve(x: dict, kernel: torch.Tensor, stride: int, engine: str) -> dict:
    """Stride-2 convolution: outputs at coordinates floored to twice the tensor stride."""
    step = 2 * stride
    coarse = list(dict.fromkeys(tuple(c // step * step for c in u) for u in x))
    return convolve(x, kernel, stride, coarse, engine)


def double(x: dict, kernel: torch.Tensor, stride: int, fine: list, engine: str) -> dict:
    """Transposed convolution from tensor stride ``2 * stride``: the pairs of ``halve``, turned."""
    result = {v: torch.zeros(kernel.shape[2], dtype=kernel.dtype) for v in fine}
    for u, feature in x.items():
        for index in range(kernel.shape[0]):
            step = offset_of(index, 2, engine)
            v = tuple(c + s * stride for c, s in zip(u, step, strict=True))
            if v in result:
                result[v] = result[v] + feature @ kernel[index]
    return result


def random_state(engine: str = "minkowski", seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights of a small MinkUNet in SLidR's names, double precision."""
    random = torch.Generator().manual_seed(seed)
    dot = ".bn" if engine == "minkowski" else ""
    state = {}

    def kernel(name, *shape):
        fan = shape[-2] * (shape[0] if len(shape) == 3 else 1)
        state[f"{name}.kernel"] = torch.randn(*shape, generator=random).double() * (2 / fan) ** 0.5

    def norm(name, width):
        for leaf, low in {
            "weight": 0.5,
            "bias": -0.5,
            "running_mean": -0.5,
            "running_var": 0.5,
        }.items():
            values = torch.rand(width, generator=random).double() + low
            state[f"{name}{dot}.{leaf}"] = values
        state[f"{name}{dot}.num_batches_tracked"] = torch.tensor(7)

    def stage(number, width):
        for block in range(BLOCKS[number - 1]):
            plane, name = PLANES[number - 1], f"block{number}.{block}"
            kernel(f"{name}.conv1", 27, width, plane)
            norm(f"{name}.norm1", plane)
            kernel(f"{name}.conv2", 27, plane, plane)
            norm(f"{name}.norm2", plane)
            if width != plane:
                kernel(f"{name}.downsample.0", width, plane)
                norm(f"{name}.downsample.1", plane)
            width = plane
        return width

    kernel("conv0p1s1", 27, CHANNELS, STEM)
    norm("bn0", STEM)
    widths = [STEM]
    for level in range(LEVELS):
        kernel(f"conv{level + 1}p{2**level}s2", 8, widths[-1], widths[-1])
        norm(f"bn{level + 1}", widths[-1])
        widths.append(stage(level + 1, widths[-1]))
    width = widths[-1]
    for number in range(LEVELS, 2 * LEVELS):
        level = 2 * LEVELS - number - 1
        kernel(f"convtr{number}p{2 ** (level + 1)}s2", 8, width, PLANES[number])
        norm(f"bntr{number}", PLANES[number])
        width = stage(number + 1, PLANES[number] + widths[level])
    kernel("final", width, OUT)
    bias = torch.randn(OUT, generator=random).double()
    state["final.bias"] = bias[None] if engine == "minkowski" else bias
    return state


def run_unet(state: dict[str, torch.Tensor], x: dict, engine: str = "minkowski") -> dict:
    """SLidR's MinkUNet in evaluation: (x, y, z) -> output vector, before any normalisation."""
    dot = ".bn." if engine == "minkowski" else "."

    def norm(x, name, relu=True):
        at = {leaf: state[f"{name}{dot}{leaf}"] for leaf in
              ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
        scale = at["weight"] / (at["running_var"] + 1e-5).sqrt()
        out = {u: (f - at["running_mean"]) * scale + at["bias"] for u, f in x.items()}
        return {u: f.clamp_min(0) for u, f in out.items()} if relu else out

    def stage(x, number, stride):
        for block in range(BLOCKS[number - 1]):
            name = f"block{number}.{block}"
            short = x
            if f"{name}.downsample.0.kernel" in state:
                short = {u: f @ state[f"{name}.downsample.0.kernel"] for u, f in x.items()}
                short = norm(short, f"{name}.downsample.1", relu=False)
            y = convolve(x, state[f"{name}.conv1.kernel"], stride, list(x), engine)
            y = norm(y, f"{name}.norm1")
            y = convolve(y, state[f"{name}.conv2.kernel"], stride, list(x), engine)
            y = norm(y, f"{name}.norm2", relu=False)
            x = {u: (y[u] + short[u]).clamp_min(0) for u in x}
        return x

    x = norm(convolve(x, state["conv0p1s1.kernel"], 1, list(x), engine), "bn0")
    skips = [x]
    for level in range(LEVELS):
        x = halve(x, state[f"conv{level + 1}p{2**level}s2.kernel"], 2**level, engine)
        x = stage(norm(x, f"bn{level + 1}"), level + 1, 2 ** (level + 1))
        skips.append(x)
    for number in range(LEVELS, 2 * LEVELS):
        level = 2 * LEVELS - number - 1
        kernel = state[f"convtr{number}p{2 ** (level + 1)}s2.kernel"]
        x = norm(double(x, kernel, 2**level, list(skips[level]), engine), f"bntr{number}")
        x = {u: torch.cat([f, skips[level][u]]) for u, f in x.items()}
        x = stage(x, number + 1, 2**level)
    return {u: f @ state["final.kernel"] + state["final.bias"].flatten() for u, f in x.items()}


def random_cloud(channels: int = CHANNELS, seed: int = 1, size=(7, 6, 8), share=0.12) -> dict:
    """Random voxels (x, y, z) -> features, double precision."""
    random = torch.Generator().manual_seed(seed)
    return {
        cell: torch.randn(channels, generator=random).double()
        for cell in itertools.product(*map(range, size))
        if float(torch.rand(1, generator=random)) < share
    }


def as_voxels(x: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (V, C) and our coordinates (V, 4) int32 (batch, z, y, x)."""
    coords = torch.tensor([(0, *reversed(u)) for u in x], dtype=torch.int32)
    return torch.stack(list(x.values())), coords
