# SPDX-License-Identifier: Apache-2.0
"""Label distillation: which boxes join the ground truth, against a loop over all of them."""

from __future__ import annotations

import pytest
import torch

from lidistill import compat
from lidistill.distill.detectors.labels import TeacherBoxes, add_teacher_boxes, sure_boxes
from lidistill.ops.boxes.rotated_iou import rotated_iou


def naive_rows(truth, found, score, known) -> list[int]:
    boxes, labels, scores = found
    kept = []
    for row in range(len(boxes)):
        limit = score[int(labels[row])] if isinstance(score, list) else score
        if not scores[row] > limit:
            continue
        twin = False
        for box, label in zip(*truth, strict=True):
            flat = [b[[0, 1, 3, 4, 6]][None] for b in (boxes[row], box)]
            same = label == labels[row] and float(rotated_iou(*flat)) > (known or 0.0)
            twin = twin or (known is not None and bool(same))
        if not twin:
            kept.append(row)
    return kept


@pytest.mark.parametrize("known", [None, 0.3])
@pytest.mark.parametrize("score", [0.6, [0.2, 0.5, 0.9]])
def test_rows_by_loops(score, known):
    torch.manual_seed(0)
    boxes = torch.cat([torch.rand(60, 3) * 8, torch.rand(60, 3) * 3 + 1, torch.rand(60, 1) * 6], 1)
    labels, scores = torch.randint(0, 3, (60,)), torch.rand(60)
    truth, found = (boxes[:20], labels[:20]), (boxes[20:], labels[20:], scores[20:])
    rows = sure_boxes(truth, found, TeacherBoxes(score=score, known=known))
    expected = naive_rows(truth, found, score, known)
    assert rows.tolist() == expected
    assert 0 < len(expected) < 40


def make_sample(truth: int, found: int, box_dim: int = 7, more: bool = False):
    compat.apply()
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    def boxes(count: int):
        return LiDARInstance3DBoxes(torch.rand(count, box_dim), box_dim=box_dim)

    sample = Det3DDataSample(metainfo={"lidar_path": "a.bin"})
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=boxes(truth), labels_3d=torch.zeros(truth, dtype=torch.int64)
    )
    if more:
        sample.gt_instances_3d.depths = torch.zeros(truth)
    other = Det3DDataSample()
    other.pred_instances_3d = InstanceData(
        bboxes_3d=boxes(found),
        labels_3d=torch.ones(found, dtype=torch.int64),
        scores_3d=torch.linspace(0, 1, found),
    )
    return sample, other


@pytest.mark.parametrize(("truth", "found", "added"), [(2, 5, 2), (0, 5, 2), (2, 0, 0), (0, 0, 0)])
def test_boxes_join_the_labels(truth, found, added):
    sample, prediction = make_sample(truth, found, box_dim=9)
    before = sample.gt_instances_3d.bboxes_3d.tensor.clone()
    (changed,), count = add_teacher_boxes([sample], [prediction], TeacherBoxes())
    assert count == added
    boxes = changed.gt_instances_3d.bboxes_3d.tensor
    torch.testing.assert_close(boxes[:truth], before)
    rows = prediction.pred_instances_3d.scores_3d > 0.6
    torch.testing.assert_close(boxes[truth:], prediction.pred_instances_3d.bboxes_3d.tensor[rows])
    assert changed.gt_instances_3d.labels_3d.tolist() == [0] * truth + [1] * added
    assert changed.metainfo == sample.metainfo
    assert len(sample.gt_instances_3d.bboxes_3d) == truth  # the given one is as it was


def test_errors_say_what_differs():
    setting = TeacherBoxes()
    sample, _ = make_sample(1, 1)
    with pytest.raises(ValueError, match="of 7 numbers, got LiDARInstance3DBoxes of 9"):
        add_teacher_boxes([sample], [make_sample(1, 1, box_dim=9)[1]], setting)
    with pytest.raises(ValueError, match="predictions of 1 samples, got those of 0"):
        add_teacher_boxes([sample], [], setting)
    sample, prediction = make_sample(1, 1, more=True)
    with pytest.raises(ValueError, match=r"have no \['depths'\]"):
        add_teacher_boxes([sample], [prediction], setting)
    sample, prediction = make_sample(1, 3)
    with pytest.raises(ValueError, match="got 1 of them and a box of class 1"):
        add_teacher_boxes([sample], [prediction], TeacherBoxes(score=[0.5]))
