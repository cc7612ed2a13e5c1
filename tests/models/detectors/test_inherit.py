# SPDX-License-Identifier: Apache-2.0
"""Teacher-guided initialisation: a teacher with dead channels and a student without them agree."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lidistill.hooks.teacher_guided import REPORT, TeacherGuidedInit
from lidistill.models.detectors.compress import compressed_detector
from lidistill.models.detectors.inherit import Layer, channel_flow, inherit, take, widths
from tests.methods import small_detectors

DETECTORS = {
    "pointpillars": small_detectors.pillars,
    "second": small_detectors.second,
    "centerpoint": small_detectors.centerpoint,
}


def narrow(name: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Half as wide everywhere."""
    half = partial(compressed_detector, encoder=0.5, backbone=0.5, head=0.5)
    monkeypatch.setattr(small_detectors, "mmdet3d_detector", half)
    return DETECTORS[name](16)


def kill_channels(teacher: nn.Module, flow: list[Layer], student: nn.Module) -> None:
    """All but as many channels as the student has give zero behind each norm, at random places."""
    own, theirs = dict(student.named_modules()), dict(teacher.named_modules())
    alive: dict[str, torch.Tensor] = {}
    for layer in flow:
        if layer.norm is None:
            continue
        norm = theirs[layer.norm]
        count = widths(own[layer.name])[1]
        kept = alive.get(layer.tied) if layer.tied else None
        if kept is None:
            kept = torch.randperm(len(norm.weight))[:count]
        alive[layer.name] = kept
        gain = torch.zeros(len(norm.weight))
        gain[kept] = torch.rand(count) + 0.5
        norm.weight.data.copy_(gain)
        norm.bias.data.copy_(torch.where(gain > 0, torch.randn(len(gain)) * 0.1, 0.0))


@pytest.mark.parametrize("name", DETECTORS)
def test_a_student_without_the_dead_channels_is_the_teacher(name, monkeypatch):
    """The oracle: concatenated, flattened and residual maps included, nothing is lost."""
    teacher, student = DETECTORS[name](16, seed=1), narrow(name, monkeypatch)
    flow = channel_flow(student)
    modules = student.named_modules()
    weighted = {n for n, m in modules if isinstance(getattr(m, "weight", 0), nn.Parameter)}
    assert weighted == {layer.name for layer in flow} | {layer.norm for layer in flow} - {None}
    torch.manual_seed(3)
    kill_channels(teacher, flow, student)
    report = inherit(student, teacher, by="gain")
    assert report.left == {}
    batch = small_detectors.batch(name)
    outputs = []
    for detector in (student.eval(), teacher.eval()):
        with torch.no_grad():
            outputs.append(logits(detector, detector.data_preprocessor(batch, False)))
    for own, theirs in zip(*map(tensors, outputs), strict=True):
        assert theirs.std() > 0
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-5)


def logits(detector: nn.Module, data: dict):
    if not hasattr(detector, "pts_bbox_head"):
        return detector.bbox_head(detector.extract_feat(data["inputs"]))
    metas = [sample.metainfo for sample in data["data_samples"]]
    return detector.pts_bbox_head(detector.extract_feat(data["inputs"], metas)[1])


def tensors(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [tensor for item in values for tensor in tensors(item)]


def test_first_channels_by_loops():
    """Level by level where the neck's maps stand side by side, by a loop over every weight."""
    teacher, student = small_detectors.pillars(16, seed=1), small_detectors.pillars(8)
    report = inherit(student, teacher)
    assert report.kept["neck.deblocks.1.0"] == (8, 16)
    own, theirs = student.bbox_head.conv_cls.weight, teacher.bbox_head.conv_cls.weight
    assert own.shape[:2] == (18, 24)
    for row in range(18):
        for level in range(3):
            for channel in range(8):
                assert own[row, level * 8 + channel] == theirs[row, level * 16 + channel]
    assert torch.equal(student.bbox_head.conv_cls.bias, teacher.bbox_head.conv_cls.bias)
    deconv = student.neck.deblocks[1][0].weight, teacher.neck.deblocks[1][0].weight
    for i in range(8):
        for o in range(8):
            assert torch.equal(deconv[0][i, o], deconv[1][i, o])
    norm = student.voxel_encoder.pfn_layers[0].norm, teacher.voxel_encoder.pfn_layers[0].norm
    assert torch.equal(norm[0].running_mean, norm[1].running_mean[:8])


def test_equal_sizes_give_the_teacher():
    teacher, student = small_detectors.centerpoint(8, seed=1), small_detectors.centerpoint(8)
    inherit(student, teacher, by="gain")
    other = teacher.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in student.state_dict().items())


def test_take_knows_the_order_of_weights():
    rows, columns = torch.tensor([2, 0]), torch.tensor([1])
    conv, turned = nn.Conv2d(2, 3, 1), nn.ConvTranspose2d(2, 3, 1)
    assert take(conv, rows, columns)[0, 0] == conv.weight[2, 1]
    assert take(turned, rows, columns)[0, 1] == turned.weight[1, 0]
    with pytest.raises(Exception, match="grouped"):
        take(nn.Conv2d(2, 2, 1, groups=2), torch.tensor([0]), torch.tensor([0]))


def test_what_does_not_fit_is_left_and_named():
    teacher, student = small_detectors.pillars(8, seed=1), small_detectors.pillars(8)
    student.backbone.blocks[1][0] = nn.Conv2d(8, 8, 5, padding=2, bias=False)
    before = student.neck.deblocks[1][0].weight.clone()
    report = inherit(student, teacher)
    assert "(8, 8, 3, 3) for (8, 8, 5, 5)" in report.left["backbone.blocks.1.0"]
    assert report.left["backbone.blocks.1.3"] == "it reads backbone.blocks.1.0"
    assert torch.equal(student.neck.deblocks[1][0].weight, before)
    assert "layers begin as the teacher's" in str(report)


def test_errors_say_what_is_known():
    model = small_detectors.pillars(8)
    with pytest.raises(ValueError, match=r"by must be one of \('first', 'gain'\), got 'last'"):
        inherit(model, model, by="last")
    model.backbone = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="backbone with blocks"):
        channel_flow(model)


def test_the_hook_copies_once_and_says_what(tmp_path):
    student, teacher = small_detectors.pillars(8), small_detectors.pillars(16, seed=1)
    model = SimpleNamespace(student=student, teachers={"big": SimpleNamespace(model=teacher)})
    notes: list[str] = []
    logger = SimpleNamespace(info=notes.append)
    runner = SimpleNamespace(iter=5, model=model, work_dir=str(tmp_path), logger=logger)
    before = student.bbox_head.conv_cls.bias.clone()
    TeacherGuidedInit("big").before_train(runner)  # a run that continues
    assert torch.equal(student.bbox_head.conv_cls.bias, before)
    assert notes == []
    runner.iter = 0
    teacher.bbox_head.conv_cls.bias.data.fill_(3.0)
    TeacherGuidedInit("big").before_train(runner)
    assert set(student.bbox_head.conv_cls.bias.tolist()) == {3.0}
    assert notes[0].endswith("0 as they were")
    assert "backbone.blocks.0.0: 8 of 16 channels" in (tmp_path / REPORT).read_text()
    with pytest.raises(ValueError, match=r"takes the teacher 'teacher'; there are \['big'\]"):
        TeacherGuidedInit().before_train(runner)
