# SPDX-License-Identifier: Apache-2.0
"""Read published checkpoints into lidistill's students."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from lidistill.export.files import Content, check_output, check_weights, read_content, write_parts
from lidistill.export.report import Part, Parts, Report
from lidistill.export.students import Found, find_student
from lidistill.export.transfer import from_layout, leave
from lidistill.models.backbones.sparse_unet import SparseUNet

HEADS = ("connector", "student")
_LEAVES = ("weight", "bias")
_IMAGE_HEAD, _SLIDR_IMAGE_HEAD = "connectors.image.project", "model_images.decoder.0"
_POINT_HEAD = "connectors.point"
_SLIDR_SETTINGS = ("voxel_size", "cylindrical_coordinates", "normalize_features", "dataset")


def import_weights(
    path: str | Path,
    out: str | Path | None,
    head: str = "connector",
    kernels: str = "auto",
) -> Report:
    """Convert a checkpoint into one with ``student.*`` and ``connectors.*``, as training writes it.

    Known are SLidR's checkpoints (``model_points``: MinkUNet in MinkowskiEngine, or VoxelNet), the
    same MinkUNet in torchsparse, OpenPCDet's VoxelBackBone8x, mmdet3d's SparseEncoder, and our own
    networks, with any prefix before their names.

    Args:
        path: the file.
        out: ``.pth`` or ``.safetensors`` to write; None to write nothing.
        head: where the output layer of a MinkUNet goes: ``connector``, for a student without one
            (``out_channels=0``) and a Linear as point head; ``student``, for one with it.
        kernels: see :func:`lidistill.export.students.find_student`.

    Returns:
        What became of every tensor.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file does not hold a known network; the message lists what it holds.
    """
    if head not in HEADS:
        raise ValueError(f"expected head to be one of {HEADS}, got {head!r}")
    target = check_output(path, out)
    content = read_content(path)
    found = find_student(content, kernels)
    student, left = _student(found, content.path)
    parts = {f"student.{name}": part for name, part in student.items()}
    heads, rest = _heads(found.rest(content))
    check_weights(heads, content.path)
    if head == "connector" and found.network is SparseUNet:
        for leaf in _LEAVES:
            if f"student.final.{leaf}" in parts:
                heads[f"{_POINT_HEAD}.{leaf}"] = parts.pop(f"student.final.{leaf}")
    left += leave(rest, "not part of a student or its heads")
    title = f"{path} ({found.layout.name}) -> lidistill's {found.network.__name__}"
    report = Report(title, {**parts, **heads}, left, _remarks(content, found, heads))
    if target is not None:
        options = {"head": head, "kernels": kernels, "layout": found.layout.name}
        write_parts(target, report.parts, "state_dict", content.path, "import_weights", options)
    return report


def _student(found: Found, path: Path) -> tuple[Parts, list[Part]]:
    """The student's parts, and what of its table is no part of it."""
    may_lack = () if found.network is SparseUNet else ("final.weight",)
    student, left = from_layout(found.parts(), found.layout, found.build(), may_lack, path)
    for name in may_lack:
        if name not in student:
            student[name] = _fresh(found, name)
    return student, left


def _fresh(found: Found, name: str) -> Part:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tensor = found.network(**found.sizes).state_dict()[name]
    return Part(tensor, note="not in the file: random, seed 0")


def _heads(rest: Parts) -> tuple[Parts, Parts]:
    """Heads among the tensors beside the student: SLidR's image head, or our own connectors."""
    heads, others = {}, {}
    for source, part in rest.items():
        before, _, name = source.rpartition(f"{_SLIDR_IMAGE_HEAD}.")
        connector = source.partition("connectors.")
        if name in _LEAVES and before in ("", "state_dict.", "model."):
            heads[f"{_IMAGE_HEAD}.{name}"] = part
        elif connector[1] and connector[0] in ("", "state_dict."):
            heads[f"connectors.{connector[2]}"] = part
        else:
            others[source] = part
    return heads, others


def _remarks(content: Content, found: Found, heads: Parts) -> list[str]:
    point = heads.get(f"{_POINT_HEAD}.weight")
    within = found.network is not SparseUNet or point is None
    described = found.describe() if within else found.describe(out_channels=0)
    remarks = [f"student={described}"]
    if point is not None and point.tensor.ndim == 2:
        rows, columns = point.tensor.shape
        remarks.append(f"point_head=dict(type=Linear, in_features={columns}, out_features={rows})")
    image = heads.get(f"{_IMAGE_HEAD}.weight")
    if image is not None:
        rows, columns = image.tensor.shape[:2]
        remarks.append(
            f"image_head=dict(type=ProjectionMap, in_channels={columns}, out_channels={rows}, ...)"
        )
    config = content.notes.get("config")
    if isinstance(config, Mapping):
        settings = {name: config[name] for name in _SLIDR_SETTINGS if name in config}
        remarks.append(f"trained with {settings}: the voxels of your config must agree")
    return remarks
