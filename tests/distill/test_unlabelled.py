# SPDX-License-Identifier: Apache-2.0
"""Frames without labels: the student's own loss is a mean over the labelled ones alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from lidistill.datasets.detections import strip_labels
from lidistill.distill.audit import audit
from lidistill.distill.connectors import Conv1x1
from lidistill.distill.detectors.choices import Foreground, Gaussian, Score, TopK
from lidistill.distill.detectors.labels import TeacherBoxes
from lidistill.distill.unlabelled import (
    is_labelled,
    labelled_rows,
    own_loss_on,
    refuse_without_teacher,
    with_empty_labels,
)
from lidistill.losses import feature
from lidistill.methods.feature_kd import FeatureKD
from lidistill.methods.pointdistiller import PointDistiller
from tests.methods import small_detectors

DETECTORS = {
    "pointpillars": small_detectors.pillars,
    "second": small_detectors.second,
    "centerpoint": small_detectors.centerpoint,
}


def marked(name: str, labelled: list[bool]) -> dict[str, Any]:
    """A batch with some of its samples unlabelled."""
    batch = small_detectors.batch(name, len(labelled))
    for sample, known in zip(batch["data_samples"], labelled, strict=True):
        if not known:
            strip_labels(sample)
    return batch


def own_losses(detector: Any, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The detector's losses, batch norms at rest so that samples do not see each other."""
    detector = copy.deepcopy(detector).eval()
    with own_loss_on(detector, labelled_rows(batch)):
        data = detector.data_preprocessor(with_empty_labels(copy.deepcopy(batch)), True)
        losses = detector(**data, mode="loss")
    return {
        key: torch.stack(list(value)).sum() if isinstance(value, list | tuple) else value
        for key, value in losses.items()
    }


@pytest.mark.parametrize("name", DETECTORS)
def test_the_loss_is_that_of_the_labelled_samples_alone(name):
    detector = DETECTORS[name]()
    whole = small_detectors.batch(name, 3)
    alone = {
        "inputs": {key: [v[0], v[2]] for key, v in whole["inputs"].items()},
        "data_samples": [whole["data_samples"][0], whole["data_samples"][2]],
    }
    expected = own_losses(detector, alone)
    found = own_losses(detector, marked(name, [True, False, True]))
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)
    assert sum(value.item() for value in found.values()) > 0


@pytest.mark.parametrize("name", DETECTORS)
def test_a_batch_without_labels_has_losses_of_zero_with_gradient(name):
    detector = DETECTORS[name]()
    labelled = own_losses(detector, marked(name, [True, True]))
    found = own_losses(detector, marked(name, [False, False]))
    assert found.keys() == labelled.keys()
    assert all(value == 0 for value in found.values())
    assert all(value.requires_grad for key, value in found.items() if labelled[key].requires_grad)


def test_all_labelled_is_bit_for_bit_as_before():
    detector = small_detectors.pillars().eval()
    batch = marked("pointpillars", [True, True])
    assert with_empty_labels(batch) is batch
    data = copy.deepcopy(detector).data_preprocessor(copy.deepcopy(batch), True)
    plain = copy.deepcopy(detector)(**data, mode="loss")
    found = own_losses(detector, batch)
    for key, value in plain.items():
        assert torch.equal(found[key], torch.stack(list(value)).sum())
    with own_loss_on(detector, [True, True]):
        assert "loss_by_feat" not in vars(detector.bbox_head)


def test_the_head_is_as_it_was_afterwards():
    detector = small_detectors.pillars()
    with pytest.raises(KeyError), own_loss_on(detector, [False]):
        raise KeyError("a failing step")
    assert "loss_by_feat" not in vars(detector.bbox_head)


def make(terms: dict[str, Any], **changes: Any) -> FeatureKD:
    teacher = small_detectors.settle(small_detectors.second(16, seed=1), "second")
    built = {name: {"tap": "neck[0]", **term} for name, term in terms.items()}
    return FeatureKD(
        small_detectors.second(8), {"teacher": {"model": teacher}}, copy.deepcopy(built), **changes
    )


FITNET = dict(loss=feature.fitnet, connector=dict(type=Conv1x1, in_channels=16, out_channels=32))


def test_the_teacher_alone_trains_where_there_are_no_labels():
    model = make({"neck": {**FITNET, "places": [TopK(50)]}})
    result = model.forward_terms(marked("second", [False, False]))
    assert model.observations["labelled_frames"] == 0
    own = sum(torch.stack(list(value)).sum() for value in result.student_losses.values())
    weights = [p for p in model.student.backbone.parameters() if p.requires_grad]
    of_own = torch.autograd.grad(own, weights, retain_graph=True, allow_unused=True)
    of_term = torch.autograd.grad(result.terms["neck"], weights, allow_unused=True)
    assert all(g is None or not g.any() for g in of_own)
    assert any(g is not None and g.abs().sum() > 0 for g in of_term)
    model.forward_terms(marked("second", [True, True]))
    assert model.observations["labelled_frames"] == 2  # not the number of a batch before


def test_terms_see_all_frames_and_the_own_loss_the_labelled_ones():
    terms = {"neck": {**FITNET, "places": [TopK(50)]}}
    batch = small_detectors.batch("second", 2)
    some = {**batch, "data_samples": copy.deepcopy(batch["data_samples"])}
    strip_labels(some["data_samples"][1])
    torch.manual_seed(0)
    whole = make(terms).forward_terms(batch)
    torch.manual_seed(0)
    part = make(terms).forward_terms(some)
    torch.testing.assert_close(part.terms["neck"], whole.terms["neck"])
    assert not torch.equal(part.student_losses["loss_cls"][0], whole.student_losses["loss_cls"][0])


@pytest.mark.parametrize("choice", [Gaussian(), Foreground()])
def test_places_by_boxes_need_a_teachers_boxes_there(choice):
    batch = marked("second", [True, False])
    with pytest.raises(ValueError, match=r"frames without labels; choose places by TopK"):
        make({"neck": {**FITNET, "places": [choice]}}).forward_terms(batch)
    sure = TeacherBoxes("teacher", score=0.0)
    model = make({"neck": {**FITNET, "places": [choice]}}, unlabelled=sure)
    model.teachers["teacher"].model.test_cfg.score_thr = 0.0
    assert model.forward_terms(batch).terms["neck"].isfinite()


def test_a_teachers_boxes_join_labels_only_where_there_are_some():
    model = make({"neck": {**FITNET, "places": [Score()]}}, labels={"score": 0.0})
    model.teachers["teacher"].model.test_cfg.score_thr = 0.0
    batch = marked("second", [True, False])
    model.forward_terms(batch)
    assert [is_labelled(sample) for sample in batch["data_samples"]] == [True, False]
    assert model.observations["labelled_frames"] == 1


def test_point_distiller_takes_frames_without_labels():
    teacher = small_detectors.settle(small_detectors.second(16, seed=1), "second")
    graph = dict(tap="backbone[0]", channels=(8, 16), width=8, queries=16, neighbours=4)
    model = PointDistiller(
        small_detectors.second(8), {"model": teacher}, graphs={"stage1": graph}, reweight=False
    )
    result = model.forward_terms(marked("second", [False, False]))
    assert result.terms["stage1"] > 0
    report = audit(model, marked("second", [True, False]))
    assert report is not None


def test_pointrcnn_is_refused_by_name():
    detector = small_detectors.pointrcnn()
    message = "PointRCNN cannot be trained on frames without labels"
    with pytest.raises(ValueError, match=message), own_loss_on(detector, [True, False]):
        pass
    with own_loss_on(detector, [True, True]):
        assert detector.rpn_head is not None


def test_a_detector_without_a_teacher_is_refused_by_name():
    plain = torch.nn.Linear(1, 1)
    refuse_without_teacher(plain, {"type": "SeededDetections", "labelled": None})
    refuse_without_teacher(make({"fitnet": FITNET}), {"labelled": 2})
    refuse_without_teacher(plain, {"labelled": 0.1, "keep_unlabelled": False})  # the twin
    with pytest.raises(ValueError, match=r"(?s)a Distiller for data with labelled=2, got Linear"):
        refuse_without_teacher(plain, {"labelled": 2})
