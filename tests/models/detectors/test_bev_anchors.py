# SPDX-License-Identifier: Apache-2.0
"""The BEV detector with anchors: SECOND's very network and head, and a camera in front of them."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch

from lidistill import compat
from lidistill.distill.calls import call_model
from lidistill.engine.configs.read import load_config
from lidistill.engine.synthetic import synthetic_batch
from lidistill.models.detectors.bev_heads import PARTS, named_parts
from lidistill.models.detectors.mmdet3d import mmdet3d_detector
from lidistill.registry import MODELS
from tests.conftest import ROOT

RANGE, VOXEL = (0.0, -5.12, -3.0, 10.24, 5.12, 1.0), (0.08, 0.08, 0.1)
CONFIGS = ROOT / "configs" / "monotakd"


@cache
def config(name):
    compat.apply()
    return load_config(CONFIGS / f"{name}.py")


def made(name, **changes):
    """The config's detector on a quarter of its range, and two made-up samples."""
    torch.manual_seed(0)
    given = copy.deepcopy(config(name).model)
    given.update(point_range=RANGE, voxel_size=VOXEL, **changes)
    model = MODELS.build(given)
    model.init_weights()
    return model, synthetic_batch(config(name), model, 2000)


def test_of_lidar_it_is_second():
    """Same weights, same maps, same losses and same boxes as mmdet3d's own detector."""
    model, batch = made("caddn_world_kitti_teacher")
    given = config("caddn_world_kitti_teacher").model
    theirs = mmdet3d_detector(given.config, RANGE, VOXEL, given.changes)
    state = {
        name.removeprefix("pts_"): value
        for name, value in model.state_dict().items()
        if name.removeprefix("pts_").startswith(PARTS)
    }
    theirs.load_state_dict(state)
    maps = [call_model(m.eval(), batch, None, "tensor", False) for m in (model, theirs)]
    own = [level[0] for level in maps[0]]
    other = [level[0] for level in maps[1]]
    torch.testing.assert_close(own, other)
    losses = [call_model(m.train(), batch, None, "loss", True) for m in (model, theirs)]
    assert losses[0].keys() == losses[1].keys()
    for name, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][name])
    found = [call_model(m.eval(), batch, None, "predict", False) for m in (model, theirs)]
    for ours, others in zip(*found, strict=True):
        boxes = [s.pred_instances_3d.bboxes_3d.tensor for s in (ours, others)]
        torch.testing.assert_close(*boxes)


def test_a_camera_learns_boxes_and_depth():
    model, batch = made("caddn_world_kitti")
    assert model.low_grid.shape == model.grid.shape == (16, 16)
    losses = call_model(model.train(), batch, None, "loss", training=True)
    assert set(losses) == {"loss_cls", "loss_bbox", "loss_dir", "loss_depth"}
    total = sum(sum(v) if isinstance(v, list) else v for v in losses.values())
    total.backward()
    lacking = {n.rpartition(".conv")[0] for n, p in model.named_parameters() if p.grad is None}
    assert lacking == {"img_neck.fpn_convs.1", "img_neck.fpn_convs.2"}  # the first map is taken
    found = call_model(model.eval(), batch, None, "predict", training=False)
    assert found[0].pred_instances_3d.bboxes_3d.tensor.shape[1] == 7


def test_samples_without_boxes_train():
    model, batch = made("caddn_world_kitti")
    for sample in batch["data_samples"]:
        sample.gt_instances_3d = sample.gt_instances_3d[:0]
    losses = call_model(model.train(), batch, None, "loss", training=True)
    total = sum(sum(v) if isinstance(v, list) else v for v in losses.values())
    assert total.isfinite()
    total.backward()


def test_branches_leave_the_other_weights_as_they_are():
    """A student with MonoTAKD's modules starts from the weights of one without."""
    states = []
    for name in ("caddn_world_kitti", "monotakd_world_kitti"):
        given = copy.deepcopy(config(name).model)
        torch.manual_seed(3)
        model = MODELS.build(given.get("student", given))
        torch.manual_seed(3)
        model.init_weights()
        states.append(model.state_dict())
    assert set(states[0]) < set(states[1])
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_config_without_a_head_on_the_ground_is_named():
    with pytest.raises(ValueError, match="PointRCNN without neck, bbox_head"):
        named_parts({"type": "PointRCNN", "backbone": {}})
