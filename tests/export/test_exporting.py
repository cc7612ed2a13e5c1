# SPDX-License-Identifier: Apache-2.0
"""Export: round trips, value by value; plain students; requests that cannot be met."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lidistill.distill.weights import load_weights, read_state_dict
from lidistill.export.exporting import export_student
from lidistill.export.importing import import_weights
from lidistill.export.transfer import identity_stem
from lidistill.io import read_manifest
from lidistill.models.backbones.sparse_unet import SparseUNet
from tests.export.minkowski import random_state
from tests.export.samples import SIZES, checkpoint, shake, slidr_file


def test_second_stem_stays_near_the_identity_in_training():
    """On rectified Gaussian features its batch statistics are those it was made for."""
    torch.manual_seed(0)
    scale, shift = torch.tensor([0.5, 1.0, -2.0, 1.0]), torch.tensor([0.0, 1.5, -1.0, -9.0])
    added = identity_stem(scale, shift, 1e-5)
    norm = nn.BatchNorm1d(4)
    norm.load_state_dict({k[2:]: v for k, v in added.items() if k.startswith("1.")})
    x = (torch.randn(200_000, 4) * scale + shift).relu()
    torch.testing.assert_close(norm.eval()(x), x, rtol=1e-4, atol=1e-4)
    trained = norm.train()(x)
    assert (trained - x).abs().mean() < 0.01 * x.abs().mean()
    plain = nn.BatchNorm1d(4).train()(x).relu()  # what a fresh norm would have made of them
    assert (plain - x).abs().mean() > 0.1 * x.abs().mean()
    kernel = added["0.weight"]
    assert torch.equal(kernel.sum((1, 2, 3)), torch.eye(4))
    assert torch.equal(kernel[:, 1, 1, 1], torch.eye(4))


@pytest.mark.parametrize("to", ["slidr", "mmdet3d", "openpcdet"])
def test_voxelnet_there_and_back(to, voxelnet, tmp_path):
    export_student(tmp_path / "iter_9.pth", tmp_path / "out.pth", to)
    import_weights(tmp_path / "out.pth", tmp_path / "back.pth")
    back = read_state_dict(tmp_path / "back.pth")
    assert back.keys() == {f"student.{name}" for name in voxelnet.state_dict()}
    for name, tensor in voxelnet.state_dict().items():
        if name == "final.weight" and to != "slidr":  # detectors do not have it
            assert back["student.final.weight"].shape == tensor.shape
        else:
            assert torch.equal(back[f"student.{name}"], tensor), name


def test_slidr_there_and_back(tmp_path):
    """A published checkpoint, imported and exported again, holds the same values."""
    content = slidr_file(tmp_path / "a.pt")
    import_weights(tmp_path / "a.pt", tmp_path / "ours.pth")
    export_student(tmp_path / "ours.pth", tmp_path / "back.pt", "slidr")
    back = torch.load(tmp_path / "back.pt", weights_only=True)["model_points"]
    assert back.keys() == content["model_points"].keys()
    for name, tensor in content["model_points"].items():
        assert torch.equal(back[name], tensor), name


def test_slidr_unet_of_ours_there_and_back(unet, tmp_path):
    state = read_state_dict(tmp_path / "iter_9.pth")
    report = export_student(tmp_path / "iter_9.pth", tmp_path / "out.pt", "slidr")
    assert report.parts["final.kernel"].source == "state_dict.connectors.point.weight"
    import_weights(tmp_path / "out.pt", tmp_path / "back.pth")
    back = read_state_dict(tmp_path / "back.pth")
    assert back.keys() == {name for name in state if "image" not in name}
    for name, tensor in back.items():
        assert torch.equal(tensor, state[name]), name


def test_slidr_without_a_linear_head(tmp_path):
    """An MLP head has no place in SLidR's network: the rest goes, the head is reported."""
    mlp = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 6))
    checkpoint(tmp_path / "a.pth", shake(SparseUNet(**SIZES, out_channels=0)), point=mlp)
    report = export_student(tmp_path / "a.pth", None, "slidr")
    assert "final.kernel" not in report.parts
    assert len(report.left) == 4


@pytest.mark.parametrize("name", ["plain.pth", "plain.safetensors"])
def test_plain_student(name, unet, tmp_path):
    source, out = tmp_path / "iter_9.pth", tmp_path / name
    report = export_student(source, out, "student")
    assert report.counts()["taken"] == len(unet.state_dict())
    fresh = SparseUNet(**SIZES, out_channels=0)
    load_weights(fresh, out)
    for key, tensor in unet.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], tensor)
    assert read_state_dict(out).keys() == unet.state_dict().keys()
    assert read_manifest(out)["parameters"]["to"] == "student"
    again = export_student(out, None, "slidr")  # an exported student can be exported again
    assert len(again.parts) == len(unet.state_dict())


def test_plain_student_of_any_class(tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    checkpoint(tmp_path / "a.pth", model, point=nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"a prefix with its dot, 'net\.', got 'net'"):
        export_student(tmp_path / "a.pth", tmp_path / "b.pth", "student", prefix="net")
    report = export_student(tmp_path / "a.pth", tmp_path / "b.pth", "student", prefix="net.")
    assert report.parts.keys() == {f"net.{name}" for name in model.state_dict()}
    assert {part.source for part in report.left} == {
        "state_dict.connectors.point.weight",
        "state_dict.connectors.point.bias",
    }
    with pytest.raises(ValueError, match="--to student"):
        export_student(tmp_path / "a.pth", None, "mmdet3d")


def test_a_published_file_goes_straight_on(tmp_path):
    slidr_file(tmp_path / "a.pt", state=random_state())
    plain = export_student(tmp_path / "a.pt", None, "student")
    assert "final.weight" in plain.parts
    there = export_student(tmp_path / "a.pt", None, "mmdet3d", in_channels=4)
    stem = there.parts["backbone.conv_input.0.0.weight"]
    assert stem.source == "model_points.conv0p1s1.kernel"
    assert stem.tensor.shape == (3, 3, 3, 3, 4)
    assert not stem.tensor[..., 2:].any()
    assert "zero weights" in stem.note


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "caffe"}, "one of the formats student, detector, .*, mmdet3d, got 'caffe'"),
        ({"to": "openpcdet"}, "no network with the layers of SparseUNet.*student, slidr, mmdet3d"),
        ({"to": "slidr", "in_channels": 1}, "at least the student's own 2"),
        ({"to": "student", "in_channels": 4}, "drop --in-channels"),
        ({"to": "slidr", "out": "x.safetensors"}, "name the output .pth"),
        ({"to": "student", "out": "iter_9.pth"}, "the file that is read"),
    ],
)
def test_bad_requests(options, message, unet, tmp_path):
    out = options.pop("out", None)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=message):
        export_student(tmp_path / "iter_9.pth", out and tmp_path / out, **options)
    assert sorted(tmp_path.iterdir()) == before


def test_a_failed_write_leaves_the_old_file(unet, tmp_path, monkeypatch):
    out = tmp_path / "out.pth"
    out.write_bytes(b"old")

    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("lidistill.export.files.torch.save", fail)
    with pytest.raises(OSError, match="disk full"):
        export_student(tmp_path / "iter_9.pth", out, "slidr")
    assert out.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"iter_9.pth", "out.pth"}
