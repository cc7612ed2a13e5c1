# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite and an FPN as a BEV detector's image side."""

from __future__ import annotations

import copy

import pytest
import torch

from lidistill.distill.calls import call_model
from lidistill.models.backbones.image_efficientnet import EfficientNetPyramid
from lidistill.models.teachers.efficientnet_lite import EfficientNetLite
from tests.models.detectors.test_bev import batch, config, detector

WIDTH = 0.25


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("efficientnet") / "weights.pth"
    torch.save(EfficientNetLite(WIDTH).state_dict(), path)
    return path


def test_maps_are_the_networks_stages_on_its_own_colours(weights):
    pyramid = EfficientNetPyramid((4, 16, 32), weights, WIDTH, mean=(0.5,) * 3, std=(0.25,) * 3)
    network = EfficientNetLite(WIDTH)
    network.load_state_dict(torch.load(weights))
    images = torch.rand(2, 3, 64, 96)  # [0, 1]
    stages = network.eval()(2 * images - 1)
    maps = pyramid.eval()((images - 0.5) / 0.25)
    assert [tuple(each.shape[2:]) for each in maps] == [(16, 24), (4, 6), (2, 3)]
    assert [each.shape[1] for each in maps] == pyramid.out_channels
    for found, expected in zip(maps, (stages[1], stages[4], stages[6]), strict=True):
        torch.testing.assert_close(found, expected)


def test_stages_behind_the_last_level_are_not_there():
    pyramid = EfficientNetPyramid((4, 8), width=WIDTH)
    assert [each.shape[2] for each in pyramid(torch.zeros(1, 3, 8, 16))] == [2, 1]


@pytest.mark.parametrize("levels", [(), (3,), (8, 4), (8, 8)])
def test_unknown_levels(levels):
    with pytest.raises(ValueError, match="expected some of 4, 8, 16, 32 in this order"):
        EfficientNetPyramid(levels)


def test_other_images_are_refused_with_what_to_set():
    with pytest.raises(ValueError, match=r"60 x 64: expected multiples of 32.*pad_size_divisor=32"):
        EfficientNetPyramid(width=WIDTH)(torch.zeros(1, 3, 60, 64))


def test_a_detector_begins_with_the_weights_and_learns_through_it(weights):
    camera = copy.deepcopy(dict(config("camera").model["camera"]))
    camera["backbone"] = {"type": EfficientNetPyramid, "weights": weights, "width": WIDTH}
    pyramid = EfficientNetPyramid(width=WIDTH)
    camera["neck"] = {
        "type": "mmdet.FPN", "in_channels": pyramid.out_channels, "out_channels": 64, "num_outs": 3,
    }  # fmt: skip
    model = detector("camera", camera=camera).train()  # with its init_weights
    begin = model.img_backbone.encoder.state_dict()
    for name, value in torch.load(weights).items():
        assert torch.equal(begin[name], value), name
    losses = call_model(model, batch(model), None, "loss", training=True)
    sum(losses.values()).backward()
    assert [n for n, p in model.img_backbone.named_parameters() if p.grad is None] == []
