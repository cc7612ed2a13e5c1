# SPDX-License-Identifier: Apache-2.0
"""Smaller detectors: widths as published, parts that still fit each other, the config untouched."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from lidistill.models.detectors.compress import COMPRESSIBLE, compress, detector_config
from lidistill.models.detectors.mmdet3d import SHIPPED, mmdet3d_detector, read_model_config
from tests.ops.detector_cases import CONFIGS as DETECTORS

POINTS = SHIPPED + DETECTORS["pointrcnn"]


def widths_of(model: dict) -> list:
    second = model["roi_head"]["bbox_head"]
    return [
        model["backbone"]["sa_channels"],
        model["neck"]["fp_channels"],
        *model["rpn_head"]["pred_layer_cfg"].values(),
        second["mlp_channels"],
        second["sa_channels"],
        *(v for v in second["pred_layer_cfg"].values() if v is not True),
    ]


def flat(value) -> list[int]:
    if isinstance(value, list | tuple):
        return [number for item in value for number in flat(item)]
    return [value]


PUBLISHED = {  # PointDistiller's release: configs/point_rcnn, students 16x and 8x
    0.25: [
        (((4, 4, 8), (8, 8, 16)), ((16, 16, 32), (16, 24, 32)),
         ((32, 49, 64), (32, 49, 64)), ((64, 64, 128), (64, 96, 128))),
        ((384, 128, 128), (192, 128, 128), (152, 64, 64), (65, 32, 32)),
        32, (64, 64), (64, 64), [32, 32], ((32, 32, 32), (32, 32, 64), (64, 64, 128)),
        128, (64, 64), (64, 64),
    ],
    0.355: [
        (((5, 5, 11), (11, 11, 22)), ((22, 22, 45), (22, 34, 45)),
         ((45, 70, 91), (45, 70, 91)), ((91, 91, 182), (91, 137, 182))),
        ((546, 182, 182), (272, 182, 182), (215, 91, 91), (92, 45, 45)),
        45, (91, 91), (91, 91), [45, 45], ((45, 45, 45), (45, 45, 91), (91, 91, 182)),
        182, (91, 91), (91, 91),
    ],
}  # fmt: skip


@pytest.mark.parametrize("factor", PUBLISHED)
def test_pointrcnn_is_as_wide_as_published(factor):
    """16x to the channel; 8x is rounded here and cut off there: a channel, two side by side."""
    small = compress(read_model_config(POINTS), encoder=factor, backbone=factor, head=factor)
    own, published = flat(widths_of(small)), flat(PUBLISHED[factor])
    gaps = [abs(a - b) for a, b in zip(own, published, strict=True)]
    assert max(gaps) <= (0 if factor == 0.25 else 2)
    assert small["neck"]["fp_channels"][-1][-1] == round(128 * factor)


def test_factor_one_changes_nothing():
    model = read_model_config(POINTS)
    before = copy.deepcopy(model)
    same = compress(model)
    assert model == before
    assert widths_of(same) == widths_of(model)
    assert flat(same["backbone"]["aggregation_channels"]) == [None] * 4


@pytest.mark.parametrize("factors", [{"encoder": 0.3}, {"backbone": 0.3}, {"head": 0.3}], ids=str)
def test_parts_of_a_pointrcnn_follow_each_other(factors):
    """One part alone made smaller: the layers around it still take and give what they must."""
    full = read_model_config(POINTS)
    full["backbone"]["aggregation_channels"] = (None, 100, None, 300)
    full["neck"]["fp_channels"] = (
        (812, 512, 512),
        (612, 512, 512),
        (608, 256, 256),
        (257, 128, 128),
    )
    if "head" in factors:  # wider than its parts: the last follows the point's features
        full["roi_head"]["bbox_head"]["mlp_channels"] = [64, 128]
    full["backbone"]["num_points"] = (64, 32, 16, 8)
    full["roi_head"]["bbox_head"]["num_points"] = (8, 4, -1)
    detector = mmdet3d_detector(compress(full, **factors)).eval()
    cloud = torch.rand(2, 128, 4) * torch.tensor([8.0, 8.0, 2.0, 1.0])
    with torch.no_grad():
        features = detector.extract_feat({"points": list(cloud)})
        boxes, scores = detector.rpn_head(features)
        rows = features["fp_features"][:1, :, :32].mT.expand(3, -1, -1)
        pooled = torch.cat([torch.rand(3, 32, 5), rows], 2)
        detector.roi_head.bbox_head(pooled)
    assert scores.shape == (2, 128, 3)
    assert boxes.shape == (2, 128, 8)
    sizes = [sum(p.numel() for p in d.parameters()) for d in (detector, mmdet3d_detector(full))]
    assert sizes[0] < sizes[1]


def test_config_of_a_students_detector():
    model = dict(type="compressed_detector", config=POINTS, encoder=0.25, backbone=0.25, head=0.25)
    assert detector_config(model)["rpn_head"]["pred_layer_cfg"]["in_channels"] == 32


def test_errors_say_what_is_known():
    model = read_model_config(POINTS)
    with pytest.raises(ValueError, match="encoder must be above 0, got 0"):
        compress(model, encoder=0)
    with pytest.raises(ValueError, match=r"PointRCNN has no BEV backbone.*depth=0\.5"):
        compress(model, depth=0.5)
    with pytest.raises(ValueError, match=r"PointRCNN\), got a PointRCNN has no voxel_encoder"):
        compress({key: value for key, value in model.items() if key != "rpn_head"})


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py", "a PointVoxelRCNN has no bbox_head"),
        ("votenet/votenet_8xb8_scannet-3d.py", "a VoteNet has no voxel_encoder"),
        (
            "smoke/smoke_dla34_dlaneck_gn-all_4xb8-6x_kitti-mono3d.py",
            "a SMOKEMono3D has no voxel_encoder",
        ),
        (
            "regnet/pointpillars_hv_regnet-400mf_secfpn_sbn-all_8xb4-2x_nus-3d.py",
            "a NoStemRegNet as backbone",
        ),
    ],
)
def test_others_are_refused_with_the_list(name, what):
    with pytest.raises(ValueError, match=what) as caught:
        compress(read_model_config(f"mmdet3d::{name}"), 0.5, 0.5, 0.5)
    assert COMPRESSIBLE in str(caught.value)
    assert "`changes` of mmdet3d_detector" in str(caught.value)


def test_the_page_lists_them():
    page = Path(__file__).resolve().parents[3] / "docs" / "detection.md"
    listed = page.read_text().split("### Detectors that can be compressed")[1].split("##")[0]
    for name in ("PointPillars", "feature pyramid", "SECOND", "CenterPoint", "PointRCNN"):
        assert name in listed
        assert name in COMPRESSIBLE
