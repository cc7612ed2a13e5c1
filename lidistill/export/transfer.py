# SPDX-License-Identifier: Apache-2.0
"""Carry a student's tensors out of a foreign layout and into one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lidistill.export.files import check_weights
from lidistill.export.layouts import Layout
from lidistill.export.report import Part, Parts, some


def from_layout(
    parts: Parts,
    layout: Layout,
    student: nn.Module,
    may_lack: tuple[str, ...] = (),
    path: str | Path | None = None,
) -> tuple[Parts, list[Part]]:
    """Tensors of ``student`` out of parts in a foreign layout.

    Args:
        parts: foreign tensors.
        layout: of them.
        student: the network whose tensors are wanted; only names and shapes are read.
        may_lack: names of the student that may be missing.
        path: the file they come from, whose numbers are checked; None for shapes alone.

    Returns:
        Parts in the student's names, and those that no part of it wants.

    Raises:
        ValueError: a tensor is missing, does not fit or holds no usable numbers; the message counts
            what matched.
    """
    links = layout.links(student)
    if path is not None:
        check_weights({k.theirs: parts[k.theirs] for k in links if k.theirs in parts}, path)
    result: Parts = {}
    unfit = []
    for link in links:
        part = parts.get(link.theirs)
        if part is None:
            if link.ours.endswith("num_batches_tracked"):  # a counter that old files do not have
                counter = torch.zeros((), dtype=torch.int64)
                result[link.ours] = Part(counter, note="the file has no such counter")
            elif link.ours not in may_lack:
                unfit.append(f"{link.theirs} (missing)")
            continue
        tensor = link.order.ours(part.tensor, link.shape)
        if tensor.shape != link.shape:
            unfit.append(f"{link.theirs} {list(part.tensor.shape)} for {list(link.shape)}")
            continue
        result[link.ours] = part.become(tensor, link.order.words)
    if unfit:
        raise ValueError(
            f"{len(links) - len(unfit)} of {len(links)} tensors of {type(student).__name__} "
            f"matched as {layout.name}; missing or of another shape: {some(unfit)}. "
            f"The file holds: {some(list(parts))}"
        )
    known = {link.theirs for link in links}
    why = f"no part of {type(student).__name__}"
    rest = {name: part for name, part in parts.items() if name not in known}
    return result, leave(rest, why)


def to_layout(parts: Parts, layout: Layout, student: nn.Module) -> tuple[Parts, list[Part]]:
    """Tensors of ``student`` in a foreign layout.

    Args:
        parts: in the student's names; what the student has and they lack is passed over.
        layout: wanted.
        student: the network they belong to; only its modules are read.

    Returns:
        Parts in the foreign names, and those that do not exist there.
    """
    result: Parts = {}
    links = layout.links(student)
    for link in links:
        part = parts.get(link.ours)
        if part is not None:
            result[link.theirs] = part.become(link.order.theirs(part.tensor), link.order.words)
    known = {link.ours for link in links}
    rest = {name: part for name, part in parts.items() if name not in known}
    return result, leave(rest, f"{layout.name} has no such part")


def leave(parts: Parts, why: str) -> list[Part]:
    """Parts that are not used, with the reason."""
    return [
        Part(part.original, part.source, part.original, why)
        for part in parts.values()
        if part.original is not None
    ]


def widen_input(part: Part, channels: int) -> Part:
    """Let the first convolution read more channels, without changing what it computes.

    Args:
        part: its weight (Cout, kz, ky, kx, Cin).
        channels: Cin wanted; the added ones stand last and get zero weights.

    Raises:
        ValueError: fewer channels than the student has.
    """
    extra = channels - part.tensor.shape[-1]
    if extra < 0:
        raise ValueError(
            f"expected at least the student's own {part.tensor.shape[-1]} input channels, got "
            f"{channels}"
        )
    if extra == 0:
        return part
    wide = torch.nn.functional.pad(part.tensor, (0, extra))
    return part.become(wide, f"{extra} input channels with zero weights added at the end")


def identity_stem(scale: Tensor, shift: Tensor, eps: float) -> dict[str, Tensor]:
    """A convolution, batch norm and ReLU that hand on the output of a norm and ReLU unchanged.

    mmdet3d's MinkUNet has two stem convolutions, SparseUNet one. In evaluation the added one is
    the identity. In training its norm uses the batch's statistics; its scale and shift are those of
    a rectified Gaussian max(0, x), x ~ N(shift, scale^2), so that it starts near the identity too.

    Args:
        scale: (C,) weight of the first norm.
        shift: (C,) bias of the first norm.
        eps: of the added norm.

    Returns:
        ``0.weight`` (C, 3, 3, 3, C) of the convolution, ``1.*`` of the norm.
    """
    deviation, mean = scale.double().abs().clamp_min(1e-6), shift.double()
    above = torch.special.ndtr(mean / deviation)
    density = torch.exp(-0.5 * (mean / deviation).square()) / (2 * torch.pi) ** 0.5
    rectified = mean * above + deviation * density
    power = (mean.square() + deviation.square()) * above + mean * deviation * density
    variance = (power - rectified.square()).clamp_min(0)
    kernel = torch.zeros(len(scale), 3, 3, 3, len(scale), dtype=scale.dtype)
    kernel[:, 1, 1, 1, :] = torch.eye(len(scale), dtype=scale.dtype)
    return {
        "0.weight": kernel,
        "1.weight": (variance + eps).sqrt().to(scale.dtype),
        "1.bias": rectified.to(scale.dtype),
        "1.running_mean": rectified.to(scale.dtype),
        "1.running_var": variance.to(scale.dtype),
        "1.num_batches_tracked": torch.zeros((), dtype=torch.int64),
    }
