# SPDX-License-Identifier: Apache-2.0
"""The zoo on unmodified mmdet3d detectors: taps, places, connectors, several teachers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lidistill.distill.audit import audit
from lidistill.distill.connectors import Conv1x1, Linear, Orthogonal
from lidistill.distill.detectors.choices import (
    Foreground,
    Gaussian,
    Occupied,
    RandomPlaces,
    Score,
    TopK,
)
from lidistill.distill.detectors.edge_conv import Gaussian as GaussianRegressor
from lidistill.distill.detectors.edge_conv import MaskedGenerator
from lidistill.distill.detectors.labels import TeacherBoxes, add_teacher_boxes
from lidistill.distill.outputs import FeatureMap
from lidistill.distill.schedules import Ramp
from lidistill.geometry.bev_grid import BEVGrid
from lidistill.losses import feature, relation, response
from lidistill.methods.feature_kd import FeatureKD, adapted
from tests.methods import small_detectors

TERMS = dict(  # all of the zoo, on SECOND: BEV maps of 16 and 32, of 16 and 8 channels
    fitnet=dict(loss=feature.fitnet, connector=dict(type=Conv1x1, in_channels=16, out_channels=32)),
    mgd=dict(loss=feature.fitnet, connector=MaskedGenerator(16, 32)),
    at=dict(loss=feature.attention_transfer, places=[Occupied()]),
    cwd=dict(
        loss=dict(type=feature.channel_wise, temperature=2.0),
        connector=Linear(16, 32),
        places=[dict(type=Gaussian)],
    ),
    pkd=dict(loss=feature.pearson_knowledge, connector=Linear(16, 32)),
    vid=dict(loss=feature.variational_information, connector=GaussianRegressor(16, 32)),
    vkd=dict(loss=feature.orthogonal_projection, connector=Orthogonal(16, 32)),
    sp=dict(loss=relation.similarity_preserving, places=[TopK(20)]),
    rkd=dict(loss=relation.relational, places=[RandomPlaces(10)]),
    nst=dict(loss=relation.neuron_selectivity),
    pkt=dict(loss=relation.probabilistic_transfer, places=[Foreground(1.0)]),
)


@pytest.fixture(scope="module")
def second() -> tuple[nn.Module, nn.Module]:
    teacher = small_detectors.second(16, seed=1)
    return small_detectors.second(8), small_detectors.settle(teacher, "second")


@pytest.fixture(scope="module")
def batch() -> dict:
    return small_detectors.batch("second")


def make(second, terms: dict, tap: str = "neck[0]") -> FeatureKD:
    student, teacher = second
    torch.manual_seed(0)
    terms = {name: {"tap": tap, **term} for name, term in terms.items()}
    return FeatureKD(student, dict(teacher=dict(model=teacher)), terms).train()


def test_every_objective_teaches_the_student(second, batch):
    method = make(second, TERMS)
    report = audit(method, batch)  # an error where a term gives no gradient
    assert set(report.values) == set(TERMS)
    assert report.coverage["sp_coverage"] == 40 / 128
    assert 0 < report.coverage["cwd_coverage"] < 1
    trained = {name for name, term in TERMS.items() if "connector" in term}
    for name in trained:
        assert report.gradient_norms[name][f"connectors.{name}"] > 0


def test_a_term_equals_the_loss_on_the_maps(second, batch):
    method = make(second, dict(at=dict(loss=feature.attention_transfer)))
    with method.student_taps.capture(method.student) as student:
        data = method.student.data_preprocessor(batch, True)
        maps = method.student.extract_feat(data["inputs"])[0]
    teacher = method.teachers["teacher"](batch)
    found = method.distill_losses(student, {"teacher": teacher}, batch)["at"]
    own, target = maps.square().mean(1), teacher.at.features.square().mean(1)
    gap = own.flatten(1) / own.flatten(1).norm(dim=1, keepdim=True)
    gap = gap - target.flatten(1) / target.flatten(1).norm(dim=1, keepdim=True)
    assert found.item() == pytest.approx(gap.square().mean().item(), rel=1e-4)


def test_teachers_and_students_of_unequal_voxels():
    student = small_detectors.pillars(8, voxel=0.64)
    teachers = dict(
        fine=dict(model=small_detectors.pillars(8, voxel=0.32, seed=1)),
        same=dict(model=small_detectors.pillars(8, seed=2)),
    )
    terms = dict(
        map=dict(loss=feature.pearson_knowledge, tap="neck[0]", teacher="fine"),
        voxels=dict(loss=feature.fitnet, tap="voxel_encoder", teacher="fine"),
        same=dict(loss=feature.fitnet, tap="voxel_encoder", teacher="same", places=[TopK(9)]),
    )
    report = audit(FeatureKD(student, teachers, terms).train(), small_detectors.batch())
    assert report.coverage["map_coverage"] == 1.0
    assert all(norms["student"] > 0 for norms in report.gradient_norms.values())


def test_a_connector_with_a_stride_keeps_the_rectangle():
    grid = BEVGrid((-2.0, 6.0), (0.0, 3.0), (1.0, 0.5))
    own, halved = FeatureMap(torch.randn(2, 3, 6, 8), grid), torch.nn.AvgPool2d(2)
    assert adapted(own, halved).grid == BEVGrid((-2.0, 6.0), (0.0, 3.0), (2.0, 1.0))
    assert adapted(FeatureMap(own.features), halved).grid is None


def test_logits_survive_the_in_place_sigmoid_of_mmdet3d():
    """CenterHead's loss overwrites its heatmap logits; the term must see them as they were."""
    student, teacher = small_detectors.centerpoint(8), small_detectors.centerpoint(8, seed=1)
    tap = "pts_bbox_head.task_heads.0.heatmap"
    pivotal = [Gaussian(), Score(0.0, weigh=True)]
    method = FeatureKD(
        student,
        dict(teacher=dict(model=teacher)),
        dict(heat=dict(loss=response.pivotal_logits, tap=tap, places=pivotal)),
    ).train()
    batch = small_detectors.batch("centerpoint")
    result = method.forward_terms(batch)
    assert result.student.heat.features.min() < -1  # logits start at -2.19, not probabilities
    assert {"task0.loss_heatmap", "task0.loss_bbox"} <= set(result.student_losses)
    assert result.terms["heat"].item() > 0
    assert sum(p.grad is not None for p in teacher.parameters()) == 0


def test_weights_may_follow_a_schedule(second, batch):
    term = dict(
        loss=feature.attention_transfer, weight=dict(type=Ramp, start=4.0, end=0.0, until=0.5)
    )
    method = make(second, dict(at=term))
    method.progress = 0.25
    losses = method(**batch, mode="loss")
    assert losses["loss_at"].item() == pytest.approx(2 * losses["raw_at"].item())


def test_samples_without_boxes_are_zero_with_gradient(second):
    batch = small_detectors.batch("second")
    for sample in batch["data_samples"]:
        sample.gt_instances_3d = sample.gt_instances_3d[:0]
    method = make(second, dict(cwd=TERMS["cwd"]))
    found = method.forward_terms(batch).terms["cwd"]
    assert found.item() == 0.0
    found.backward()
    assert method.connectors["cwd"].weight.grad.abs().sum() == 0


def test_boxes_of_the_teacher_train_the_student(second, batch):
    """The student's own losses are those on the enlarged labels; places see the true ones."""
    student, teacher = second
    teacher.bbox_head.test_cfg.score_thr = 0.0
    with torch.no_grad():
        found = teacher.val_step(copy.deepcopy(batch))
    limit = sorted(found[0].pred_instances_3d.scores_3d.tolist())[-3] - 1e-6
    labels = TeacherBoxes(score=limit)
    term = dict(loss=feature.attention_transfer, tap="neck[0]", places=[Foreground()])
    method = FeatureKD(student, dict(teacher=dict(model=teacher)), dict(at=term), labels=labels)
    plain = FeatureKD(student, dict(teacher=dict(model=teacher)), dict(at=term))
    result, other = method.train().forward_terms(batch), plain.forward_terms(batch)
    samples, added = add_teacher_boxes(batch["data_samples"], found, labels)
    assert added >= 3
    assert method.observations["teacher_boxes"] == added
    data = student.data_preprocessor(dict(batch, data_samples=samples), True)
    for name, value in student(**data, mode="loss").items():
        torch.testing.assert_close(result.student_losses[name], value)
    assert result.terms["at"].item() == pytest.approx(other.terms["at"].item())
    assert result.student_losses["loss_cls"][0] != other.student_losses["loss_cls"][0]
    teacher.bbox_head.test_cfg.score_thr = 0.1


def test_errors_say_what_to_do(second, batch):
    with pytest.raises(ValueError, match=r"nearest names: .*neck"):
        make(second, TERMS, tap="nek[0]")
    method = make(second, dict(fitnet=dict(loss=feature.fitnet)))
    with pytest.raises(ValueError, match=r"term 'fitnet'.*16.*32 differ.*type=Linear"):
        method.forward_terms(batch)
    with pytest.raises(ValueError, match=r"has no arguments \['tau'\]"):
        make(second, dict(cwd=dict(loss=dict(type=feature.channel_wise, tau=1.0))))
    with pytest.raises(ValueError, match="needs the true class"):
        make(second, dict(dkd=dict(loss=response.decoupled_kd)))
    term = dict(loss=feature.variational_information, connector=Linear(16, 32))
    method = make(second, dict(vid=term))
    with pytest.raises(ValueError, match="connector with variances"):
        method.forward_terms(batch)
    with pytest.raises(ValueError, match="names the teacher 'big'; there are"):
        make(second, dict(at=dict(loss=feature.attention_transfer, teacher="big")))
    method = make(second, dict(cwd=TERMS["cwd"]))
    result = method.forward_terms(batch)
    unlabelled = dict(inputs=batch["inputs"])
    with pytest.raises(ValueError, match="Gaussian needs ground-truth boxes"):
        method.distill_losses(result.student, result.teachers, unlabelled)
