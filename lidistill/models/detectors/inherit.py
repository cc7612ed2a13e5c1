# SPDX-License-Identifier: Apache-2.0
"""Teacher-guided initialisation: a narrow detector begins with channels of a wide one.

Source: SparseKD, Yang et al., NeurIPS 2022, https://arxiv.org/abs/2205.15156: the first channels,
or those of the largest batch-norm gain. What a layer reads must be the channels that its
predecessor kept, so both ways follow the channels through the detector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

WAYS = ("first", "gain")
_NORM = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Layer:
    """A layer with weights and where its input comes from.

    Attributes:
        name: module path of a linear map or convolution.
        sources: layers whose outputs stand side by side at its input; none for raw points.
        norm: module path of the batch norm behind it.
        tied: layer to whose output its own is added: both keep the same channels.
    """

    name: str
    sources: tuple[str, ...]
    norm: str | None = None
    tied: str | None = None


@dataclass
class InheritReport:
    """What was taken.

    Attributes:
        kept: layer -> (channels kept, channels of the teacher).
        left: layer -> why it stays as it was.
    """

    kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{len(self.kept)} layers begin as the teacher's, {len(self.left)} as they were"]
        lines += [f"  {name}: {own} of {all_} channels" for name, (own, all_) in self.kept.items()]
        return "\n".join(lines + [f"  {name} left: {why}" for name, why in self.left.items()])


@torch.no_grad()
def inherit(student: nn.Module, teacher: nn.Module, by: str = "first") -> InheritReport:
    """Copy weights and batch-norm statistics of a wider detector into a narrower one.

    Args:
        student: a PointPillars, SECOND or CenterPoint of mmdet3d, as made by
            :func:`lidistill.models.detectors.compress.compress`; changed.
        teacher: the detector it was made from.
        by: ``"first"`` channels of each layer, or those of largest batch-norm ``"gain"``.

    Returns:
        What was taken and what stayed as it was.

    Raises:
        ValueError: an unknown way; a detector of another kind; no layer fits.
    """
    if by not in WAYS:
        raise ValueError(f"by must be one of {WAYS}, got {by!r}")
    own: dict[str, Any] = dict(student.named_modules())
    theirs: dict[str, Any] = dict(teacher.named_modules())
    rows: dict[str, Tensor] = {}
    report = InheritReport()
    for layer in channel_flow(student):
        try:
            _inherit_layer(layer, own, theirs, rows, by)
        except _UnfitError as why:
            report.left[layer.name] = str(why)
        else:
            report.kept[layer.name] = (len(rows[layer.name]), widths(theirs[layer.name])[1])
    if not report.kept:
        raise ValueError(
            f"no layer of {type(teacher).__name__} fits {type(student).__name__}: {report.left}"
        )
    return report


class _UnfitError(Exception):
    """This layer cannot be taken."""


def _inherit_layer(
    layer: Layer,
    own: dict[str, Any],
    theirs: dict[str, Any],
    rows: dict[str, Tensor],
    by: str,
) -> None:
    """Copy one layer; notes in ``rows`` which of the teacher's output channels it kept."""
    if layer.name not in theirs:
        raise _UnfitError("the teacher has no such layer")
    target, source = own[layer.name], theirs[layer.name]
    columns = _columns(layer, target, theirs, rows)
    kept = _kept(layer, widths(target)[1], theirs, rows, by)
    weight = take(source, kept, columns)
    if weight.shape != target.weight.shape:
        raise _UnfitError(f"{tuple(weight.shape)} for {tuple(target.weight.shape)}")
    target.weight.copy_(weight)
    if isinstance(target.bias, Tensor) and isinstance(source.bias, Tensor):
        target.bias.copy_(source.bias[kept])
    if layer.norm is not None:
        state = theirs[layer.norm].state_dict()
        for name, tensor in own[layer.norm].state_dict().items():
            tensor.copy_(state[name][kept] if state[name].dim() else state[name])
    rows[layer.name] = kept


def _columns(layer: Layer, target: Any, theirs: dict[str, Any], rows: dict[str, Tensor]) -> Tensor:
    """Input channels of the teacher's layer that the student's has.

    A map with several channels per channel of its source (heights of a sparse map, flattened) keeps
    them together.
    """
    wanted, there = widths(target)[0], widths(theirs[layer.name])[0]
    if not layer.sources:
        if wanted != there:
            raise _UnfitError(f"it reads {wanted} numbers a point, the teacher {there}")
        return torch.arange(there)
    unknown = [name for name in layer.sources if name not in rows]
    if unknown:
        raise _UnfitError(f"it reads {', '.join(unknown)}")
    parts, before = [], 0
    for name in layer.sources:
        parts.append(rows[name] + before)
        before += widths(theirs[name])[1]
    found = torch.cat(parts)
    spread = there // before
    if spread * before != there or spread * len(found) != wanted:
        raise _UnfitError(f"it reads {wanted} channels of {there}, made of {len(found)}, {before}")
    return (found[:, None] * spread + torch.arange(spread)).flatten()


def _kept(
    layer: Layer, count: int, theirs: dict[str, Any], rows: dict[str, Tensor], by: str
) -> Tensor:
    """Output channels of the teacher's layer that the student's has, ascending."""
    there = widths(theirs[layer.name])[1]
    if count > there:
        raise _UnfitError(f"it has {count} channels, the teacher {there}")
    if layer.tied is not None:
        if layer.tied not in rows or len(rows[layer.tied]) != count:
            raise _UnfitError(f"its output is added to that of {layer.tied}")
        return rows[layer.tied]
    if count == there or by == "first" or layer.norm is None:
        return torch.arange(count)
    gain = theirs[layer.norm].weight.abs().cpu()
    return gain.topk(count).indices.sort().values


def widths(layer: Any) -> tuple[int, int]:
    """Channels in and out."""
    if isinstance(layer, nn.Linear):
        return int(layer.in_features), int(layer.out_features)
    return int(layer.in_channels), int(layer.out_channels)


def take(layer: Any, rows: Tensor, columns: Tensor) -> Tensor:
    """Weights of some output (``rows``) and input channels (``columns``) of a layer."""
    weight = layer.weight
    rows, columns = rows.to(weight.device), columns.to(weight.device)
    out_axis, in_axis = 0, 1
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        out_axis, in_axis = 1, 0
    elif hasattr(layer, "indice_key"):  # spconv: (out, kernel..., in)
        out_axis, in_axis = 0, weight.dim() - 1
        if all(size == 1 for size in weight.shape[1:-1]):
            raise _UnfitError("spconv reads 1x1x1 weights in another order than their shape says")
    if getattr(layer, "groups", 1) != 1:
        raise _UnfitError("its channels are grouped")
    return weight.detach().index_select(out_axis, rows).index_select(in_axis, columns)


def channel_flow(detector: nn.Module) -> list[Layer]:
    """The layers of a detector in the order in which channels pass through them.

    Raises:
        ValueError: a part whose channels are not known here.
    """
    prefix = "pts_" if hasattr(detector, "pts_backbone") else ""
    layers: list[Layer] = []
    last = _encoder(detector, prefix, layers)
    ends = []
    for index, block in enumerate(_part(detector, f"{prefix}backbone", "blocks")):
        last = _chain(block, f"{prefix}backbone.blocks.{index}", last, layers)
        ends.append(last)
    levels: list[str] = []
    for index, block in enumerate(_part(detector, f"{prefix}neck", "deblocks")):
        path = f"{prefix}neck.deblocks.{index}"
        levels += _chain(block, path, ends[index], layers)
    path, head = f"{prefix}bbox_head", getattr(detector, f"{prefix}bbox_head")
    shared = tuple(levels)
    if hasattr(head, "shared_conv"):
        shared = _chain(head.shared_conv, f"{path}.shared_conv", shared, layers)
        for index, task in enumerate(head.task_heads):
            for name, branch in task.named_children():
                _chain(branch, f"{path}.task_heads.{index}.{name}", shared, layers)
        return layers
    for name, branch in head.named_children():
        if isinstance(branch, nn.Conv2d):
            layers.append(Layer(f"{path}.{name}", shared))
    return layers


def _part(detector: nn.Module, path: str, blocks: str) -> nn.ModuleList:
    found = getattr(getattr(detector, path, None), blocks, None)
    if not isinstance(found, nn.ModuleList):
        raise ValueError(
            f"expected a {path} with {blocks} (PointPillars, SECOND, CenterPoint), got "
            f"{type(getattr(detector, path, None)).__name__}; its channels are not known here"
        )
    return found


def _encoder(detector: nn.Module, prefix: str, layers: list[Layer]) -> tuple[str, ...]:
    """Layers of the voxel and middle encoders; returns the last."""
    last: tuple[str, ...] = ()
    voxel = getattr(detector, f"{prefix}voxel_encoder")
    if any(True for _ in voxel.parameters()):
        for index, pfn in enumerate(_part(detector, f"{prefix}voxel_encoder", "pfn_layers")):
            path = f"{prefix}voxel_encoder.pfn_layers.{index}"
            layers.append(Layer(f"{path}.linear", last, f"{path}.norm"))
            # all but the last put the maximum over the pillar beside each point
            last = (f"{path}.linear",) * (1 if pfn.last_vfe else 2)
    path, middle = f"{prefix}middle_encoder", getattr(detector, f"{prefix}middle_encoder")
    if not any(True for _ in middle.parameters()):
        return last
    if not hasattr(middle, "encoder_layers"):
        raise ValueError(f"the channels of a {type(middle).__name__} are not known here")
    last = _chain(middle.conv_input, f"{path}.conv_input", last, layers)
    for stage, blocks in middle.encoder_layers.named_children():
        for index, block in blocks.named_children():
            last = _chain(block, f"{path}.encoder_layers.{stage}.{index}", last, layers)
    return _chain(middle.conv_out, f"{path}.conv_out", last, layers)


def _chain(
    block: nn.Module, path: str, last: Sequence[str], layers: list[Layer]
) -> tuple[str, ...]:
    """Layers one behind the other, each norm with the layer before it; returns the last.

    In a residual block the second convolution's output is added to the block's input.
    """
    first, found = tuple(last), tuple(last)
    residual = hasattr(block, "conv2") and getattr(block, "downsample", None) is None
    for name, module in _leaves(block, path):
        if isinstance(module, _NORM):
            layers[-1] = Layer(layers[-1].name, layers[-1].sources, name, layers[-1].tied)
        else:
            tied = first[0] if residual and name.endswith(".conv2") else None
            layers.append(Layer(name, found, tied=tied))
            found = (name,)
    return found


def _leaves(block: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, module in block.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            yield f"{path}.{name}" if name else path, module
