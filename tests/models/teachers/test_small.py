# SPDX-License-Identifier: Apache-2.0
"""SmallImageNet: shape, independence of images, gradient, weights."""

import pytest
import torch

from lidistill.models.teachers.image_teacher import ImageTeacher
from lidistill.models.teachers.small import SmallImageNet


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SmallImageNet(width=16, out_channels=24)


@pytest.mark.parametrize("size", [(112, 208), (90, 162), (16, 16)])
def test_stride_four(model, size):
    out = model(torch.randn(2, 3, *size))
    assert out.shape == (2, 24, -(-size[0] // 4), -(-size[1] // 4))
    assert isinstance(model, ImageTeacher)


def test_an_image_does_not_see_its_neighbours_in_the_batch(model):
    images = torch.randn(3, 3, 32, 32)
    together = model.train()(images)
    torch.testing.assert_close(model.eval()(images[1:2]), together[1:2], atol=1e-5, rtol=1e-5)


def test_every_parameter_takes_part(model):
    model(torch.randn(1, 3, 32, 48)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert float(parameter.grad.abs().max()) > 0, name


def test_weights_come_back(model, tmp_path):
    torch.save(
        {"state_dict": {f"encoder.{k}": v for k, v in model.state_dict().items()}},
        tmp_path / "w.pth",
    )
    again = SmallImageNet(width=16, out_channels=24, weights=tmp_path / "w.pth")
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(again(images), model(images))
    assert "encoder." in again.loaded


def test_width_is_checked():
    with pytest.raises(ValueError, match="multiple of 8"):
        SmallImageNet(width=12)
