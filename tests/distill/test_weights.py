# SPDX-License-Identifier: Apache-2.0
"""Whose boxes a checkpoint's head means, asked before its weights are taken."""

import pytest
import torch
from torch import nn

from lidistill.distill.weights import box_convention, check_start, load_weights

OLD = {"meta": {"mmdet3d_version": "0.17.2"}}
NEW = {"meta": {"mmdet3d_version": "1.1.0"}}


@pytest.mark.parametrize(
    ("meta", "convention"),
    [
        ({"mmdet3d_version": "0.17.2"}, "mmdet3d-0"),
        ({"mmdet3d_version": "1.1.0"}, "mmdet3d-1"),
        ({"mmengine_version": "0.7.2"}, "mmdet3d-1"),
        ({"epoch": 20}, None),
        (None, None),
    ],
)
def test_conventions(meta, convention):
    assert box_convention({"meta": meta}) == convention


def detector(head):
    return nn.ModuleDict({"backbone": nn.Linear(2, 2), head: nn.Linear(2, 2)})


def saved(tmp_path, model, notes):
    path = tmp_path / "theirs.pth"
    torch.save({"state_dict": model.state_dict(), **notes}, path)
    return path


@pytest.mark.parametrize("head", ["bbox_head", "pts_bbox_head", "roi_head"])
def test_heads_of_mmdet3d_before_1_0_are_refused(tmp_path, head):
    path = saved(tmp_path, detector(head), OLD)
    with pytest.raises(ValueError, match=r"mmdet3d 0\.17\.2.*import_weights"):
        load_weights(detector(head), path)


@pytest.mark.parametrize("notes", [NEW, {}, {"meta": {"epoch": 2}}])
def test_other_heads_are_taken(tmp_path, notes):
    model, other = detector("bbox_head"), detector("bbox_head")
    load_weights(other, saved(tmp_path, model, notes))
    assert torch.equal(other["bbox_head"].weight, model["bbox_head"].weight)


def test_an_old_backbone_has_no_boxes(tmp_path):
    model = nn.ModuleDict({"backbone": nn.Linear(3, 2), "bbox_head": nn.Linear(2, 2)})
    backbone = nn.Linear(3, 2)
    load_weights(backbone, saved(tmp_path, model, OLD))
    assert torch.equal(backbone.weight, model["backbone"].weight)


@pytest.mark.parametrize("order", [("student", "teacher"), ("teacher", "student")])
def test_a_student_goes_before_a_teacher_of_its_kind(tmp_path, order):
    model = nn.ModuleDict({name: nn.Linear(2, 2) for name in order})
    other = nn.Linear(2, 2)
    load_weights(other, saved(tmp_path, model, {}))
    assert torch.equal(other.weight, model["student"].weight)


def test_parts_that_fit_alike_are_not_guessed(tmp_path):
    model = nn.ModuleDict({"left": nn.Linear(2, 2), "right": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match=r"'left\.', 'right\.'"):
        load_weights(nn.Linear(2, 2), saved(tmp_path, model, {}))


def test_a_model_without_tensors_takes_nothing(tmp_path):
    load_weights(nn.Identity(), saved(tmp_path, nn.Linear(2, 2), {}))


def test_a_start_is_held_to_the_same_convention(tmp_path):
    """mmengine's ``load_from`` looked at no version."""
    old = {"state_dict": detector("bbox_head").state_dict(), **OLD}
    with pytest.raises(ValueError, match=r"mmdet3d 0\.17\.2.*import_weights"):
        check_start(detector("bbox_head"), old, tmp_path / "theirs.pth")
    check_start(detector("bbox_head"), {**old, **NEW}, tmp_path / "theirs.pth")
    check_start(detector("other_head"), old, tmp_path / "theirs.pth")  # the backbone fits
