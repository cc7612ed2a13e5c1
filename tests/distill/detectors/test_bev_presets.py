# SPDX-License-Identifier: Apache-2.0
"""BEVDistill's, DistillBEV's and TiG-BEV's objectives are configs of the zoo: each term teaches."""

from __future__ import annotations

import pytest
import torch

from lidistill.engine.configs.read import load_config
from lidistill.methods.feature_kd import FeatureKD
from tests.conftest import ROOT
from tests.methods.test_unidistill import BOXES, Detector, batch_of, outputs

PRESETS = {
    "bevdistill_world": {"dense", "sparse"},
    "distillbev_world": {"foreground", "attention"},
    "tigbev_world": {"points", "channels"},
}


def preset(name: str) -> FeatureKD:
    """The config's terms on detectors that have names of modules only."""
    model = load_config(ROOT / "configs" / "feature_kd" / f"{name}.py").model
    torch.manual_seed(0)
    return FeatureKD(
        Detector(),
        dict(teacher=dict(model=Detector())),
        model.terms,
        heatmaps=model.get("heatmaps", ()),
    ).train()


def found(method: FeatureKD, batch: dict):
    student, teacher = outputs(high=96), outputs(seed=1, high=96)
    for name in method.losses:
        setattr(student, name, student.high)
        setattr(teacher, name, teacher.high)
    for name, made in zip(method.heatmaps, ("task0_heatmap", "task1_heatmap"), strict=False):
        setattr(student, name, getattr(student, made))
    return student, method.distill_losses(student, {"teacher": teacher}, batch)


@pytest.mark.parametrize("name", PRESETS)
def test_every_term_teaches(name):
    method = preset(name)
    student, losses = found(method, batch_of(*BOXES))
    assert set(losses) == PRESETS[name]
    for term, value in losses.items():
        assert value > 0, term
        (gradient,) = torch.autograd.grad(value, student.high.features, retain_graph=True)
        assert gradient.abs().sum() > 0, term


@pytest.mark.parametrize("name", PRESETS)
def test_without_boxes_terms_on_boxes_are_zero_with_gradient(name):
    method = preset(name)
    if method.heatmaps:  # what the student invents counts without boxes, too
        method.choices["foreground"][0].false_positives = None
    student, losses = found(method, batch_of([], []))
    for term, value in losses.items():
        assert (value == 0) == (term != "attention"), term
    sum(losses.values()).backward()
    assert student.high.features.grad is not None
