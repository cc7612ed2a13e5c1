# SPDX-License-Identifier: Apache-2.0
"""Read published BEV detectors into ours: by name where names differ, where shapes agree.

What a head's numbers mean is checked before its tensors are taken: mmdet3d before 1.0 counted yaw
and sizes in another way, and a head of that time scores far too low without any error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lidistill import compat
from lidistill.distill.weights import box_convention
from lidistill.export.files import Content, check_output, check_weights, read_content, write_parts
from lidistill.export.kernels import spconv2_from_spconv1, swap_xyz_zyx
from lidistill.export.report import Part, Parts, Report, parts_of, some
from lidistill.models.detectors.bev import BEVDetector
from lidistill.registry import MODELS

HEAD = "pts_bbox_head."
BOXES = ("auto", "mmdet3d-1", "mmdet3d-0")
RULES = (
    "mmdet3d-1: yaw from x towards y, sizes l, w, h; mmdet3d-0 (before 1.0): yaw_0 = -yaw - pi/2, "
    "sizes w, l, h"
)
_DEPTH = "view_transform.depth_net."


@dataclass(frozen=True)
class Project:
    """Names of another project.

    Attributes:
        name: for messages.
        prefixes: theirs -> ours, the first that fits.
        rows_x: its maps have x along rows: 2-D kernels behind the view transform are transposed,
            3-D kernels run (x, y, z), and the head is not taken.
    """

    name: str
    prefixes: Mapping[str, str]
    rows_x: bool = False


PROJECTS = (
    Project("mmdet3d or lidistill", {"": ""}),
    Project("a Distiller of lidistill", {"student.": ""}),
    Project(
        "BEVDet",
        {
            "img_view_transformer.depth_net.": f"{_DEPTH}",
            "img_backbone.": "img_backbone.",
            "img_neck.": "img_neck.",
            "img_bev_encoder_backbone.": "pts_backbone.",
            "img_bev_encoder_neck.": "pts_neck.",
            HEAD: HEAD,
        },
    ),
    Project(
        "BEVDepth",
        {
            "backbone.img_backbone.": "img_backbone.",
            "backbone.img_neck.": "img_neck.",
            "backbone.depth_net.": _DEPTH,
            "head.trunk.": "pts_backbone.",
            "head.neck.": "pts_neck.",
            "head.": HEAD,
        },
    ),
    Project(
        "BEVFusion",
        {
            "encoders.camera.backbone.": "img_backbone.",
            "encoders.camera.neck.": "img_neck.",
            "encoders.camera.vtransform.depthnet.": _DEPTH,
            "encoders.lidar.backbone.": "pts_middle_encoder.",
            "fuser.": "fuser.conv.",
            "decoder.backbone.": "pts_backbone.",
            "decoder.neck.": "pts_neck.",
            "heads.object.": HEAD,
        },
        rows_x=True,
    ),
)
_BEHIND = ("fuser.", "pts_backbone.", "pts_neck.")  # of the view transform: on the map


def import_bev_detector(
    path: str | Path, config: str | Path, out: str | Path | None, boxes: str = "auto"
) -> Report:
    """A checkpoint for a :class:`lidistill.models.detectors.bev.BEVDetector`.

    Args:
        path: checkpoint of mmdet3d's CenterPoint, BEVDet, BEVDepth, BEVFusion, or of our own.
        config: of the detector that gets the tensors; of a Distiller, its student.
        out: ``.pth`` or ``.safetensors`` to write; None to write nothing.
        boxes: what the head's numbers mean, one of ``BOXES``; auto reads it off the file's own
            words on its versions.

    Returns:
        What became of every tensor. Tensors of the detector that the file has not are random (seed
        0) and named.

    Raises:
        FileNotFoundError: no such file.
        ValueError: nothing fits; the head fits and nobody says what its boxes mean, or its classes
            are others.
    """
    if boxes not in BOXES:
        raise ValueError(f"expected boxes to be one of {BOXES}, got {boxes!r}")
    target = check_output(path, out)
    content = read_content(path)
    wanted, classes = _detector(config)
    # one table of the file: beside the student's lies that of a teacher which follows it; of
    # several that fit as well, the first is the student's
    tables = [(place, project) for place in content.tables for project in PROJECTS]
    project, found, unfit = max(
        (_taken(content, place, project, wanted) for place, project in tables),
        key=lambda one: len(one[1]),
    )
    if not found:
        raise ValueError(
            f"nothing of {path} fits the detector of {config}: no name and shape agree. It holds "
            f"{content.summary()}; the detector wants {some(list(wanted))}"
        )
    remarks = _check_head(found, content, classes, boxes)
    check_weights(found, path)
    parts = {name: found.get(name) or _made(tensor) for name, tensor in wanted.items()}
    used = {part.source for part in found.values()}
    left = [
        Part(part.tensor, part.source, part.tensor, unfit.get(str(part.source), "no such part"))
        for place, table in content.tables.items()
        for part in parts_of(table, place).values()
        if part.source not in used
    ]
    title = f"{path} ({project.name}) -> the BEV detector of {config}"
    report = Report(title, parts, left, remarks + _whole(parts))
    if target is not None:
        options = {"config": str(config), "boxes": boxes, "project": project.name}
        write_parts(target, parts, "state_dict", content.path, "import_weights", options)
    return report


def _detector(config: str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors and classes of the detector of a config."""
    from mmengine.config import Config

    if not Path(config).is_file():
        raise FileNotFoundError(f"no config at {config}; give the config of a BEV detector")
    compat.apply()
    model = Config.fromfile(config).model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        detector = MODELS.build(model.get("student", model))
    if not isinstance(detector, BEVDetector):
        raise ValueError(f"{config} describes a {type(detector).__name__}, not a BEVDetector")
    names = [name for task in detector.pts_bbox_head.class_names for name in task]
    return detector.state_dict(), names


def _taken(
    content: Content, place: str, project: Project, wanted: Mapping[str, Tensor]
) -> tuple[Project, Parts, dict[str, str]]:
    """Tensors of a table that fit by a project's names, and why others of these names do not."""
    found: Parts = {}
    unfit: dict[str, str] = {}
    for source, part in parts_of(content.tables[place], place).items():
        name = _our_name(source.removeprefix("model."), project, wanted)
        if name is None or name in found:
            continue
        if project.rows_x and name.startswith(HEAD):
            unfit[str(part.source)] = "a head on a map with x along rows is not carried over"
            continue
        fitted = _fitted(part, name, wanted[name], project)
        if fitted is None:
            unfit[str(part.source)] = f"{name} is {list(wanted[name].shape)}"
        else:
            found[name] = fitted
    return project, found, unfit


def _our_name(source: str, project: Project, wanted: Mapping[str, Tensor]) -> str | None:
    for theirs, ours in project.prefixes.items():
        if not source.startswith(theirs):
            continue
        rest = source.removeprefix(theirs)
        for name in (ours + rest, f"{ours}conv.{rest}"):  # a plain depth net's one convolution
            if name in wanted:
                return name
    return None


def _fitted(part: Part, name: str, own: Tensor, project: Project) -> Part | None:
    """The part in our order of axes; None where its shape is another."""
    tensor = part.tensor
    if tensor.ndim == 5:
        if tensor.shape != own.shape or project.rows_x:
            older = spconv2_from_spconv1(tensor) if tensor.shape != own.shape else tensor
            older = swap_xyz_zyx(older) if project.rows_x else older
            part = part.become(older, "spconv's and our order of axes")
    elif tensor.ndim == 4 and project.rows_x and name.startswith(_BEHIND):
        part = part.become(tensor.transpose(2, 3).contiguous(), "x and y of the map swapped")
    return part if part.tensor.shape == own.shape else None


def _made(tensor: Tensor) -> Part:
    return Part(tensor, note="not in the file: random, seed 0")


def _check_head(found: Parts, content: Content, classes: list[str], boxes: str) -> list[str]:
    """Bring the head's box numbers into our convention, in place; what to tell the user."""
    if not any(name.startswith(f"{HEAD}task_heads.") for name in found):
        return ["no tensor of the head's tasks was taken: what its boxes mean does not matter"]
    meta = content.notes.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    known = (meta.get("dataset_meta") or {}).get("classes") or meta.get("CLASSES")
    if known and list(known) != classes:
        raise ValueError(
            f"the head of {content.path} tells {list(known)} apart, the detector's {classes}: "
            "heatmap k is not the same thing; give the detector the file's classes in its order"
        )
    stated = box_convention(content.notes)
    if boxes != "auto" and stated not in (None, boxes):
        raise ValueError(f"{content.path} was written as {stated}, --boxes says {boxes}")
    convention = stated if boxes == "auto" else boxes
    if convention is None:
        raise ValueError(
            f"{content.path} does not say which mmdet3d wrote it, so what its head means by yaw "
            f"and size is not known ({RULES}); say --boxes mmdet3d-1 or --boxes mmdet3d-0. A wrong "
            "one shows as mASE near 0.7 and mAOE near 1.6"
        )
    if convention == "mmdet3d-0":
        _turn_head(found)
        return ["boxes of mmdet3d before 1.0: yaw and sizes of the head were brought to 1.0's"]
    return ["boxes as mmdet3d 1.0 counts them"]


def _turn_head(found: Parts) -> None:
    """A head of mmdet3d before 1.0 that says the same in 1.0's words.

    With yaw = -yaw_0 - pi/2: sin(yaw) = -cos(yaw_0), cos(yaw) = -sin(yaw_0); w, l, h become
    l, w, h.
    """
    for name in list(found):
        kind = re.match(
            rf"{re.escape(HEAD)}task_heads\.\d+\.(rot|dim)\.(\d+)\.(weight|bias)$", name
        )
        if kind is None:  # of the branch's last layer, a bare convolution
            continue
        tensor = found[name].tensor
        if kind[1] == "rot":
            turned, words = -tensor[[1, 0]], "yaw of mmdet3d 1.0"
        else:
            turned, words = tensor[[1, 0, *range(2, len(tensor))]], "sizes as l, w, h"
        found[name] = found[name].become(turned, words)


def _whole(parts: Parts) -> list[str]:
    """Parts of the detector that are random, in full or in part."""
    words = []
    for part in dict.fromkeys(name.partition(".")[0] for name in parts):
        mine = [value for name, value in parts.items() if name.startswith(f"{part}.")]
        made = sum(value.original is None for value in mine)
        if made:
            words.append(f"{part}: {made} of {len(mine)} tensors are random: train it")
    return words
