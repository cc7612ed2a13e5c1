# SPDX-License-Identifier: Apache-2.0
"""Pretrained tensors into parts of a larger model."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lidistill.distill.parts import load_parts
from lidistill.hooks.pretrained import REPORT, PretrainedParts, set_pretrained


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.neck = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(1)
    student = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    state = {f"student.net.{name}": tensor for name, tensor in student.state_dict().items()}
    state |= {"student.neck.weight": torch.ones(4, 4), "student.neck.bias": torch.ones(4)}
    state |= {"connectors.point.weight": torch.ones(2, 4)}
    path = tmp_path / "iter_9.pth"
    torch.save({"state_dict": state, "meta": {}}, path)
    return path


def test_parts_are_filled_and_the_rest_stays(checkpoint):
    model = Detector()
    head = model.head.weight.clone()
    report = load_parts(model, checkpoint, {"encoder": "student.net", "neck": "student.neck"})
    state = torch.load(checkpoint)["state_dict"]
    assert torch.equal(model.encoder[0].weight, state["student.net.0.weight"])
    assert torch.equal(model.encoder[1].running_var, state["student.net.1.running_var"])
    assert torch.equal(model.neck.bias, torch.ones(4))
    assert torch.equal(model.head.weight, head)
    assert len(report.taken) == 9
    assert report.left == ["connectors.point.weight"]
    assert "neck.bias <- student.neck.bias" in str(report)
    assert "left: connectors.point.weight" in str(report)
    assert model.neck.bias.requires_grad


def test_a_file_that_is_the_part_alone(tmp_path):
    """A detector's own checkpoint, for the student of a method."""
    torch.manual_seed(2)
    whole, method = Detector(), nn.ModuleDict({"student": Detector()})
    torch.save({"state_dict": whole.state_dict(), "meta": {}}, tmp_path / "iter_9.pth")
    report = load_parts(method, tmp_path / "iter_9.pth", {"student": ""})
    assert report.left == []
    for name, tensor in whole.state_dict().items():
        assert torch.equal(method["student"].state_dict()[name], tensor)


def test_heads_of_mmdet3d_before_1_0_are_refused(tmp_path):
    """Every box was turned and its sides were swapped; a backbone says nothing of boxes."""
    old = nn.ModuleDict({"neck": nn.Linear(2, 2), "bbox_head": nn.Linear(2, 2)})
    meta = {"mmdet3d_version": "0.17.2"}
    torch.save({"state_dict": old.state_dict(), "meta": meta}, tmp_path / "old.pth")
    method = nn.ModuleDict({"student": copy.deepcopy(old)})
    with pytest.raises(ValueError, match=r"mmdet3d 0\.17\.2.*import_weights"):
        load_parts(method, tmp_path / "old.pth", {"student": ""})
    load_parts(method, tmp_path / "old.pth", {"student.neck": "neck"})


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"encoder": "student.other"}, "0 of 7 tensors matched"),
        ({"encoder": "student.net", "head": "student.neck"}, r"7 of 9 .*head.weight \[2, 4\] for"),
        ({"encodr": "student.net"}, "nearest names: encoder"),
    ],
)
def test_what_does_not_fit_is_an_error_and_changes_nothing(checkpoint, parts, words):
    model = Detector()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=words):
        load_parts(model, checkpoint, parts)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_hook_loads_once_and_not_into_a_run_that_continues(checkpoint, tmp_path):
    logged: list[str] = []
    runner = SimpleNamespace(
        iter=0, model=Detector(), work_dir=tmp_path, logger=SimpleNamespace(info=logged.append)
    )
    PretrainedParts(str(checkpoint), {"neck": "student.neck"}).before_train(runner)
    assert torch.equal(runner.model.neck.bias, torch.ones(4))
    assert "2 tensors taken" in (tmp_path / REPORT).read_text()
    assert "2 tensors taken" in logged[0]
    runner.iter, runner.model = 5, Detector()
    PretrainedParts(str(checkpoint), {"neck": "student.neck"}).before_train(runner)
    assert not torch.equal(runner.model.neck.bias, torch.ones(4))


def test_without_parts_nothing_would_be_loaded(checkpoint):
    with pytest.raises(ValueError, match=r"expected parts.*\{'student': ''\}"):
        PretrainedParts(str(checkpoint), {})


def test_config_gets_another_checkpoint_or_none():
    from mmengine.config import Config

    hook = {"type": PretrainedParts, "checkpoint": "stage://pretrain", "parts": {"a": "b"}}
    config = Config({"custom_hooks": [{"type": "Other"}, hook]})
    set_pretrained(config, "x.pth")
    assert config.custom_hooks[1].checkpoint == "x.pth"
    set_pretrained(config, None)
    assert [h["type"] for h in config.custom_hooks] == ["Other"]
    with pytest.raises(ValueError, match="PretrainedParts"):
        set_pretrained(config, "x.pth")
