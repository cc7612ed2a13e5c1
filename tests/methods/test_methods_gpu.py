# SPDX-License-Identifier: Apache-2.0
"""Whole training steps on a CUDA device: losses and gradients of the CPU, and bfloat16."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lidistill.bench.slidr_step import DEMO, make_batch, make_slidr
from lidistill.distill.audit import audit
from lidistill.distill.connectors import Conv1x1, Linear
from lidistill.distill.detectors.choices import Foreground, Gaussian, Occupied, TopK
from lidistill.engine.amp import BFloat16OptimWrapper
from lidistill.losses import feature, relation, response
from lidistill.methods.feature_kd import FeatureKD
from lidistill.methods.pointdistiller import PointDistiller
from tests.methods import small_detectors
from tests.on_gpu import DEVICE, MARKS, exact_float32, moved, same_steps, step_on  # noqa: F401

pytestmark = MARKS
DETECTORS = {
    "pointpillars": small_detectors.pillars,
    "second": small_detectors.second,
    "centerpoint": small_detectors.centerpoint,
    "pointrcnn": small_detectors.pointrcnn,
}
LIKE_THE_CPU = [name for name in DETECTORS if name != "pointrcnn"]  # it samples at random


def settled(name: str, **options) -> nn.Module:
    """A detector whose batch norms know the batch, else untrained features fade to 1e-7."""
    detector = DETECTORS[name](**options).train()
    norms = [m for m in detector.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        data = detector.data_preprocessor(small_detectors.batch(name), True)
        detector(**data, mode="loss")
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    return detector


def half_step(model, batch, device: str) -> dict[str, float]:
    """Losses of a step as ``--amp`` runs it; the second, after the weights have moved."""
    model = copy.deepcopy(model).to(device)
    sgd = torch.optim.SGD(model.parameters(), lr=1e-4)
    optimizer = BFloat16OptimWrapper(optimizer=sgd, clip_grad=dict(max_norm=10.0))
    for _ in range(2):
        losses = model.train_step(batch, optimizer)
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    return {name: float(value) for name, value in losses.items()}


@pytest.mark.parametrize("name", LIKE_THE_CPU)
def test_detector_trains_as_on_the_cpu(name):
    same_steps(settled(name), small_detectors.batch(name))


@pytest.mark.parametrize("name", ["pointpillars", "second"])
def test_detector_finds_the_same_boxes(name):
    detector, found = settled(name).eval(), []
    for device in ("cpu", DEVICE):
        with torch.no_grad():
            samples = detector.to(device).test_step(small_detectors.batch(name))
        found.append([sample.pred_instances_3d for sample in samples])
    for here, there in zip(*found, strict=True):
        assert there.bboxes_3d.tensor.device.type == torch.device(DEVICE).type
        count = min(20, len(here), len(there))
        torch.testing.assert_close(
            there.scores_3d[:count].cpu(), here.scores_3d[:count], rtol=1e-3, atol=1e-4
        )


def test_point_rcnn_trains_and_finds_boxes():
    detector = settled("pointrcnn")
    losses, gradients = step_on(detector, small_detectors.batch("pointrcnn"), DEVICE)
    assert torch.tensor(list(losses.values())).isfinite().all()
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    with torch.no_grad():
        samples = detector.to(DEVICE).eval().test_step(small_detectors.batch("pointrcnn"))
    assert all(bool(s.pred_instances_3d.scores_3d.isfinite().all()) for s in samples)


@pytest.mark.parametrize("name", list(DETECTORS))
def test_detector_in_bfloat16_is_finite(name):
    losses = half_step(settled(name), small_detectors.batch(name), DEVICE)
    assert torch.tensor(list(losses.values())).isfinite().all()


def point_distiller(tap: str, pool: str = "none", in_space: bool = False) -> PointDistiller:
    pillars = tap == "voxel_encoder"
    name, channels = ("pointpillars", (8, 16)) if pillars else ("second", (64, 64))
    student, teacher = settled(name, width=8), settled(name, width=16, seed=1)
    torch.manual_seed(2)
    graph = dict(tap=tap, channels=channels, width=6, queries=40, neighbours=5, in_space=in_space)
    return PointDistiller(student, dict(model=teacher), dict(graph=graph), pool=pool).train()


@pytest.mark.parametrize("pool", ["none", "max"])
def test_point_distiller_on_pillars(pool):
    method = point_distiller("voxel_encoder", pool)
    same_steps(method, small_detectors.batch())


def test_point_distiller_on_sparse_voxels():
    """Output of a strided sparse layer: student and teacher give it in orders of their own."""
    method = point_distiller("middle_encoder.encoder_layers.encoder_layer3")
    same_steps(method, small_detectors.batch("second"))


def test_point_distiller_among_neighbours_in_space():
    method = point_distiller("voxel_encoder", in_space=True).to(DEVICE)
    batch = method.data_preprocessor(small_detectors.batch(), True)
    report = audit(method, batch)
    assert report.gradient_norms["graph"]["student"] > 0


def test_feature_kd_on_maps():
    student, teacher = settled("second", width=8), settled("second", width=16, seed=1)
    terms = dict(
        fitnet=dict(loss=feature.fitnet, connector=Conv1x1(16, 32)),
        at=dict(loss=feature.attention_transfer, places=[Occupied()]),
        cwd=dict(
            loss=dict(type=feature.channel_wise, temperature=2.0),
            connector=Linear(16, 32),
            places=[dict(type=Gaussian)],
        ),
        sp=dict(loss=relation.similarity_preserving, places=[TopK(20)]),
        nst=dict(loss=relation.neuron_selectivity),
        pkt=dict(loss=relation.probabilistic_transfer, places=[Foreground(1.0)]),
    )
    terms = {name: {"tap": "neck[0]", **term} for name, term in terms.items()}
    terms["logits"] = dict(tap="bbox_head.conv_cls", loss=response.bernoulli_kd)
    method = FeatureKD(student, dict(teacher=dict(model=teacher)), terms).train()
    same_steps(method, small_detectors.batch("second"))


def test_feature_kd_in_bfloat16_with_labels_of_the_teacher():
    student, teacher = settled("pointpillars"), small_detectors.pillars(24, seed=1)
    terms = dict(fitnet=dict(tap="neck[0]", loss=feature.fitnet, connector=Conv1x1(48, 72)))
    method = FeatureKD(student, dict(teacher=dict(model=teacher)), terms, labels=dict(score=0.01))
    losses = half_step(method.train(), small_detectors.batch(), DEVICE)
    assert torch.tensor(list(losses.values())).isfinite().all()


def slidr():
    teacher = {"depth": 18, "base_channels": 8, "stride": 16}
    return make_slidr(teacher, DEMO), {"inputs": make_batch((64, 96), 2, 60, 2)}


def test_slidr_trains_as_on_the_cpu():
    method, batch = slidr()
    same_steps(method, batch)


def test_slidr_in_bfloat16_is_near():
    method, batch = slidr()
    expected, _ = step_on(method, batch, DEVICE)
    losses = half_step(method, batch, DEVICE)
    assert losses["loss_infonce"] == pytest.approx(expected["loss_infonce"], rel=0.05)


def test_teachers_follow_the_distiller():
    method, _ = slidr()
    method = method.to(DEVICE)
    parameters = [p for t in method.teachers.values() for p in t.model.parameters()]
    assert {p.device.type for p in parameters} == {torch.device(DEVICE).type}
    batch = moved(slidr()[1], DEVICE)["inputs"]
    assert method(batch, mode="loss")["loss_infonce"].isfinite()
