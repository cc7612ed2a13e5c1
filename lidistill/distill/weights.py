# SPDX-License-Identifier: Apache-2.0
"""Reading weights from local files: safe, strict, and with a report of what matched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lidistill import compat
from lidistill.io.checkpoints import read_checkpoint

_BOX_HEAD = re.compile(r"(^|\.)(pts_bbox_head|bbox_head|rpn_head|roi_head)\.")
"""Of mmdet3d's detectors, in names of tensors."""
_PREFERRED = ("", "student.", "encoder.")
"""Where a file holds several parts that fit: a student, and a teacher of the same kind."""


def read_state_dict(path: str | Path, wanted: Iterable[str] = ()) -> dict[str, torch.Tensor]:
    """Tensors of a ``.pth`` (mmengine's ``state_dict`` is unwrapped) or ``.safetensors`` file.

    Files are read with ``weights_only``: a pickle that tries to run code is refused.

    Args:
        path: local file.
        wanted: names, in a model, of the tensors that are to be filled from it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds no dictionary of tensors, or is damaged; or a box head is wanted,
            and it is of mmdet3d before 1.0.
    """
    content = _content(path)
    _refuse_old_heads(content, path, wanted)
    return _tensors(content, path)


def _content(path: str | Path) -> Any:
    compat.apply()
    return read_checkpoint(
        path,
        "train it first, or name another file (of a teacher: --cfg-options "
        "model.teacher.checkpoint=FILE)",
    )


def _tensors(content: Any, path: str | Path) -> dict[str, torch.Tensor]:
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ValueError(f"{path} holds no dictionary of tensors")
    return tensors


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint whose tensors must fit ``model`` name by name.

    The file may hold a larger model of which ``model`` is one part: the student of a Distiller
    checkpoint (``student.*``), the encoder of a self-supervised stage (``encoder.*``). The one
    prefix under which most tensors are found is taken off the names; where several parts fit whole,
    the file's own names, ``student.`` and ``encoder.`` go first, in this order.

    Args:
        model: receives the weights.
        path: local file.

    Raises:
        ValueError: some tensors are missing or differ in shape; the message counts and lists what
            matched. Or several parts of the file fit and none goes first. Or ``model`` has a box
            head, and the file is of mmdet3d before 1.0.
    """
    content = _content(path)
    state = _tensors(content, path)
    wanted = model.state_dict()
    _refuse_old_heads(content, path, wanted)
    first = next(iter(wanted), "")
    prefixes = {key.removesuffix(first): 0 for key in state if f".{key}".endswith(f".{first}")}
    parts = {prefix: _part(state, prefix, wanted) for prefix in prefixes}
    best: dict[str, torch.Tensor] = max(parts.values(), key=len, default={})
    if len(best) < len(wanted):
        lacking = [name for name in wanted if name not in best]
        raise ValueError(
            f"{path} does not fit {type(model).__name__}: {len(best)} of {len(wanted)} tensors "
            f"matched by name and shape. Matched: {_some(list(best))}. "
            f"Missing or unequal: {_some(lacking)}. The file holds: {_some(list(state))}"
        )
    whole = [prefix for prefix, part in parts.items() if len(part) == len(wanted)]
    candidates = [prefix for prefix in _PREFERRED if prefix in whole] or whole
    if len(whole) > 1 and candidates is whole:
        raise ValueError(
            f"{path} holds {len(whole)} parts that fit {type(model).__name__}: below "
            f"{', '.join(map(repr, whole))}. Save the one that is meant in a file of its own"
        )
    model.load_state_dict(parts[candidates[0]] if whole else {})  # a model may have no tensor


def check_start(model: nn.Module, content: Any, path: str | Path) -> None:
    """Refuse a file to start from (mmengine's ``load_from``) that has nothing for the model.

    mmengine takes what fits by name and shape, and where nothing does, goes on from random weights.

    Args:
        model: that is trained; of a Distiller the student counts.
        content: of the file, its ``state_dict`` below that name or by itself.
        path: of it.

    Raises:
        ValueError: no parameter fits; lists what either side has. Or ``model`` has a box head, and
            the file is of mmdet3d before 1.0.
    """
    state = {key.removeprefix("module."): value for key, value in _tensors(content, path).items()}
    learned = dict(model.named_parameters())
    wanted = {name: p for name, p in learned.items() if name.startswith("student.")} or learned
    _refuse_old_heads(content, path, wanted)
    if wanted and not _part(state, "", wanted):
        raise ValueError(
            f"{path} has none of the {len(wanted)} parameters of {type(model).__name__}, which "
            f"would be trained from random weights: it holds {_some(list(state))}, the model "
            f"{_some(list(wanted))}. A file of one part (a detector, for the student of a method) "
            "goes in by the hook PretrainedParts(checkpoint=FILE, parts={'student': ''})"
        )


def _refuse_old_heads(content: Any, path: str | Path, wanted: Iterable[str]) -> None:
    if box_convention(content) == "mmdet3d-0" and any(_BOX_HEAD.search(name) for name in wanted):
        raise ValueError(
            f"{path} was written by mmdet3d {_meta(content)['mmdet3d_version']}. Before 1.0 a head "
            "counted yaw from another axis and gave sizes as w, l, h: every box would be turned "
            "and its sides swapped. `lidistill import_weights FILE OUT --config CONFIG` brings the "
            "heads of BEV detectors (CenterPoint's) to 1.0; for others take a checkpoint "
            "that mmdet3d 1.0 or later wrote, or train it again"
        )


def _part(
    state: Mapping[str, torch.Tensor], prefix: str, wanted: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Tensors of the file below a prefix that fit by name and shape."""
    return {
        name: state[prefix + name]
        for name, tensor in wanted.items()
        if prefix + name in state and state[prefix + name].shape == tensor.shape
    }


def box_convention(content: Any) -> str | None:
    """How a checkpoint's head counts yaw and sizes, by its own words; None where it says nothing.

    Args:
        content: of the file: ``meta`` has the versions of the libraries that wrote it.

    Returns:
        ``"mmdet3d-1"`` (since 1.0: yaw from x towards y; l, w, h) or ``"mmdet3d-0"`` (before).
    """
    meta = _meta(content)
    version = re.match(r"(\d+)\.", str(meta.get("mmdet3d_version", "")))
    if version:
        return "mmdet3d-1" if int(version[1]) >= 1 else "mmdet3d-0"
    if "mmengine_version" in meta or "lidistill_version" in meta:
        return "mmdet3d-1"  # mmengine came with mmdet3d 1.1
    return None


def _meta(content: Any) -> Mapping[str, Any]:
    meta = content.get("meta") if isinstance(content, Mapping) else None
    return meta if isinstance(meta, Mapping) else {}


def _some(names: list[str], count: int = 6) -> str:
    return (", ".join(names[:count]) or "none") + (" ..." if len(names) > count else "")
