# SPDX-License-Identifier: Apache-2.0
"""Recognise a network from the names of its tensors, and its sizes from their shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lidistill.export.files import Content
from lidistill.export.layouts import LIDISTILL, MINKOWSKI, SPARSE_ENCODER, TORCHSPARSE, Layout
from lidistill.export.report import Parts, parts_of, some
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.backbones.voxelnet import VoxelNet

_UNET_KERNEL, _UNET_WEIGHT = "conv0p1s1.kernel", "conv0p1s1.weight"
_VOXELNET, _ENCODER = "conv1.0.0.weight", "encoder_layers.encoder_layer1.0.0.weight"
ANCHORS = (_UNET_KERNEL, _UNET_WEIGHT, _VOXELNET, _ENCODER)
# Relatives of our students whose layers differ: named, so that the error can say so.
RELATIVES = {
    "conv_input.0.0.weight": "mmdet3d's MinkUNetBackbone, which has a second stem convolution",
    "conv_input.0.net.0.kernel": "mmdet3d's MinkUNetBackbone, which has a second stem convolution",
    "encoder_layers.encoder_layer1.0.conv1.weight": "a SparseEncoder with residual blocks; ours "
    "has plain ones (block_type='conv_module')",
    "conv1.0.conv1.weight": "OpenPCDet's VoxelResBackBone8x; ours is VoxelBackBone8x",
}


@dataclass(frozen=True)
class Found:
    """A network inside a checkpoint.

    Attributes:
        place: table of the file.
        prefix: what stands before every name, with its dot.
        table: tensors under that prefix, without it.
        layout: names and kernel orders.
        network: our class for it.
        sizes: arguments with which our class has the same layers.
    """

    place: str
    prefix: str
    table: dict[str, Tensor]
    layout: Layout
    network: type[nn.Module]
    sizes: dict[str, Any]

    def build(self, **changes: Any) -> nn.Module:
        """The network without memory for its tensors."""
        with torch.device("meta"):
            return self.network(**{**self.sizes, **changes})

    def describe(self, **changes: Any) -> str:
        """The line of a config that builds the network."""
        sizes = {**self.sizes, **changes}
        arguments = ", ".join(f"{name}={value!r}" for name, value in sizes.items())
        return f"dict(type={self.network.__name__}, {arguments})"

    def parts(self) -> Parts:
        """Its tensors, with their names in the file as source."""
        before = f"{self.place}." if self.place else ""
        return parts_of(self.table, (before + self.prefix).removesuffix("."))

    def rest(self, content: Content) -> Parts:
        """Everything else in the file, by full name: a dot stands behind the table."""
        own = {self.prefix + name for name in self.table}
        return {
            str(part.source): part
            for place, table in content.tables.items()
            for name, part in parts_of(table, place).items()
            if place != self.place or name not in own
        }


def find_student(content: Content, kernels: str = "auto") -> Found:
    """The student in a checkpoint file.

    Args:
        content: of the file.
        kernels: whose order ``kernel`` tensors have: ``minkowski``, ``torchsparse``, or ``auto``,
            which tells MinkowskiEngine by its wrapped batch norms.

    Raises:
        ValueError: no known network; the message lists what the file holds.
    """
    for place, table in content.tables.items():
        for anchor in ANCHORS:
            for prefix in _prefixes(table, anchor):
                inside = {
                    key.removeprefix(prefix): tensor
                    for key, tensor in table.items()
                    if key.startswith(prefix)
                }
                return _found(content, place, prefix, inside, anchor, kernels)
    relatives = [
        words
        for anchor, words in RELATIVES.items()
        if any(_prefixes(table, anchor) for table in content.tables.values())
    ]
    near = f" It looks like {relatives[0]}." if relatives else ""
    raise ValueError(
        f"0 tensors of {content.path} matched: it holds neither a SparseUNet (SLidR's MinkUNet) "
        f"nor a VoxelNet (VoxelBackBone8x, SparseEncoder).{near} It holds {content.summary()}. "
        "(`lidistill export --to student` writes a lidistill student of any class as it is)"
    )


def _prefixes(table: Mapping[str, Tensor], anchor: str) -> list[str]:
    """What stands before ``anchor``, the shortest first: SLidR's ``model.``, ``module.`` etc."""
    found = {key.removesuffix(anchor) for key in table if f".{key}".endswith(f".{anchor}")}
    return sorted(found, key=len)


def _found(
    content: Content, place: str, prefix: str, table: dict[str, Tensor], anchor: str, kernels: str
) -> Found:
    if anchor in (_UNET_KERNEL, _UNET_WEIGHT):
        layout = LIDISTILL if anchor == _UNET_WEIGHT else _kernel_layout(content, table, kernels)
        return Found(place, prefix, table, layout, SparseUNet, unet_sizes(table, layout.kernel))
    layout = LIDISTILL if anchor == _VOXELNET else SPARSE_ENCODER
    return Found(place, prefix, table, layout, VoxelNet, _voxelnet_sizes(table))


def _kernel_layout(content: Content, table: Mapping[str, Tensor], kernels: str) -> Layout:
    wrapped = "bn0.bn.weight" in table
    if kernels == "auto" and not wrapped:
        raise ValueError(
            f"{content.path} has kernels without MinkowskiEngine's wrapped norms (bn0.bn.weight), "
            "and nothing else tells how they are ordered; if torchsparse wrote them, say "
            "--kernels torchsparse"
        )
    if (kernels == "torchsparse") == wrapped:
        has = "wrapped" if wrapped else "plain"
        raise ValueError(
            f"expected a file of {kernels}, but the norms of {content.path} are {has} "
            f"(it holds {some([name for name in table if 'bn0' in name])})"
        )
    return MINKOWSKI if wrapped else TORCHSPARSE


def unet_sizes(table: Mapping[str, Tensor], leaf: str = "weight") -> dict[str, Any]:
    """Arguments of the SparseUNet whose tensors these are.

    Args:
        table: tensors in the names of SLidR's MinkUNet.
        leaf: what kernels are called; ``kernel`` stands for (..., in, out), ``weight`` for
            (out, ..., in).

    Raises:
        ValueError: stages or blocks are missing.
    """
    found = [re.fullmatch(rf"block(\d+)\.(\d+)\.conv1\.{leaf}", name) for name in table]
    pairs = [(int(match[1]), int(match[2])) for match in found if match]
    stages = max((stage for stage, _ in pairs), default=0)
    blocks = tuple(sum(stage == number for stage, _ in pairs) for number in range(1, stages + 1))
    if stages < 2 or stages % 2 or 0 in blocks:
        raise ValueError(
            "expected residual stages block1 to block8 (any even number), encoder then decoder; "
            f"blocks found per stage: {blocks}"
        )
    width = -1 if leaf == "kernel" else 0
    stem = table[f"conv0p1s1.{leaf}"]
    planes = (table[f"block{n}.0.conv1.{leaf}"].shape[width] for n in range(1, stages + 1))
    final = table.get(f"final.{leaf}")
    return {
        "in_channels": stem.shape[-2 if leaf == "kernel" else -1],
        "out_channels": 0 if final is None else final.shape[width],
        "stem": stem.shape[width],
        "planes": tuple(planes),
        "blocks": blocks,
    }


def _voxelnet_sizes(table: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the VoxelNet; spconv 1 keeps channels last but one, kernels of spconv 2 last."""
    first, final = table.get("conv_input.0.weight"), table.get("final.weight")
    old = first is not None and first.shape[0] == 3  # (3, 3, 3, in, 16) and not (16, 3, 3, 3, in)
    sizes = {"in_channels": 4 if first is None else first.shape[-2 if old else -1]}
    if final is not None:
        sizes["out_channels"] = final.shape[-1 if old else 0]
    return sizes
