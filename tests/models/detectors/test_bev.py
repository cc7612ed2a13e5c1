# SPDX-License-Identifier: Apache-2.0
"""The BEV detector of LiDAR, cameras and both: one class, the same taps, its own preprocessor."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest
import torch

from lidistill import compat
from lidistill.distill.calls import call_model
from lidistill.distill.detectors.places import point_range
from lidistill.distill.taps import Tap, TapSet
from lidistill.engine.configs.read import load_config
from lidistill.engine.synthetic import synthetic_batch
from lidistill.models.detectors.bev import BEVDetector
from lidistill.models.detectors.bev_fusers import ConvFuser, GatedFuser
from lidistill.models.detectors.ranges import check_ranges
from lidistill.models.view_transforms.frustum_voxels import FrustumVoxels
from lidistill.models.view_transforms.lift_splat import TrueDepth
from lidistill.registry import MODELS
from tests.conftest import ROOT

SENSORS = {"lidar": ("lidar",), "camera": ("camera",), "fusion": ("lidar", "camera")}
RANGE, VOXEL = (-9.6, -4.8, -5.0, 9.6, 14.4, 3.0), (0.15, 0.15, 0.2)


@cache
def config(name):
    compat.apply()
    return load_config(ROOT / "configs" / "detection" / f"bev_{name}_world.py")


def detector(name, **options) -> BEVDetector:
    """At a quarter of the world's range, which is not centred."""
    torch.manual_seed(0)
    settings = copy.deepcopy(dict(config(name).model))
    model = MODELS.build({**settings, "point_range": RANGE, "voxel_size": VOXEL, **options})
    model.init_weights()
    return model


def batch(model, points=2000):
    return synthetic_batch(config("fusion"), model, points)


@pytest.mark.parametrize("name", SENSORS)
def test_ranges_of_data_and_model_agree(name):
    check_ranges(config(name))


@pytest.mark.parametrize("name", SENSORS)
def test_losses_reach_every_part_and_taps_are_the_same(name):
    model = detector(name).train()
    taps = TapSet(
        model,
        {
            "low": Tap("bev_low", grid=model.low_grid),
            "high": Tap("bev_high", grid=model.grid),
            "heatmap": Tap("pts_bbox_head.task_heads.1.heatmap", clone=True),
            "task": "pts_bbox_head.task_heads.0",
        },
    )
    with taps.capture(model) as out:
        losses = call_model(model, batch(model), None, "loss", training=True)
    wanted = {f"task{k}.loss_{kind}" for k in (0, 1) for kind in ("heatmap", "bbox")}
    assert set(losses) == wanted | ({"loss_depth"} if "camera" in SENSORS[name] else set())
    assert out.low.features.shape == (2, 64, 16, 16)
    assert out.high.features.shape == (2, 96, 16, 16)
    assert out.heatmap.features.shape == (2, 5, 16, 16)
    assert set(out.task) >= {"heatmap", "reg", "height", "dim", "rot", "vel"}
    sum(losses.values()).backward()
    lacking = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    # maps of the image neck that nothing takes
    assert not [n for n in lacking if not n.startswith("img_neck")]
    assert tuple(point_range(model)) == RANGE


@pytest.mark.parametrize("name", SENSORS)
def test_predictions_are_samples_with_boxes(name):
    model = detector(name).eval()
    with torch.no_grad():
        found = call_model(model, batch(model), None, "predict", training=False)
    assert len(found) == 2
    boxes = found[0].pred_instances_3d
    assert boxes.bboxes_3d.tensor.shape[1] == 9
    assert len(boxes.scores_3d) == len(boxes.labels_3d) == len(boxes.bboxes_3d)


def test_a_detector_looks_at_its_own_sensors_only():
    """A raw batch with images costs a LiDAR detector nothing; a batch without is an error."""
    model = detector("lidar").eval()
    given = batch(model)
    alone = {**given, "inputs": {"points": given["inputs"]["points"]}}
    with torch.no_grad():
        first, second = (call_model(model, b, None, "tensor", False) for b in (given, alone))
    assert torch.equal(first[0][0]["heatmap"], second[0][0]["heatmap"])
    with pytest.raises(ValueError, match="has a camera, but the batch has no 'img'"):
        call_model(detector("camera"), alone, None, "tensor", False)


def test_samples_without_boxes_are_trained_on():
    model = detector("fusion").train()
    given = batch(model)
    for sample in given["data_samples"]:
        sample.gt_instances_3d = sample.gt_instances_3d[:0]
    losses = call_model(model, given, None, "loss", training=True)
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses["task0.loss_bbox"] == 0


def test_heads_start_without_objects():
    model = detector("camera")
    for task in model.pts_bbox_head.task_heads:
        assert task.heatmap[-1].bias.mean().item() == pytest.approx(-2.19)


def test_earlier_maps_are_moved_into_the_present_frame():
    """The present images as an earlier frame from which the vehicle has driven on by two cells."""
    model = detector("camera", history=1).eval()
    given = batch(model)
    cell = model.low_grid.cell[0]
    for sample in given["data_samples"]:
        moment = sample.metainfo["history"][0]
        moment["from_present"][0, 3] = 2 * cell  # what is at x now was at x + 2 cells then
    for images in given["inputs"]["img"]:
        images[6:] = images[:6]
    seen = []
    model.frame_fuser.register_forward_pre_hook(lambda _m, inputs: seen.extend(inputs[0]))
    with torch.no_grad():
        call_model(model, given, None, "tensor", False)
    now, then = seen
    torch.testing.assert_close(then[..., :-2], now[..., 2:], atol=1e-4, rtol=0)
    assert not then[..., -2:].any()


def test_earlier_frames_have_no_gradient_and_must_be_there():
    model = detector("camera", history=1).train()
    given = batch(model)
    losses = call_model(model, given, None, "loss", True)
    sum(losses.values()).backward()
    given["inputs"]["img"] = [images[:6] for images in given["inputs"]["img"]]
    with pytest.raises(ValueError, match="images of 2 moments of 6 cameras, got 6"):
        call_model(model, given, None, "loss", True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sensors": ("radar",)}, "expected 'lidar', 'camera' or both"),
        ({"sensors": ()}, "expected 'lidar', 'camera' or both"),
        ({"sensors": ("camera",), "camera": None}, "needs camera="),
        ({"fuser": None}, "needs a fuser"),
        ({"sensors": ("lidar",), "history": 1}, "history"),
    ],
)
def test_configs_that_make_no_detector(options, words):
    with pytest.raises(ValueError, match=words):
        detector("fusion", **options)


def with_images(model, rows, columns, stride):
    """A batch of images of a size, and depths of their cells."""
    given = batch(model)
    shape = (6, 3, rows, columns)
    given["inputs"]["img"] = [torch.zeros(shape, dtype=torch.uint8) for _ in range(2)]
    given["inputs"]["depth"] = [torch.ones(6, rows // stride, columns // stride) for _ in range(2)]
    return given


def test_cells_that_are_no_whole_pixels_are_named():
    """They were looked up beside their place, by padding or by the network's rounding."""
    model = detector("camera").eval()
    with torch.no_grad():
        call_model(model, with_images(model, 64, 64, 2), None, "tensor", False)
        # 3 rows of 24 were taken for 4 of the 32 that images padded to 64 rows have
        with pytest.raises(ValueError, match=r"measured depths of 24 x 32 cells .* 64 x 64 pixels"):
            call_model(model, with_images(model, 48, 64, 2), None, "tensor", False)
        divisor = dict(data_preprocessor=dict(pad_size_divisor=4))
        changes = {**copy.deepcopy(dict(config("camera").model["changes"])), **divisor}
        model = detector("camera", changes=changes).eval()
        with pytest.raises(ValueError, match=r"image features of 8 x 8 cells .* 60 x 64 pixels"):
            call_model(model, with_images(model, 60, 64, 4), None, "tensor", False)


def test_privileged_depth_has_no_history():
    camera = copy.deepcopy(dict(config("camera").model["camera"]))
    transform = dict(camera["view_transform"], type=TrueDepth, depth_weight=0.0)
    camera["view_transform"] = transform
    with pytest.raises(ValueError, match="history=0 is needed with true depth"):
        detector("camera", camera=camera, history=1)
    model = detector("camera", camera=camera).train()
    losses = call_model(model, batch(model), None, "loss", True)
    assert "loss_depth" not in losses
    sum(losses.values()).backward()


@pytest.mark.parametrize("true_depth", [False, True])
def test_voxels_read_out_of_images_in_place_of_a_lift(true_depth):
    """CaDDN's detector, and MonoTAKD's assistant with true depth: the same class."""
    camera = copy.deepcopy(dict(config("camera").model["camera"]))
    given = {k: camera["view_transform"][k] for k in ("in_channels", "out_channels")}
    scale = dict(low=1.0, high=20.0, count=24)
    options = dict(voxels=(4, 8), scale=scale, depth_weight=3.0, true_depth=true_depth)
    camera["view_transform"] = dict(type=FrustumVoxels, **given, **options)
    model = detector("camera", camera=camera).train()
    losses = call_model(model, batch(model), None, "loss", True)
    assert ("loss_depth" in losses) != true_depth
    sum(losses.values()).backward()
    untouched = {name for name, p in model.named_parameters() if p.grad is None}
    assert not {name for name in untouched if "view_transform" in name or "backbone" in name}
    with pytest.raises(ValueError, match="history=0 is needed") if true_depth else nullcontext():
        detector("camera", camera=camera, history=1)


@pytest.mark.parametrize("kind", [GatedFuser, ConvFuser])
def test_fusers(kind):
    fuser = kind([2, 3], 4)
    out = fuser([torch.randn(2, 2, 5, 6), torch.randn(2, 3, 5, 6)])
    assert out.shape == (2, 4, 5, 6)


def test_a_map_is_the_same_wherever_its_camera_stands_in_the_batch():
    """Samples do not leak into one another: a batch of two equals its samples one by one."""
    model = detector("camera").eval()
    given = batch(model)
    given["data_samples"][1].metainfo["lidar2cam"][:, 0, 3] += 0.3
    moved = np.diag([1.0, -1.0, 1.0, 1.0])
    given["data_samples"][1].set_metainfo({"lidar_aug_matrix": moved})
    with torch.no_grad():
        both = call_model(model, given, None, "tensor", False)[0][0]["heatmap"]
        for row in range(2):
            one = {
                "inputs": {name: value[row : row + 1] for name, value in given["inputs"].items()},
                "data_samples": given["data_samples"][row : row + 1],
            }
            alone = call_model(model, one, None, "tensor", False)[0][0]["heatmap"]
            torch.testing.assert_close(alone[0], both[row], atol=1e-4, rtol=1e-4)
