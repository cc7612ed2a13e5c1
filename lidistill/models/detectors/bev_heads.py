# SPDX-License-Identifier: Apache-2.0
"""Heads on bird's-eye views: mmdet3d's CenterPoint's, and those with anchors (SECOND's)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lidistill.models.backbones.mmdet3d_encoders import build_part

PARTS = ("voxel_encoder", "middle_encoder", "backbone", "neck", "bbox_head")
MAPS = ("backbone", "neck", "bbox_head")  # what a detector needs whatever its sensors


def named_parts(model: Mapping[str, Any]) -> dict[str, Any]:
    """The model of an mmdet3d config, its parts under CenterPoint's names.

    Args:
        model: of a CenterPoint (``pts_backbone``, ``train_cfg["pts"]``, ...), or of a SECOND or a
            PointPillars, which leave the prefix out.

    Raises:
        ValueError: neither of them.
    """
    if all(f"pts_{part}" in model for part in MAPS):
        return dict(model)
    lacking = [part for part in MAPS if part not in model]
    if lacking:
        raise ValueError(
            "expected the config of a CenterPoint, SECOND or PointPillars of mmdet3d, got a "
            f"{model.get('type')} without {', '.join(lacking)}"
        )
    named = {f"pts_{key}" if key in PARTS else key: part for key, part in model.items()}
    return {**named, **{key: {"pts": model[key]} for key in ("train_cfg", "test_cfg")}}


def build_head(model: Mapping[str, Any], cells: int) -> Any:
    """The head of a model.

    Args:
        model: of :func:`named_parts`.
        cells: of the head's map; CenterPoint takes the best ones, no more than there are.
    """
    from mmengine.config import ConfigDict

    given = {"train_cfg": model["train_cfg"]["pts"], "test_cfg": model["test_cfg"]["pts"]}
    head = build_part(ConfigDict(model["pts_bbox_head"], **given))
    coder = head.bbox_coder
    if hasattr(coder, "max_num"):
        coder.max_num = min(coder.max_num, cells)
    return head


def init_heatmaps(head: nn.Module) -> None:
    """Set the bias of CenterPoint's heatmaps; heads with anchors set theirs themselves.

    mmdet3d's CenterHead means to do it and does not reach it: every cell is half an object.
    """
    tasks: Any = getattr(head, "task_heads", ())
    for task in tasks:
        nn.init.constant_(task.heatmap[-1].bias, task.init_bias)
