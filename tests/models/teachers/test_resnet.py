# SPDX-License-Identifier: Apache-2.0
"""Dilated ResNet against the plain one, and SLidR's names and shapes."""

import json

import pytest
import torch

from lidistill.models.teachers.image_teacher import ImageTeacher
from lidistill.models.teachers.resnet import ResNetTeacher
from tests.conftest import parity_files


@pytest.mark.parametrize("depth", [18, 50])
def test_dilated_network_equals_the_plain_one_at_its_cells(depth):
    torch.manual_seed(0)
    plain = ResNetTeacher(depth, dilated=False).eval()
    dilated = ResNetTeacher(depth, dilated=True).eval()
    dilated.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        low, high = plain(images), dilated(images)
    assert low.shape == (1, plain.out_channels, 2, 3)
    assert high.shape == (1, dilated.out_channels, 16, 24)
    torch.testing.assert_close(high[:, :, ::8, ::8], low, atol=1e-4, rtol=1e-4)
    assert (plain.stride, dilated.stride) == (32, 4)
    assert isinstance(dilated, ImageTeacher)


@pytest.mark.parametrize("stride", [8, 16])
def test_strides_between_agree_at_their_cells(stride):
    torch.manual_seed(0)
    plain = ResNetTeacher(18, stride=32, base_channels=8).eval()
    finer = ResNetTeacher(18, stride=stride, base_channels=8).eval()
    finer.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        low, high = plain(images), finer(images)
    step = 32 // stride
    assert high.shape == (1, 64, 64 // stride, 96 // stride)
    torch.testing.assert_close(high[:, :, ::step, ::step], low, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="expected 4, 8, 16 or 32, got 12"):
        ResNetTeacher(18, stride=12)


@pytest.mark.parametrize("path", parity_files("slidr", "state_dict_keys*.json"))
def test_names_and_shapes_of_the_release(path):
    expected = json.loads(path.read_text())["model_images_resnet50_dilation"]["keys"]
    encoder = {name: shape for name, shape in expected.items() if name.startswith("encoder.")}
    model = ResNetTeacher(50)
    assert {n: list(v.shape) for n, v in model.state_dict().items()} == encoder
    assert model.out_channels == 2048


def test_weights_are_loaded_or_refused(tmp_path):
    torch.manual_seed(1)
    donor = ResNetTeacher(18).encoder.state_dict()
    torch.save(
        {"state_dict": {f"module.encoder_q.{k}": v for k, v in donor.items()}}, tmp_path / "m.pth"
    )
    model = ResNetTeacher(18, weights=tmp_path / "m.pth")
    assert torch.equal(model.encoder.layer4[1].conv2.weight, donor["layer4.1.conv2.weight"])
    assert "module.encoder_q." in model.loaded
    with pytest.raises(ValueError, match="Check the network's depth"):
        ResNetTeacher(34, weights=tmp_path / "m.pth")
