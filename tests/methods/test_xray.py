# SPDX-License-Identifier: Apache-2.0
"""X-Ray on unmodified mmdet3d detectors, against loops over cells, anchors and boxes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lidistill.datasets.detections import strip_labels
from lidistill.datasets.object_complete.transforms import TEACHER_POINTS
from lidistill.distill.audit import audit
from lidistill.methods.xray import XRay
from tests.methods import small_detectors

HEAD = dict(classes="bbox_head.conv_cls", boxes=["bbox_head.conv_reg"], anchors=6)
CENTER = dict(
    classes="pts_bbox_head.task_heads.0.heatmap",
    boxes=[f"pts_bbox_head.task_heads.0.{part}" for part in ("reg", "height", "dim", "rot")],
)


@pytest.fixture(scope="module")
def detectors() -> tuple[nn.Module, nn.Module]:
    """Student and teacher of one form; other weights."""
    return tuple(
        small_detectors.settle(small_detectors.pillars(8, seed=seed), "pointpillars")
        for seed in (0, 1)
    )


@pytest.fixture
def batch() -> dict:
    """The teacher's cars have twice the points."""
    made = small_detectors.batch()
    points = made["inputs"]["points"]
    made["inputs"][TEACHER_POINTS] = [torch.cat([p, p[-600:] + 0.01]) for p in points]
    return made


def make(detectors, complete=True, **settings) -> XRay:
    student, teacher = detectors
    kept = {"feature": "neck[0]", "heads": [HEAD], "score": 0.0, **settings}
    return XRay(student, dict(model=teacher, complete=complete), **kept).train()


def outputs(method: XRay, batch: dict):
    with method.student_taps.capture(method.student) as student:
        data = method.student.data_preprocessor(batch, True)
        method.student._forward(data["inputs"])
    teacher = method.teachers["teacher"](method.teacher_batch("teacher", batch))
    return student, {"teacher": teacher}


def naive(student, teacher, batch, ranges) -> dict[str, float]:
    """Cell by cell, anchor by anchor."""
    own, target = student.feature.features, teacher.feature.features
    size = own.shape[-1]
    cell = (ranges[3] - ranges[0]) / size
    square = []
    for sample, labels in enumerate(batch["data_samples"]):
        for row in range(size):
            for column in range(size):
                x = ranges[0] + (column + 0.5) * cell
                y = ranges[1] + (row + 0.5) * cell
                for (
                    cx,
                    cy,
                    _,
                    length,
                    width,
                    _,
                    yaw,
                ) in labels.gt_instances_3d.bboxes_3d.tensor.tolist():
                    dx, dy = x - cx, y - cy
                    along = dx * math.cos(yaw) + dy * math.sin(yaw)
                    across = dy * math.cos(yaw) - dx * math.sin(yaw)
                    if abs(along) <= length / 2 and abs(across) <= width / 2:
                        gap = own[sample, :, row, column] - target[sample, :, row, column]
                        square.append(gap.square().mean())
                        break
    classes, boxes, weights = [], [], []
    for sample in range(len(own)):
        for row in range(size):
            for column in range(size):
                for anchor in range(6):
                    at = (sample, slice(3 * anchor, 3 * anchor + 3), row, column)
                    p, q = (
                        teacher.classes_0.features[at].sigmoid(),
                        student.classes_0.features[at].sigmoid(),
                    )
                    weights.append(p.max())
                    both = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
                    classes.append(both.sum())
                    at = (sample, slice(7 * anchor, 7 * anchor + 7), row, column)
                    gap = student.boxes_0_0.features[at] - teacher.boxes_0_0.features[at]
                    boxes.append(gap.abs().sum())
    weight = torch.stack(weights)
    weight = weight / weight.sum()
    return {
        "feature": float(torch.stack(square).mean()),
        "classes": float((weight * torch.stack(classes)).sum()),
        "boxes": float((weight * torch.stack(boxes)).sum()),
    }


def test_losses_equal_naive_loops(detectors, batch):
    method = make(detectors)
    with torch.no_grad():
        student, teachers = outputs(method, batch)
        found = method.distill_losses(student, teachers, batch)
        expected = naive(student, teachers["teacher"], batch, method.ranges[0])
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-4), name


def test_the_teacher_sees_complete_frames_and_the_student_does_not(detectors, batch):
    method = make(detectors)
    seen = method.teacher_batch("teacher", batch)["inputs"]["points"]
    assert [len(p) for p in seen] == [len(p) for p in batch["inputs"][TEACHER_POINTS]]
    assert len(batch["inputs"]["points"][0]) < len(seen[0])
    with pytest.raises(ValueError, match="SplitObjectComplete"):
        method.teacher_batch("teacher", small_detectors.batch())


def test_gradients_reach_the_student_alone(detectors, batch):
    method = make(detectors, weights=dict(feature=2.0))
    report = audit(method, batch)
    for term in ("feature", "classes", "boxes"):
        assert report.gradient_norms[term]["student"] > 0
    assert all(not p.requires_grad for p in method.teachers["teacher"].model.parameters())
    assert {key.split(".")[0] for key in method.state_dict()} == {"student"}


@pytest.mark.parametrize("term", ["feature", "classes", "boxes"])
def test_each_term_can_stand_alone(detectors, batch, term):
    method = make(detectors, terms=[term])
    losses = method(**batch, mode="loss")
    assert {name for name in losses if name.startswith("raw_")} == {f"raw_{term}"}
    assert "loss_cls" in losses


def test_settings_that_leave_nothing_are_refused(detectors):
    with pytest.raises(ValueError, match="no term left"):
        make(detectors, feature=None, heads=[])
    with pytest.raises(ValueError, match=r"got \['response'\]"):
        make(detectors, terms=["response"])
    other = small_detectors.mmdet3d_detector(
        small_detectors.SHIPPED["pointpillars"],
        small_detectors.RANGE,
        (0.64, 0.64, 4),
        dict(bbox_head=dict(anchor_generator=dict(sizes=[[1, 1, 1], [2, 1, 1], [4, 2, 2]]))),
    )
    with pytest.raises(ValueError, match="mean different things"):
        XRay(detectors[0], dict(model=other), heads=[HEAD])


def test_another_width_needs_a_connector(batch):
    from lidistill.distill.connectors import Linear

    student, teacher = small_detectors.pillars(8), small_detectors.pillars(16, seed=1)
    wide = XRay(
        student,
        dict(model=teacher),
        feature="neck[0]",
        terms=["feature"],
        connector=Linear(24, 48),
    ).train()
    wide(**batch, mode="loss")["loss_feature"].backward()
    assert any(p.grad.abs().sum() > 0 for p in wide.connectors.parameters())


def test_frames_without_objects_are_zero_with_gradient(detectors, batch):
    method = make(detectors, terms=["feature"])
    for sample in batch["data_samples"]:
        sample.gt_instances_3d = sample.gt_instances_3d[:0]
    loss = method(**batch, mode="loss")["loss_feature"]
    assert loss.item() == 0.0
    loss.backward()
    sure = make(detectors, feature=None, score=1.1)
    losses = sure(**batch, mode="loss")
    assert losses["loss_classes"].item() == losses["loss_boxes"].item() == 0.0


def test_pseudo_labels_on_frames_without_labels(detectors, batch):
    """The teacher's sure boxes are the student's labels there; the labelled frame keeps its own."""
    strip_labels(batch["data_samples"][1])
    method = make(detectors, pseudo=dict(teacher="teacher", score=0.0))
    losses = method(**batch, mode="loss")
    assert losses["pseudo_boxes"].item() > 0
    assert "labelled_frames" not in losses
    assert all(torch.isfinite(v).all() for v in losses.values() if isinstance(v, torch.Tensor))
    teachers = {"teacher": method.teachers["teacher"](method.teacher_batch("teacher", batch))}
    seen = method.student_batch(batch, teachers)["data_samples"]
    truth = batch["data_samples"][0].gt_instances_3d
    assert seen[0].gt_instances_3d is truth
    found = teachers["teacher"].predicted[1].pred_instances_3d
    torch.testing.assert_close(seen[1].gt_instances_3d.bboxes_3d.tensor, found.bboxes_3d.tensor)
    assert "gt_instances_3d" not in batch["data_samples"][1]
    high = make(detectors, pseudo=dict(teacher="teacher", score=0.999))
    assert high(**batch, mode="loss")["pseudo_boxes"].item() == 0
    with pytest.raises(ValueError, match="frames without labels"):
        make(detectors)(**batch, mode="loss")


def test_pseudo_labels_alone_and_a_teacher_of_ordinary_frames(detectors, batch):
    """Mean Teacher's form: no object-complete cloud is needed, and no term."""
    strip_labels(batch["data_samples"][1])
    labels = dict(pseudo=dict(teacher="teacher", score=0.0), terms=[])
    complete = make(detectors, **labels)
    ordinary = make(detectors, complete=False, **labels)
    assert complete(**batch, mode="loss").keys() == ordinary(**batch, mode="loss").keys()
    points = batch["inputs"].pop(TEACHER_POINTS)
    assert ordinary.teacher_batch("teacher", batch) is batch
    losses = ordinary(**batch, mode="loss")
    assert losses["pseudo_boxes"].item() > 0
    assert not {"loss_feature", "loss_classes", "loss_boxes"} & set(losses)
    with pytest.raises(ValueError, match="sees object-complete frames"):
        complete(**batch, mode="loss")
    batch["inputs"][TEACHER_POINTS] = batch["inputs"]["points"]
    same = complete(**batch, mode="loss")
    assert same["pseudo_boxes"] == losses["pseudo_boxes"]
    assert len(points) == 2
    with pytest.raises(ValueError, match="no term left"):
        make(detectors, terms=[])


def test_order_of_the_points_changes_nothing(detectors, batch):
    method = make(detectors).eval()
    flipped = {
        **batch,
        "inputs": {name: [p.flip(0) for p in clouds] for name, clouds in batch["inputs"].items()},
    }
    values = []
    with torch.no_grad():
        for each in (batch, flipped):
            student, teachers = outputs(method, each)
            values.append(method.distill_losses(student, teachers, each))
    for name in ("feature", "classes", "boxes"):
        # voxels keep the first 32 points: nearly all have fewer
        assert values[0][name].item() == pytest.approx(values[1][name].item(), rel=0.05)


@pytest.mark.parametrize("kind", ["second", "centerpoint"])
def test_other_detectors(kind):
    student, teacher = (getattr(small_detectors, kind)(8, seed=seed) for seed in (0, 1))
    made = small_detectors.batch(kind)
    made["inputs"][TEACHER_POINTS] = made["inputs"]["points"]
    feature, head = ("neck[0]", HEAD) if kind == "second" else ("pts_neck[0]", CENTER)
    method = XRay(student, dict(model=teacher), feature=feature, heads=[head], score=0.0).train()
    losses = method(**made, mode="loss")
    sum(losses[f"loss_{term}"] for term in ("feature", "classes", "boxes")).backward()
    grads = [p.grad for p in student.parameters() if p.grad is not None]
    assert sum(float(g.abs().sum()) for g in grads) > 0
