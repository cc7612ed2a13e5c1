# SPDX-License-Identifier: Apache-2.0
"""Hand a student on: plain, a detector of mmdet3d, a part for SLidR, OpenPCDet or mmdet3d."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lidistill.export.detectors import export_detector
from lidistill.export.files import Content, check_output, check_weights, read_content, write_parts
from lidistill.export.layouts import (
    LIDISTILL,
    MINKOWSKI,
    MINKUNET,
    OPENPCDET,
    SPARSE_ENCODER,
    Layout,
)
from lidistill.export.report import MMDET3D_NEEDS, Part, Parts, Report, parts_of, some
from lidistill.export.students import Found, find_student
from lidistill.export.transfer import (
    from_layout,
    identity_stem,
    leave,
    to_layout,
    widen_input,
)
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.backbones.voxelnet import VoxelNet


@dataclass(frozen=True)
class Goal:
    """How a project wants one of our students.

    Attributes:
        layout: names and kernel orders.
        prefix: what stands before every name there.
        place: key of the file that holds the tensors.
        use: how the file is loaded there.
    """

    layout: Layout
    prefix: str
    place: str
    use: str


GOALS: dict[str, dict[type[nn.Module], Goal]] = {
    "slidr": {
        SparseUNet: Goal(MINKOWSKI, "", "model_points", "SLidR: downstream.py --pretraining_path"),
        VoxelNet: Goal(LIDISTILL, "", "model_points", "SLidR: as the checkpoint of pretrain.py"),
    },
    "openpcdet": {
        VoxelNet: Goal(
            OPENPCDET,
            "backbone_3d.",
            "model_state",
            "OpenPCDet: train.py --pretrained_model, BACKBONE_3D.NAME VoxelBackBone8x",
        ),
    },
    "mmdet3d": {
        VoxelNet: Goal(
            SPARSE_ENCODER,
            "middle_encoder.",
            "state_dict",
            "mmdet3d: load_from, with SparseEncoder at its defaults (block_type='conv_module'); "
            "CenterPoint calls it pts_middle_encoder, see --prefix",
        ),
        SparseUNet: Goal(
            MINKUNET,
            "backbone.",
            "state_dict",
            "mmdet3d: load_from, with MinkUNetBackbone, sparseconv_backend='spconv'",
        ),
    },
}
FORMATS = ("student", "detector", *GOALS)
_FIRST = {SparseUNet: "conv0p1s1.weight", VoxelNet: "conv_input.0.weight"}


def export_student(
    path: str | Path,
    out: str | Path | None,
    to: str,
    prefix: str | None = None,
    in_channels: int | None = None,
    config: str | Path | None = None,
) -> Report:
    """Convert the student of a checkpoint for another project.

    Args:
        path: a pretraining checkpoint of lidistill, or anything that ``import_weights`` reads.
        out: file to write; ``.safetensors`` only for ``student``. None to write nothing.
        to: one of ``FORMATS``.
        prefix: what stands before every name, in place of the format's own.
        in_channels: input channels of the other network, at least the student's: the added ones
            get zero weights.
        config: of the training; ``detector`` needs it, the others do not take it.

    Returns:
        What became of every tensor.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no known student, or one that this format has no network for; a prefix without
            its dot.
    """
    if to not in FORMATS:
        raise ValueError(f"expected one of the formats {', '.join(FORMATS)}, got {to!r}")
    if (to == "detector") != (config is not None):
        raise ValueError(
            f"expected the config of the training with detector, and with it alone: "
            f"--to detector --config CONFIG; got --to {to} and config {config}"
        )
    if config is not None:
        if prefix is not None or in_channels is not None:
            raise ValueError(
                "a detector keeps its names and channels; drop --prefix, --in-channels"
            )
        return export_detector(path, out, config)
    if prefix and not prefix.endswith("."):
        raise ValueError(f"expected a prefix with its dot, {prefix + '.'!r}, got {prefix!r}")
    target = check_output(path, out)
    if to != "student" and target is not None and target.suffix == ".safetensors":
        raise ValueError(f"{to} reads torch files: name the output .pth instead of {out}")
    content = read_content(path)
    if to == "student":
        place, report = "state_dict", _plain(content, prefix or "", in_channels)
    else:
        goal, report = _converted(content, to, prefix, in_channels)
        place = goal.place
    if target is not None:
        options = {"to": to, "prefix": prefix, "in_channels": in_channels}
        write_parts(target, report.parts, place, content.path, "export", options)
    return report


def _plain(content: Content, prefix: str, in_channels: int | None) -> Report:
    """The student as it is: of whatever class in our checkpoints, of a known one elsewhere."""
    everything = {
        str(part.source): part
        for place, table in content.tables.items()
        for part in parts_of(table, place).values()
    }
    own = {
        source.removeprefix("state_dict.").removeprefix("student."): part
        for source, part in everything.items()
        if source.removeprefix("state_dict.").startswith("student.")
    }
    if own and in_channels is not None:
        raise ValueError("a plain student keeps its input channels; drop --in-channels")
    if own:
        check_weights(own, content.path)
        taken = {part.source for part in own.values()}
        left = leave({s: p for s, p in everything.items() if s not in taken}, "not the student's")
    else:
        found = find_student(content)
        own, left = _ours(content, found, in_channels)
    parts = {prefix + name: part for name, part in own.items()}
    return Report(f"{content.path} -> its student", parts, left)


def _converted(
    content: Content, to: str, prefix: str | None, in_channels: int | None
) -> tuple[Goal, Report]:
    """The student in another project's names."""
    found = find_student(content)
    goals = GOALS[to]
    if found.network not in goals:
        raise ValueError(
            f"{to} has no network with the layers of {found.network.__name__}; it takes "
            f"{some([network.__name__ for network in goals])}. Formats for "
            f"{found.network.__name__}: "
            f"{some(['student', *(f for f, nets in GOALS.items() if found.network in nets)])}"
        )
    goal = goals[found.network]
    ours, left = _ours(content, found, in_channels)
    remarks = [f"use in {goal.use}"]
    if to == "mmdet3d":
        remarks += [_mmdet3d_config(found, ours), MMDET3D_NEEDS]
    final = ours.get("final.weight")
    sizes = {"in_channels": ours[_FIRST[found.network]].tensor.shape[-1]}
    if final is not None:
        sizes["out_channels"] = final.tensor.shape[0]
    parts, more = to_layout(ours, goal.layout, found.build(**sizes))
    if goal.layout is MINKUNET:
        stem = {f"conv_input.1.{name}": part for name, part in _second_stem(ours).items()}
        parts |= stem
        remarks.append(
            "MinkUNetBackbone has a second stem convolution: it was made to hand its input on, "
            "exactly in evaluation. Coordinates there are (batch, x, y, z)"
        )
    before = goal.prefix if prefix is None else prefix
    named = {before + name: part for name, part in parts.items()}
    title = f"{content.path} ({found.layout.name}) -> {goal.layout.name}"
    return goal, Report(title, named, left + more, remarks)


def _mmdet3d_config(found: Found, ours: Parts) -> str:
    """The line of an mmdet3d config that builds the encoder of these tensors."""
    channels = ours[_FIRST[found.network]].tensor.shape[-1]
    if found.network is VoxelNet:
        return (
            f'middle_encoder=dict(type="SparseEncoder", in_channels={channels}, '
            'block_type="conv_module", order=("conv", "norm", "act"), sparse_shape=[Z + 1, Y, X]) '
            "with the cells Z, Y, X of your voxels"
        )
    planes, blocks = list(found.sizes["planes"]), list(found.sizes["blocks"])
    levels = len(planes) // 2
    return (
        f'backbone=dict(type="MinkUNetBackbone", in_channels={channels}, num_stages={levels}, '
        f"base_channels={found.sizes['stem']}, encoder_channels={planes[:levels]}, "
        f"encoder_blocks={blocks[:levels]}, decoder_channels={planes[levels:]}, "
        f'decoder_blocks={blocks[levels:]}, sparseconv_backend="spconv")'
    )


def _ours(content: Content, found: Found, in_channels: int | None) -> tuple[Parts, list[Part]]:
    """Parts in the student's names, its linear point head as ``final``; and what is left."""
    may_lack = ("final.weight",)
    ours, left = from_layout(found.parts(), found.layout, found.build(), may_lack, content.path)
    rest = found.rest(content)
    if found.network is SparseUNet and "final.weight" not in ours:
        width = found.sizes["planes"][-1]
        heads = {source: part for source, part in rest.items() if "connectors.point." in source}
        shapes = {s.rpartition(".")[2]: tuple(p.tensor.shape) for s, p in heads.items()}
        linear = len(heads) == 2 and len(shapes.get("weight", ())) == 2
        if linear and shapes["weight"][1] == width:
            check_weights(heads, content.path)
            for source in heads:
                ours[f"final.{source.rpartition('.')[2]}"] = rest.pop(source)
    first = _FIRST[found.network]
    if in_channels is not None:
        ours[first] = widen_input(ours[first], in_channels)
    return ours, left + leave(rest, "not the student's")


def _second_stem(ours: Parts) -> Parts:
    scale, shift = ours["bn0.weight"].tensor, ours["bn0.bias"].tensor
    note = "second stem convolution: hands on what it gets"
    made = identity_stem(scale, shift, eps=1e-5)
    return {name: Part(tensor, note=note) for name, tensor in made.items()}
