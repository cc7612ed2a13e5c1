# SPDX-License-Identifier: Apache-2.0
"""Exported weights in the other projects' networks give the same numbers as our student."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from lidistill import compat
from lidistill.distill.weights import read_state_dict
from lidistill.export.exporting import export_student
from lidistill.export.layouts import MINKUNET
from lidistill.export.report import parts_of
from lidistill.export.transfer import from_layout
from lidistill.models.backbones.sparse_blocks import lay_out, sparse_tensor
from tests.export import minkowski
from tests.export.samples import GRID, SIZES, bev_before_final, voxels

compat.apply()


class OpenPCDetBackbone(nn.Module):
    """OpenPCDet's VoxelBackBone8x from its table of layers: name, kind, widths, stride, padding."""

    LAYERS = (
        ("conv_input", "subm", 4, 16, 3, 1, 1),
        ("conv1.0", "subm", 16, 16, 3, 1, 1),
        ("conv2.0", "down", 16, 32, 3, 2, 1),
        ("conv2.1", "subm", 32, 32, 3, 1, 1),
        ("conv2.2", "subm", 32, 32, 3, 1, 1),
        ("conv3.0", "down", 32, 64, 3, 2, 1),
        ("conv3.1", "subm", 64, 64, 3, 1, 1),
        ("conv3.2", "subm", 64, 64, 3, 1, 1),
        ("conv4.0", "down", 64, 64, 3, 2, (0, 1, 1)),
        ("conv4.1", "subm", 64, 64, 3, 1, 1),
        ("conv4.2", "subm", 64, 64, 3, 1, 1),
        ("conv_out", "down", 64, 128, (3, 1, 1), (2, 1, 1), 0),
    )

    def __init__(self):
        super().__init__()
        import spconv.pytorch as spconv

        for index, (name, kind, width, out, kernel, stride, padding) in enumerate(self.LAYERS):
            make = spconv.SubMConv3d if kind == "subm" else partial(
                spconv.SparseConv3d, stride=stride)  # fmt: skip
            layer = make(width, out, kernel, padding=padding, bias=False, indice_key=str(index))
            block = spconv.SparseSequential(layer, nn.BatchNorm1d(out, eps=1e-3), nn.ReLU())
            stage, _, position = name.partition(".")
            if position:
                if not hasattr(self, stage):
                    setattr(self, stage, spconv.SparseSequential())
                getattr(self, stage).add_module(position, block)
            else:
                setattr(self, name, block)

    def forward(self, x):
        for stage in ("conv_input", "conv1", "conv2", "conv3", "conv4", "conv_out"):
            x = getattr(self, stage)(x)
        return x


def test_openpcdet_backbone_computes_the_same(voxelnet, tmp_path):
    report = export_student(tmp_path / "iter_9.pth", tmp_path / "out.pth", "openpcdet")
    file = torch.load(tmp_path / "out.pth", weights_only=True)
    assert all(name.startswith("backbone_3d.") for name in file["model_state"])
    state = {k.removeprefix("backbone_3d."): v for k, v in file["model_state"].items()}
    theirs = OpenPCDetBackbone().eval()
    theirs.load_state_dict(state)  # strict: all names and shapes
    features, coords = voxels(4)
    with torch.no_grad():
        got = lay_out(theirs(sparse_tensor(features, coords, GRID, 2))).flatten(1, 2)
        expected = bev_before_final(voxelnet, features, coords)
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert [part.source for part in report.left] == ["state_dict.student.final.weight"]
    assert report.counts() == {"taken": 72, "reshaped": 0, "made": 0, "left": 1}


@pytest.mark.skipif(
    "LIDISTILL_OPENPCDET" not in os.environ, reason="set it to a checkout of OpenPCDet"
)
def test_openpcdet_itself_loads_it_and_computes_the_same(voxelnet, tmp_path):
    export_student(tmp_path / "iter_9.pth", tmp_path / "out.pth", "openpcdet")
    command = [sys.executable, "-m", "tests.export.openpcdet", os.environ["LIDISTILL_OPENPCDET"]]
    files = [str(tmp_path / name) for name in ("out.pth", "map.pt")]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "loaded 72/" in done.stderr
    assert "Not updated weight backbone_3d" not in done.stderr
    with torch.no_grad():
        expected = bev_before_final(voxelnet, *voxels(4))
    torch.testing.assert_close(torch.load(tmp_path / "map.pt"), expected, rtol=1e-5, atol=1e-5)


def sparse_encoder(channels=4):
    pytest.importorskip("mmdet3d")
    from mmdet3d.models.middle_encoders import SparseEncoder

    return SparseEncoder(channels, list(GRID))  # at its defaults, as SECOND has it


@pytest.mark.parametrize("channels", [None, 5])
def test_mmdet3d_sparse_encoder_computes_the_same(channels, voxelnet, tmp_path):
    export_student(tmp_path / "iter_9.pth", tmp_path / "out.pth", "mmdet3d", in_channels=channels)
    state = read_state_dict(tmp_path / "out.pth")
    theirs = sparse_encoder(channels or 4).eval()
    theirs.load_state_dict({k.removeprefix("middle_encoder."): v for k, v in state.items()})
    features, coords = voxels(channels or 4)
    with torch.no_grad():
        got = theirs(features, coords, 2)
        expected = bev_before_final(voxelnet, features[:, :4], coords)
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_mmdet3d_reads_the_file_without_our_bridge(voxelnet, tmp_path, monkeypatch):
    """mmdet3d rotates spconv weights that say no version; the exported file says it."""
    from mmengine.runner import load_checkpoint

    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.pts_middle_encoder = sparse_encoder()

    detector = Detector()
    base = type(detector.pts_middle_encoder.conv_input).__mro__[1]  # SparseModule
    bridged = base._load_from_state_dict
    monkeypatch.setattr(base, "_load_from_state_dict", bridged.__wrapped__)
    source = tmp_path / "iter_9.pth"
    export_student(source, tmp_path / "out.pth", "mmdet3d", prefix="pts_middle_encoder.")
    load_checkpoint(detector, str(tmp_path / "out.pth"), map_location="cpu", strict=True)
    for name, tensor in voxelnet.conv3.state_dict().items():
        stage = detector.pts_middle_encoder.encoder_layers.encoder_layer3
        assert torch.equal(stage.state_dict()[name], tensor)


def minkunet():
    pytest.importorskip("mmdet3d")
    from mmdet3d.models.backbones import MinkUNetBackbone

    levels = minkowski.LEVELS
    return MinkUNetBackbone(
        in_channels=SIZES["in_channels"],
        base_channels=SIZES["stem"],
        num_stages=levels,
        encoder_channels=list(SIZES["planes"][:levels]),
        encoder_blocks=list(SIZES["blocks"][:levels]),
        decoder_channels=list(SIZES["planes"][levels:]),
        decoder_blocks=list(SIZES["blocks"][levels:]),
        sparseconv_backend="spconv",
    )


def printed(report, part: str) -> dict:
    """The config of the encoder that the report prints, without the cells of the voxels."""
    (line,) = [remark for remark in report.remarks if remark.startswith(f"{part}=dict(")]
    words = line.split(" with the cells")[0].removeprefix(f"{part}=")
    return eval(words.replace("[Z + 1, Y, X]", str(list(GRID))), {"dict": dict})


def test_the_printed_configs_build_what_takes_the_weights(unet, voxelnet, tmp_path):
    pytest.importorskip("mmdet3d")
    from mmdet3d.registry import MODELS
    from mmengine.registry import DefaultScope

    for folder, part in (("unet", "backbone"), ("voxelnet", "middle_encoder")):
        checkpoint = tmp_path / f"{folder}.pth"
        student = unet if folder == "unet" else voxelnet
        torch.save({"state_dict": prefixed(student)}, checkpoint)
        report = export_student(checkpoint, tmp_path / "out.pth", "mmdet3d")
        assert any("compat.apply()" in remark for remark in report.remarks)
        state = read_state_dict(tmp_path / "out.pth")
        (tmp_path / "out.pth").unlink()
        with DefaultScope.overwrite_default_scope("mmdet3d"):
            theirs = MODELS.build(printed(report, part))
        theirs.load_state_dict({k.removeprefix(f"{part}."): v for k, v in state.items()})


def prefixed(student) -> dict:
    return {f"student.{name}": value for name, value in student.state_dict().items()}


def test_mmdet3d_minkunet_computes_the_same(unet, tmp_path):
    report = export_student(tmp_path / "iter_9.pth", tmp_path / "out.pth", "mmdet3d")
    state = read_state_dict(tmp_path / "out.pth")
    theirs = minkunet().eval()
    theirs.load_state_dict({k.removeprefix("backbone."): v for k, v in state.items()})
    shape = (8, 12, 16)  # z, y, x: multiples of 4, so that mmdet3d's grid has the same borders
    features, coords = voxels(2, shape)
    with torch.no_grad():
        got = theirs(features, coords[:, [0, 3, 2, 1]].contiguous())  # (batch, x, y, z) there
        expected = unet(features, coords, shape, 2)
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    made = [name for name, part in report.parts.items() if part.source is None]
    assert len(made) == 6
    assert all(name.startswith("backbone.conv_input.1.") for name in made)
    left = {part.source for part in report.left}
    assert "state_dict.connectors.point.weight" in left
    assert not any("student." in name for name in left)


def test_mmdet3d_minkunet_values_come_back(unet, tmp_path):
    export_student(tmp_path / "iter_9.pth", tmp_path / "out.pth", "mmdet3d", prefix="")
    parts = parts_of(read_state_dict(tmp_path / "out.pth"))
    back, left = from_layout(parts, MINKUNET, unet)
    assert {part.source.rpartition(".")[0] for part in left} == {"conv_input.1.0", "conv_input.1.1"}
    assert back.keys() == unet.state_dict().keys()
    for name, tensor in unet.state_dict().items():
        assert torch.equal(back[name].tensor, tensor)
