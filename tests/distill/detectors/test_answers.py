# SPDX-License-Identifier: Apache-2.0
"""Answers of anchor heads beside loops over anchors; CenterPoint's are in test_monotakd."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lidistill.distill.detectors.answers import (
    DIRECTIONS,
    AnchorAnswers,
    CentreAnswers,
    answers_of,
)
from lidistill.distill.outputs import FeatureMap
from tests.methods.test_unidistill import Detector

CLASSES, EACH, SHAPE = 2, 3, (2, 4)  # anchors a cell


class Head(nn.Module):
    """Names and numbers of mmdet3d's Anchor3DHead."""

    def __init__(self, directions: bool = True) -> None:
        super().__init__()
        self.num_classes, self.box_code_size = CLASSES, 7
        self.conv_cls, self.conv_reg = nn.Identity(), nn.Identity()
        if directions:
            self.conv_dir_cls = nn.Identity()


def detector(directions=True):
    model = nn.Module()
    model.pts_bbox_head = Head(directions)
    return model


def side(seed, samples=2):
    generator = torch.Generator().manual_seed(seed)
    widths = {"cls": CLASSES * EACH, "reg": 7 * EACH, "dir": 2 * EACH}
    return SimpleNamespace(
        **{
            f"anchor_{key}": FeatureMap(
                torch.randn(samples, width, *SHAPE, generator=generator).requires_grad_()
            )
            for key, width in widths.items()
        }
    )


def naive(student, teacher, samples=2):
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    classes = boxes = turns = 0.0

    def number(outputs, key, b, y, x, anchor, n, count):
        return outputs[key].features[b, anchor * count + n, y, x].item()

    own, other = vars(student), vars(teacher)
    places = [(y, x, a) for y in range(SHAPE[0]) for x in range(SHAPE[1]) for a in range(EACH)]
    for b in range(samples):
        wanted = {
            p: [sigmoid(number(other, "anchor_cls", b, *p, n, CLASSES)) for n in range(CLASSES)]
            for p in places
        }
        for n in range(CLASSES):
            likely = max(1, sum(wanted[p][n] > 0.1 for p in places))
            for p in places:
                s, q = sigmoid(number(own, "anchor_cls", b, *p, n, CLASSES)), wanted[p][n]
                entropy = -q * math.log(s) - (1 - q) * math.log(1 - s)
                classes += entropy * (s - q) ** 2 / likely
        likely = max(1, sum(sum(wanted[p]) > 0.1 for p in places))
        for p in places:
            weight = sum(wanted[p]) * (sum(wanted[p]) > 0.1) / likely / samples
            for n in range(7):
                s, t = (number(o, "anchor_reg", b, *p, n, 7) for o in (own, other))
                gap = abs(math.sin(s - t) if n == 6 else s - t)
                boxes += weight * (4.5 * gap**2 if gap < 1 / 9 else gap - 1 / 18)
            s, t = ([number(o, "anchor_dir", b, *p, n, 2) for n in (0, 1)] for o in (own, other))
            chosen = int(t[1] > t[0])
            turns += weight * (math.log(math.exp(s[0]) + math.exp(s[1])) - s[chosen])
    return {"classes": classes, "boxes": boxes + DIRECTIONS * turns}


def test_anchors_beside_loops():
    answers = answers_of(detector())
    assert isinstance(answers, AnchorAnswers)
    assert {tap.path for tap in answers.taps.values()} == {
        f"pts_bbox_head.{part}" for part in ("conv_cls", "conv_reg", "conv_dir_cls")
    }
    student, teacher = side(0), side(1)
    found = answers.terms(student, teacher)
    for name, value in naive(student, teacher).items():
        assert found[name].item() == pytest.approx(value, rel=1e-4), name
    sum(found.values()).backward()
    assert all(m.features.grad.abs().sum() > 0 for m in vars(student).values())
    assert all(m.features.grad is None for m in vars(teacher).values())


def test_a_student_that_agrees_is_right():
    answers, student = answers_of(detector(directions=False)), side(0)
    assert set(answers.taps) == {"anchor_cls", "anchor_reg"}
    found = answers.terms(student, student)
    assert found["classes"].item() == 0
    assert found["boxes"].item() == 0


def test_no_samples():
    empty = answers_of(detector()).terms(side(0, 0), side(1, 0))
    assert sum(empty.values()).item() == 0
    sum(empty.values()).backward()


def test_other_heads():
    assert isinstance(answers_of(Detector()), CentreAnswers)
    with pytest.raises(ValueError, match="CenterPoint's head"):
        answers_of(nn.Linear(1, 1))
