# SPDX-License-Identifier: Apache-2.0
"""Label distillation: boxes that a teacher is sure of join the student's ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lidistill.datasets.detections import NO_LABELS
from lidistill.distill.unlabelled import is_labelled
from lidistill.ops.boxes.rotated_iou import rotated_iou


@dataclass(frozen=True)
class TeacherBoxes:
    """Which of a teacher's boxes become labels.

    Source: SparseKD, https://arxiv.org/abs/2205.15156, "label KD": all boxes of score above 0.6
    join the ground truth before assignment.

    Attributes:
        teacher: its name; it is run to its end and finds boxes by its own test settings, whose
            score threshold must be the lower one.
        score: smallest score, for all classes or one for each.
        known: a box that overlaps a true box of its class by more than this BEV IoU is left out;
            None keeps all, as the paper does.
    """

    teacher: str = "teacher"
    score: float | Sequence[float] = 0.6
    known: float | None = None


def add_teacher_boxes(
    samples: Sequence[Any], predictions: Sequence[Any], setting: TeacherBoxes
) -> tuple[list[Any], int]:
    """Samples with more ground truth; the given ones are not changed.

    Args:
        samples: mmdet3d's data samples with ``gt_instances_3d``.
        predictions: the same samples with ``pred_instances_3d``, in the same frame.
        setting: see there.

    Returns:
        New samples, teacher's boxes behind the true ones, frames without labels as they are; and
        how many boxes were added.

    Raises:
        ValueError: numbers of samples or kinds of boxes differ, or labels hold more than boxes and
            classes.
    """
    if len(samples) != len(predictions):
        raise ValueError(
            f"expected predictions of {len(samples)} samples, got those of {len(predictions)}"
        )
    labelled, added = [], 0
    for sample, prediction in zip(samples, predictions, strict=True):
        if not is_labelled(sample):  # the student's own loss rests there
            labelled.append(sample)
            continue
        truth, found = sample.gt_instances_3d, prediction.pred_instances_3d
        _check(truth, found)
        rows = sure_boxes(
            (truth.bboxes_3d.tensor, truth.labels_3d),
            (found.bboxes_3d.tensor, found.labels_3d, found.scores_3d),
            setting,
        )
        device = truth.labels_3d.device
        more = found.bboxes_3d[rows.to(found.bboxes_3d.tensor.device)].to(device)
        instances = truth.new()
        for name in list(instances.keys()):
            delattr(instances, name)  # an InstanceData keeps one length
        instances.bboxes_3d = type(truth.bboxes_3d).cat([truth.bboxes_3d, more])
        instances.labels_3d = torch.cat([truth.labels_3d, found.labels_3d[rows].to(device)])
        changed = sample.new()
        changed.gt_instances_3d = instances
        labelled.append(changed)
        added += len(rows)
    return labelled, added


def pseudo_labels(
    samples: Sequence[Any], predictions: Sequence[Any], setting: TeacherBoxes
) -> tuple[list[Any], int]:
    """Samples whose frames without labels take a teacher's boxes for them.

    Args:
        samples: mmdet3d's data samples; labelled ones pass as they are.
        predictions: the same samples with ``pred_instances_3d``, in the same frame.
        setting: see there; ``known`` has no meaning.

    Returns:
        New samples, all of them labelled now, and how many boxes were given.
    """
    found, added = [], 0
    for sample, prediction in zip(samples, predictions, strict=True):
        if is_labelled(sample):
            found.append(sample)
            continue
        empty, given = sample.get(NO_LABELS), prediction.pred_instances_3d
        _check(empty, given)
        rows = sure_boxes(
            (empty.bboxes_3d.tensor, empty.labels_3d),
            (given.bboxes_3d.tensor, given.labels_3d, given.scores_3d),
            setting,
        )
        changed = sample.clone()
        delattr(changed, NO_LABELS)
        instances = empty.new()
        for name in list(instances.keys()):
            delattr(instances, name)  # an InstanceData keeps one length
        device = empty.labels_3d.device
        chosen = given.bboxes_3d[rows.to(given.bboxes_3d.tensor.device)].to(device)
        instances.bboxes_3d = chosen
        instances.labels_3d = given.labels_3d[rows].to(device)
        changed.gt_instances_3d = instances
        found.append(changed)
        added += len(rows)
    return found, added


def boxes_of(predictions: Sequence[Any], setting: TeacherBoxes) -> list[Tensor]:
    """Per sample the (P, 7+) boxes that a teacher is sure of, where there is no truth."""
    kept = []
    for prediction in predictions:
        found = prediction.pred_instances_3d
        boxes = found.bboxes_3d.tensor
        given = (boxes, found.labels_3d, found.scores_3d)
        nothing = (boxes[:0], found.labels_3d[:0])
        kept.append(boxes[sure_boxes(nothing, given, setting).to(boxes.device)])
    return kept


def sure_boxes(
    truth: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor, Tensor], setting: TeacherBoxes
) -> Tensor:
    """Rows of a teacher's boxes that become labels of one sample.

    Args:
        truth: boxes (M, 7+) metres, radians, and their classes (M,).
        found: boxes (P, 7+), classes (P,) and scores (P,).
        setting: see there.

    Returns:
        (K,) int64, ascending.

    Raises:
        ValueError: a class without a score threshold.
    """
    boxes, labels, scores = found
    threshold = torch.as_tensor(setting.score, dtype=scores.dtype, device=scores.device)
    if threshold.dim():
        if len(labels) and int(labels.max()) >= len(threshold):
            raise ValueError(
                f"expected a score for each class, got {len(threshold)} of them and a box of class "
                f"{int(labels.max())}"
            )
        threshold = threshold[labels]
    kept = scores > threshold
    if setting.known is not None and len(truth[0]) and len(boxes):
        columns = [0, 1, 3, 4, 6]
        overlap = rotated_iou(boxes[:, columns], truth[0].to(boxes)[:, columns])
        same = labels[:, None] == truth[1].to(labels)[None]
        kept &= ~((overlap > setting.known) & same).any(1)
    return kept.nonzero().squeeze(1)


def _check(truth: Any, found: Any) -> None:
    own, theirs = truth.bboxes_3d, found.bboxes_3d
    if type(own) is not type(theirs) or own.box_dim != theirs.box_dim:
        raise ValueError(
            f"expected the teacher's boxes in the form of the labels, {type(own).__name__} of "
            f"{own.box_dim} numbers, got {type(theirs).__name__} of {theirs.box_dim}; take a "
            "teacher trained on this dataset"
        )
    more = sorted(set(truth.keys()) - {"bboxes_3d", "labels_3d"})
    if more:
        raise ValueError(
            f"a teacher's boxes have no {more}, which the labels hold; leave them out of the train "
            "pipeline (keys of Pack3DDetInputs)"
        )
