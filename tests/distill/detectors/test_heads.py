# SPDX-License-Identifier: Apache-2.0
"""Heads that can be compared, and heads whose numbers mean different things."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lidistill.distill.detectors.heads import (
    check_classes,
    check_heads,
    check_labels,
    class_count,
    convention,
    in_head,
    read_classes,
)
from lidistill.hooks.audit import AuditHook
from lidistill.losses.feature import attention_transfer
from lidistill.losses.response import bernoulli_kd
from lidistill.methods import FeatureKD
from lidistill.models.detectors.mmdet3d import mmdet3d_detector
from tests.methods import small_detectors

CLASSES = ("Pedestrian", "Cyclist", "Car")


@pytest.fixture(scope="module")
def student() -> nn.Module:
    return small_detectors.pillars(8)


def other(**changes) -> nn.Module:
    """PointPillars as shipped but for its head."""
    return mmdet3d_detector(small_detectors.SHIPPED["pointpillars"], changes=changes)


def kd(student: nn.Module, teacher: nn.Module, checkpoint=None, tap="bbox_head.conv_cls"):
    loss = bernoulli_kd if in_head(tap) else attention_transfer
    teachers = dict(teacher=dict(model=teacher, checkpoint=checkpoint))
    return FeatureKD(student, teachers, dict(classes=dict(loss=loss, tap=tap)))


def test_what_a_head_says(student):
    found = convention(student)
    assert (found["head"], found["box coder"]) == ("Anchor3DHead", "DeltaXYZWLHRBBoxCoder")
    assert (found["numbers of a box"], found["classes"]) == (7, 3)
    assert found["anchor sizes"][2] == [3.9, 1.6, 1.56]  # the car
    assert convention(nn.Linear(1, 1)) == {}
    assert in_head("bbox_head.conv_cls")
    assert not in_head("neck")


def test_equal_heads_on_unequal_grids_may_be_compared(student):
    check_heads(student, small_detectors.pillars(16, voxel=0.32), "a test")


def test_order_of_anchors_is_the_order_of_classes(student):
    sizes = [[3.9, 1.6, 1.56], [1.76, 0.6, 1.73], [0.8, 0.6, 1.73]]
    teacher = other(bbox_head=dict(anchor_generator=dict(sizes=sizes)))
    with pytest.raises(ValueError, match=r"term 'classes'.*anchor sizes: .*neck\[0\]"):
        kd(student, teacher)
    kd(student, teacher, tap="neck[0]")  # features do not know of classes


def test_origin_of_boxes(student):
    teacher = small_detectors.centerpoint(8)
    message = r"DeltaXYZWLHRBBoxCoder \(student\), CenterPointBBoxCoder \(teacher\)"
    with pytest.raises(ValueError, match=message):
        check_heads(student, teacher, "a test")


def test_heights_of_anchors(student):
    low = [[0, -39.68, z, 69.12, 39.68, z] for z in (0.0, 0.0, -1.0)]
    teacher = other(bbox_head=dict(anchor_generator=dict(ranges=low)))
    with pytest.raises(ValueError, match="anchor heights"):
        check_heads(student, teacher, "a test")


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"dataset_meta": {"classes": ["Car", "Cyclist", "Pedestrian"]}}, "in another order"),
        ({"CLASSES": ("Pedestrian", "Cyclist", "Van")}, "not the same ones"),
        ({"dataset_meta": {"classes": CLASSES}}, None),
        ({}, None),
    ],
)
def test_classes_of_the_checkpoint(student, meta, message, tmp_path):
    teacher, path = small_detectors.pillars(8, seed=1), tmp_path / "teacher.pth"
    torch.save({"state_dict": teacher.state_dict(), "meta": meta}, path)
    names = meta.get("CLASSES") or meta.get("dataset_meta", {}).get("classes")
    assert read_classes(path) == (tuple(names) if names else None)
    dataset = SimpleNamespace(metainfo={"classes": CLASSES})
    for tap, compared in (("bbox_head.conv_cls", True), ("neck[0]", False)):
        method = kd(student, teacher, str(path), tap)
        runner = SimpleNamespace(model=method, train_dataloader=SimpleNamespace(dataset=dataset))
        if message and compared:
            with pytest.raises(ValueError, match=message):
                AuditHook().before_train(runner)
        else:
            AuditHook().before_train(runner)
            check_classes(method, CLASSES)


def test_data_may_not_have_more_classes_than_the_head(student):
    assert class_count(student) == 3
    assert class_count(small_detectors.centerpoint(8)) == sum(
        len(names) for names in small_detectors.centerpoint(8).pts_bbox_head.class_names
    )
    assert class_count(torch.nn.Linear(2, 2)) is None
    check_labels(student, CLASSES)
    more = SimpleNamespace(metainfo={"classes": (*CLASSES, "Van")})
    runner = SimpleNamespace(model=student, train_dataloader=SimpleNamespace(dataset=more))
    with pytest.raises(ValueError, match=r"3 classes apart, .* has 4, .*Van; name the head"):
        AuditHook().before_train(runner)
