# SPDX-License-Identifier: Apache-2.0
"""A teacher's answers as soft labels: of CenterPoint's cells, or of anchors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lidistill.distill.detectors.heads import HEADS, branch_taps
from lidistill.distill.taps import Tap
from lidistill.losses.monocular.anchor_response import (
    anchor_weights,
    soft_boxes,
    soft_directions,
    soft_focal,
)

ANCHORS = {"cls": "conv_cls", "reg": "conv_reg", "dir": "conv_dir_cls"}
DIRECTIONS = 0.2
"""Weight of the term of directions beside those of classes and boxes: 0.4 to 2 in the release."""


class Answers(Protocol):
    """What a head says, and how far a student's head is from it."""

    taps: dict[str, Tap]

    def terms(self, student: Any, teacher: Any) -> dict[str, Tensor]:
        """``classes``, summed over the samples, and ``boxes``, their mean, directions included."""
        ...


def answers_of(model: nn.Module) -> Answers:
    """How to compare a detector's head with another one of its kind.

    Raises:
        ValueError: a head that is neither CenterPoint's nor one of anchors (mmdet3d's
            Anchor3DHead).
    """
    for name in HEADS:
        head = getattr(model, name, None)
        if hasattr(head, "conv_cls") and hasattr(head, "conv_reg"):
            return AnchorAnswers(name, head)
    return CentreAnswers(branch_taps(model))


class CentreAnswers:
    """CenterPoint's: a cell is an anchor, task by task; a heading is a sine and a cosine.

    Args:
        taps: of :func:`lidistill.distill.detectors.heads.branch_taps`.
    """

    def __init__(self, taps: dict[str, Tap]) -> None:
        self.taps = taps
        tasks: dict[str, list[str]] = {}
        for name in taps:
            tasks.setdefault(name.partition("_")[0], []).append(name)
        self.tasks = [
            (f"{task}_heatmap", [name for name in names if name != f"{task}_heatmap"])
            for task, names in tasks.items()
        ]

    def terms(self, student: Any, teacher: Any) -> dict[str, Tensor]:
        """See :class:`Answers`; summed over tasks."""
        classes, boxes = [], []
        for heat, regressed in self.tasks:
            logits, target = (_cells(side, [heat]) for side in (student, teacher))
            own, wanted = (_cells(side, regressed) for side in (student, teacher))
            classes.append(soft_focal(logits, target))
            boxes.append(soft_boxes(own, wanted, anchor_weights(target), heading=None))
        return {"classes": torch.stack(classes).sum(), "boxes": torch.stack(boxes).sum()}


class AnchorAnswers:
    """Of mmdet3d's Anchor3DHead: several anchors a cell, directions in a branch of their own.

    Args:
        name: of the head inside the detector.
        head: it.
    """

    def __init__(self, name: str, head: Any) -> None:
        found = {key: part for key, part in ANCHORS.items() if hasattr(head, part)}
        self.taps = {f"anchor_{key}": Tap(f"{name}.{part}") for key, part in found.items()}
        self.numbers = {"cls": int(head.num_classes), "reg": int(head.box_code_size), "dir": 2}

    def terms(self, student: Any, teacher: Any) -> dict[str, Tensor]:
        """See :class:`Answers`."""
        sides = student, teacher
        logits, target = (self.anchors(side, "cls") for side in sides)
        own, wanted = (self.anchors(side, "reg") for side in sides)
        weights = anchor_weights(target)
        boxes = soft_boxes(own, wanted, weights)
        if "anchor_dir" in self.taps:
            turns, turned = (self.anchors(side, "dir") for side in sides)
            boxes = boxes + DIRECTIONS * soft_directions(turns, turned, weights)
        return {"classes": soft_focal(logits, target), "boxes": boxes}

    def anchors(self, outputs: Any, key: str) -> Tensor:
        """(B, Y * X * anchors a cell, numbers) as the head orders them."""
        maps = getattr(outputs, f"anchor_{key}").features
        count, numbers = maps[0].numel() if len(maps) else 0, self.numbers[key]
        return maps.permute(0, 2, 3, 1).reshape(len(maps), count // numbers, numbers)


def _cells(outputs: Any, names: Sequence[str]) -> Tensor:
    """(B, Y * X, channels) of maps side by side."""
    maps = torch.cat([getattr(outputs, name).features for name in names], 1)
    return maps.flatten(2).transpose(1, 2)
