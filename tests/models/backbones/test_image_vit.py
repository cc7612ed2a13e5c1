# SPDX-License-Identifier: Apache-2.0
"""A ViT and an FPN as a BEV detector's image side."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from lidistill.distill.calls import call_model
from lidistill.models.backbones.image_vit import ViTPyramid
from lidistill.models.teachers.vit import ViTTeacher
from tests.models.detectors.test_bev import batch, config, detector

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 64,
    "patch_size": 16,
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    Dinov2Model(Dinov2Config(**SIZES)).save_pretrained(folder)
    return str(folder)


def test_maps_of_three_scales(directory):
    pyramid = ViTPyramid({"type": ViTTeacher, "directory": directory})
    maps = pyramid(torch.randn(2, 3, 64, 96))
    assert [tuple(each.shape) for each in maps] == [(2, 16, 8, 12), (2, 16, 4, 6), (2, 16, 2, 3)]
    assert pyramid.out_channels == [16, 16, 16]


def test_unknown_scales(directory):
    with pytest.raises(ValueError, match="scales out of"):
        ViTPyramid({"type": ViTTeacher, "directory": directory}, scales=(3,))


def test_a_detector_learns_through_it(directory):
    camera = copy.deepcopy(dict(config("camera").model["camera"]))
    camera["backbone"] = {
        "type": ViTPyramid,
        "vit": {"type": ViTTeacher, "directory": directory},
    }
    camera["neck"] = {
        "type": "mmdet.FPN", "in_channels": [16, 16, 16], "out_channels": 64, "num_outs": 3,
    }  # fmt: skip
    model = detector("camera", camera=camera).train()
    losses = call_model(model, batch(model), None, "loss", training=True)
    sum(losses.values()).backward()
    lacking = [n for n, p in model.img_backbone.named_parameters() if p.grad is None]
    assert [name for name in lacking if "mask_token" not in name] == []
