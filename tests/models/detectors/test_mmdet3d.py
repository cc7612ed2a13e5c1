# SPDX-License-Identifier: Apache-2.0
"""Detectors from mmdet3d's configs by path, on other grids and with other sizes."""

from __future__ import annotations

import pytest
import torch

from lidistill.models.detectors.compress import compress
from lidistill.models.detectors.mmdet3d import (
    SHIPPED,
    adapt_model,
    detector_part,
    merge,
    mmdet3d_detector,
    read_model_config,
    set_grid,
)

SECOND = SHIPPED + "second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py"
PILLARS = SHIPPED + "pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"
CENTER = SHIPPED + "centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
CENTER_PILLARS = (
    SHIPPED + "centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
)


def same(first, second) -> bool:
    """Equal values, whatever the kind of sequence and number."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


INSET = SHIPPED + "pointpillars/pointpillars_hv_secfpn_sbn-all_8xb4-2x_nus-3d.py"
TWO_STAGES = SHIPPED + "pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py"


@pytest.mark.parametrize("config", [SECOND, PILLARS, CENTER, CENTER_PILLARS, INSET, TWO_STAGES])
def test_own_grid_changes_nothing(config):
    """Every number that depends on the grid is computed back to what mmdet3d wrote by hand."""
    model = read_model_config(config)
    layer = model["data_preprocessor"]["voxel_layer"]
    adapted = adapt_model(model, layer["point_cloud_range"], layer["voxel_size"])
    assert same(adapted, model)


def test_other_grid():
    model = read_model_config(SECOND)
    assert set_grid(model, (0, -12.8, -3, 25.6, 12.8, 1), (0.1, 0.2, 0.1)) == (256, 128, 40)
    assert model["middle_encoder"]["sparse_shape"] == [41, 128, 256]
    ranges = model["bbox_head"]["anchor_generator"]["ranges"]
    assert ranges[2] == [0, -12.8, -1.78, 25.6, 12.8, -1.78]
    assert model["data_preprocessor"]["voxel_layer"]["voxel_size"] == [0.1, 0.2, 0.1]


def test_anchors_stay_as_far_inside_of_the_range():
    """nuScenes' end 0.4 m before it; weights learned there gave boxes up to 0.4 m off."""
    model = adapt_model(read_model_config(INSET), (-40, -20, -5, 40, 20, 3), (0.25, 0.25, 8))
    ranges = model["pts_bbox_head"]["anchor_generator"]["ranges"]
    assert ranges[0] == pytest.approx([-39.6, -19.6, -1.80032795, 39.6, 19.6, -1.80032795])


def test_boxes_anywhere_in_the_range_are_found():
    """mmdet3d's CenterPoint drops what it finds above 10 m, whatever the range."""
    for high, wanted in ((3.0, 10.0), (15.0, 15.0)):
        box = (-25.6, -25.6, -5.0, 25.6, 25.6, high)
        model = adapt_model(read_model_config(CENTER), box, (0.1, 0.1, 0.2))
        for name in ("post_center_range", "post_center_limit_range"):
            head, test = model["pts_bbox_head"]["bbox_coder"], model["test_cfg"]["pts"]
            limits = head.get(name) or test.get(name)
            assert limits == [-35.6, -35.6, -10.0, 35.6, 35.6, wanted]


def test_types_are_names_or_classes():
    """A config in mmengine's pure Python has classes; its strides were not followed, in silence."""
    from mmdet3d.models import SECOND as Backbone
    from mmdet3d.models import SECONDFPN, PointPillarsScatter

    model = read_model_config(CENTER_PILLARS)
    model["pts_backbone"]["type"], model["pts_neck"]["type"] = Backbone, SECONDFPN
    model["pts_middle_encoder"]["type"] = PointPillarsScatter
    box, voxel = (-25.6, -25.6, -5.0, 25.6, 25.6, 3.0), (0.2, 0.2, 8.0)
    changes = {"pts_neck": {"type": "mmdet3d.SECONDFPN", "upsample_strides": [1, 2, 4]}}
    adapted = adapt_model(model, box, voxel, changes)
    assert adapted["pts_neck"]["in_channels"] == [64, 128, 256]
    assert adapted["pts_bbox_head"]["bbox_coder"]["out_size_factor"] == 2
    with pytest.raises(ValueError, match="one cell along z, got 2"):
        adapt_model(model, box, (0.2, 0.2, 4.0))
    with pytest.raises(ValueError, match="stride of 8"):
        adapt_model(model, (-25.6, -25.6, -5.0, 25.8, 25.6, 3.0), voxel)
    assert compress(model, encoder=0.5)["pts_middle_encoder"]["in_channels"] == 32


def test_bad_grids():
    model = read_model_config(SECOND)
    with pytest.raises(ValueError, match="whole voxels"):
        set_grid(model, (0, 0, 0, 1, 1, 1), (0.3, 0.5, 0.5))
    with pytest.raises(ValueError, match="together"):
        adapt_model(model, point_range=(0, 0, 0, 1, 1, 1))


def test_configs_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="second_hv_secfpn_8xb6-80e_kitti-3d-3class"):
        read_model_config(SHIPPED + "second/second_hv_secfpn_kitti.py")
    with pytest.raises(FileNotFoundError, match="mmdet3d::"):
        read_model_config(tmp_path / "mine.py")
    with pytest.raises(ValueError, match="with a model"):
        read_model_config({"train_cfg": {}})


def test_config_of_a_user_by_path(tmp_path):
    (tmp_path / "mine.py").write_text(
        "model = dict(type='VoxelNet', backbone=dict(type='SECOND', layer_nums=[3]))\n"
    )
    model = read_model_config(tmp_path / "mine.py")
    assert model == {"type": "VoxelNet", "backbone": {"type": "SECOND", "layer_nums": [3]}}
    assert type(model["backbone"]) is dict


def test_changes_merge_or_replace():
    model = {"head": {"type": "A", "x": 1, "y": [1, 2]}, "other": 3}
    assert merge(model, {"head": {"y": [5]}})["head"] == {"type": "A", "x": 1, "y": [5]}
    assert merge(model, {"head": {"type": "B"}})["head"] == {"type": "B"}
    assert model["other"] == 3
    original = read_model_config(SECOND)
    changed = adapt_model(original, changes={"backbone": {"layer_nums": [1, 1]}})
    assert changed["backbone"]["layer_nums"] == [1, 1]
    assert original["backbone"]["layer_nums"] == [5, 5]


def test_parts_are_those_of_the_detector():
    arguments = {
        "config": SECOND,
        "point_range": (0, -6.4, -3, 12.8, 6.4, 1),
        "voxel_size": (0.1, 0.1, 0.1),
        "changes": {"backbone": {"layer_nums": [1, 1]}},
    }
    detector = mmdet3d_detector(**arguments)
    assert type(detector).__module__.startswith("mmdet3d.")
    for part in ("middle_encoder", "backbone", "neck"):
        built = detector_part({"type": mmdet3d_detector, **arguments}, part)
        whole = getattr(detector, part)
        assert type(built) is type(whole)
        assert [(k, v.shape) for k, v in built.state_dict().items()] == [
            (k, v.shape) for k, v in whole.state_dict().items()
        ]
    assert detector.middle_encoder.sparse_shape == [41, 128, 128]
    with pytest.raises(ValueError, match="middle_encoder"):
        detector_part(arguments, "pts_middle_encoder")
    assert sum(p.numel() for p in detector.parameters()) > 1e6
    assert all(torch.isfinite(p).all() for p in detector.parameters())
