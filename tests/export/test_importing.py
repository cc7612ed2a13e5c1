# SPDX-License-Identifier: Apache-2.0
"""Import: SLidR's MinkUNet computes the same here; every tensor is accounted for; clear errors."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from lidistill.distill.connectors import Linear, ProjectionMap
from lidistill.distill.weights import load_weights, read_state_dict
from lidistill.export.files import Content
from lidistill.export.importing import import_weights
from lidistill.export.layouts import MINKOWSKI
from lidistill.export.students import find_student
from lidistill.export.transfer import from_layout, to_layout
from lidistill.io import read_manifest
from lidistill.methods import SLidR
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.backbones.voxelnet import VoxelNet
from tests.conftest import parity_files
from tests.export import minkowski
from tests.export.minkowski import as_voxels, random_cloud, random_state, run_unet
from tests.export.samples import SIZES, slidr_file


def distiller():
    return SLidR(
        student=SparseUNet(**SIZES, out_channels=0),
        teacher={"model": nn.Conv2d(3, 8, 1)},
        point_head=Linear(minkowski.PLANES[-1], minkowski.OUT),
        image_head=ProjectionMap(8, 6),
    )


@pytest.mark.parametrize("engine", ["minkowski", "torchsparse"])
def test_imported_network_computes_what_loops_compute(engine, tmp_path):
    state, cloud = random_state(engine), random_cloud()
    slidr_file(tmp_path / "a.pt", state=state)
    kernels = "auto" if engine == "minkowski" else engine
    import_weights(tmp_path / "a.pt", tmp_path / "b.pth", head="student", kernels=kernels)
    model = SparseUNet(**SIZES, out_channels=minkowski.OUT).double().eval()
    load_weights(model, tmp_path / "b.pth")
    features, coords = as_voxels(cloud)
    with torch.no_grad():
        got = model(features, coords, (8, 6, 8), 1)
    expected = torch.stack(list(run_unet(state, cloud, engine).values()))
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_checkpoint_fits_the_method_whole(tmp_path):
    content = slidr_file(tmp_path / "a.pt")
    report = import_weights(tmp_path / "a.pt", tmp_path / "b.pth")
    method = distiller()
    load_weights(method, tmp_path / "b.pth")
    final = content["model_points"]["final.kernel"]
    head = method.connectors["point"]
    torch.testing.assert_close(head.weight.detach(), final.t().float())
    torch.testing.assert_close(head.bias, content["model_points"]["final.bias"][0].float())
    project = method.connectors["image"].project
    assert torch.equal(project.weight, content["model_images"]["decoder.0.weight"])
    assert [part.source for part in report.left] == ["model_images.encoder.conv1.weight"]
    total = len(content["model_points"]) + len(content["model_images"])
    assert sum(report.counts().values()) == total
    text = report.text()
    assert "conv0p1s1.kernel -> student.conv0p1s1.weight  [27, 2, 3] -> [3, 3, 3, 3, 2]" in text
    assert "final.kernel -> connectors.point.weight  [4, 6] -> [6, 4]" in text
    assert "type=SparseUNet, in_channels=2, out_channels=0, stem=3" in text
    assert "in_features=4, out_features=6" in text
    assert "'voxel_size': 0.1" in text
    for name in (*content["model_points"], *content["model_images"]):
        assert name in text
    manifest = read_manifest(tmp_path / "b.pth")
    assert manifest["tool"] == "import_weights"
    assert manifest["count"] == len(report.parts)


@pytest.mark.parametrize("prefix", ["model.", "model_points.", "module.", "encoder.", "a.module."])
def test_prefixes(prefix, tmp_path):
    slidr_file(tmp_path / "a.pt", prefix)
    slidr_file(tmp_path / "plain.pt")
    with_prefix = import_weights(tmp_path / "a.pt", None)
    plain = import_weights(tmp_path / "plain.pt", None)
    assert with_prefix.parts.keys() == plain.parts.keys()
    for name, part in plain.parts.items():
        if "image" not in name:
            assert torch.equal(with_prefix.parts[name].tensor, part.tensor)
            assert with_prefix.parts[name].source.startswith(f"model_points.{prefix}")


def test_lightning_checkpoint(tmp_path):
    """Both networks in one table, as a run that was interrupted leaves them."""
    content = slidr_file(tmp_path / "a.pt")
    table = {
        f"{network}.{name}": tensor
        for network in ("model_points", "model_images")
        for name, tensor in content[network].items()
    }
    torch.save({"state_dict": table, "optimizer_states": [{"state": {}}]}, tmp_path / "b.ckpt")
    report = import_weights(tmp_path / "b.ckpt", tmp_path / "c.safetensors")
    load_weights(distiller(), tmp_path / "c.safetensors")
    assert [part.source for part in report.left] == ["state_dict.model_images.encoder.conv1.weight"]


def test_counters_may_be_missing(tmp_path):
    state = {k: v for k, v in random_state().items() if "num_batches" not in k}
    slidr_file(tmp_path / "a.pt", state=state)
    report = import_weights(tmp_path / "a.pt", None)
    made = [name for name, part in report.parts.items() if part.source is None]
    assert made
    assert all(name.endswith("num_batches_tracked") for name in made)
    assert report.counts()["made"] == len(made)


def test_dry_run_writes_nothing(tmp_path):
    slidr_file(tmp_path / "a.pt")
    import_weights(tmp_path / "a.pt", None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("path", parity_files("slidr", "state_dict_keys*.json"))
def test_names_and_shapes_of_the_full_size_release(path):
    """Shapes without memory: every name of a SLidR checkpoint is found, and comes back."""
    keys = json.loads(path.read_text())["model_points_minkunet34c"]["keys"]
    table = {name: torch.empty(shape, device="meta") for name, shape in keys.items()}
    found = find_student(Content(path, {"model_points": table}, {}))
    assert found.sizes == {
        "in_channels": 1,
        "out_channels": 64,
        "stem": 32,
        "planes": (32, 64, 128, 256, 256, 128, 96, 96),
        "blocks": (2, 3, 4, 6, 2, 2, 2, 2),
    }
    ours, left = from_layout(found.parts(), found.layout, found.build())
    assert not left
    assert {n: p.tensor.shape for n, p in ours.items()} == {
        n: t.shape for n, t in found.build().state_dict().items()
    }
    back, _ = to_layout(ours, MINKOWSKI, found.build())
    assert {name: list(part.tensor.shape) for name, part in back.items()} == keys


@pytest.mark.parametrize("path", parity_files("slidr", "state_dict_keys*.json"))
def test_names_and_shapes_of_the_released_voxelnet(path):
    keys = json.loads(path.read_text())["model_points_voxelnet_spconv2"]["keys"]
    table = {name: torch.empty(shape, device="meta") for name, shape in keys.items()}
    found = find_student(Content(path, {"model_points": table}, {}))
    assert found.sizes == {"in_channels": 4, "out_channels": 64}
    ours, left = from_layout(found.parts(), found.layout, found.build())
    assert ours.keys() == keys.keys()
    assert not left


def spconv_1(state):
    """VoxelNet's weights in the layout of spconv 1: (kz, ky, kx, in, out)."""
    return {
        name: (
            tensor.reshape(1, 1, 1, tensor.shape[4], tensor.shape[0])
            if name == "final.weight"
            else tensor.permute(1, 2, 3, 4, 0).contiguous()
        )
        if tensor.ndim == 5
        else tensor
        for name, tensor in state.items()
    }


def test_voxelnet_of_spconv_1(tmp_path):
    state = VoxelNet(in_channels=5, out_channels=32).state_dict()
    torch.save({"model_points": spconv_1(state)}, tmp_path / "a.pt")
    report = import_weights(tmp_path / "a.pt", tmp_path / "b.pth")
    assert report.counts()["reshaped"] == 13
    loaded = read_state_dict(tmp_path / "b.pth")
    assert loaded.keys() == {f"student.{name}" for name in state}
    for name, tensor in state.items():
        assert torch.equal(loaded[f"student.{name}"], tensor)


def test_no_network_lists_what_the_file_holds(tmp_path):
    torch.save({"model": {"layer1.0.conv1.weight": torch.zeros(1)}, "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"0 tensors .* model: 1 tensors \(layer1.0.conv1.weight"):
        import_weights(tmp_path / "a.pth", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("backbone.conv_input.0.0.weight", "second stem convolution"),
        ("backbone_3d.conv1.0.conv1.weight", "VoxelResBackBone8x"),
        ("pts_middle_encoder.encoder_layers.encoder_layer1.0.conv1.weight", "residual blocks"),
    ],
)
def test_relatives_are_named(name, message, tmp_path):
    torch.save({"state_dict": {name: torch.zeros(1)}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        import_weights(tmp_path / "a.pth", None)


def broken(change):
    state = random_state()
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("bn2.bn.bias"), r"bn2.bn.bias \(missing\)"),
        (lambda s: s.update({"bn2.bn.bias": torch.zeros(2)}), r"bn2.bn.bias \[2\] for \[3\]"),
        (lambda s: [s.pop(k) for k in list(s) if "block2." in k], r"per stage: \(1, 0, 1, 1\)"),
        (lambda s: s.update({"conv1p1s2.kernel": torch.zeros(9, 3, 3)}), "cube-shaped"),
    ],
)
def test_another_architecture(change, message, tmp_path):
    slidr_file(tmp_path / "a.pt", state=broken(change))
    with pytest.raises(ValueError, match=message):
        import_weights(tmp_path / "a.pt", tmp_path / "b.pth")
    assert not (tmp_path / "b.pth").exists()


def test_kernels_must_be_said_or_seen(tmp_path):
    slidr_file(tmp_path / "ts.pt", state=random_state("torchsparse"))
    with pytest.raises(ValueError, match="--kernels torchsparse"):
        import_weights(tmp_path / "ts.pt", None)
    with pytest.raises(ValueError, match=r"norms of .* are plain"):
        import_weights(tmp_path / "ts.pt", None, kernels="minkowski")
    slidr_file(tmp_path / "me.pt")
    with pytest.raises(ValueError, match=r"norms of .* are wrapped"):
        import_weights(tmp_path / "me.pt", None, kernels="torchsparse")


def test_bad_arguments(tmp_path):
    slidr_file(tmp_path / "a.pt")
    with pytest.raises(ValueError, match="head to be one of"):
        import_weights(tmp_path / "a.pt", None, head="none")
    with pytest.raises(ValueError, match="the file that is read"):
        import_weights(tmp_path / "a.pt", tmp_path / "a.pt")
