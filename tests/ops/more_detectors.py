# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's other detectors and segmentors, cut down: what they are built from, one batch each.

As `detector_cases`: shipped configs, unmodified classes, never lidistill.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.ops import detector_cases

CONFIGS = {
    "pvrcnn": "pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py",
    "parta2": "parta2/parta2_hv_secfpn_8xb2-cyclic-80e_kitti-3d-3class.py",
    "votenet": "votenet/votenet_8xb8_scannet-3d.py",
    "3dssd": "3dssd/3dssd_4xb4_kitti-3d-car.py",
    "smoke": "smoke/smoke_dla34_dlaneck_gn-all_4xb8-6x_kitti-mono3d.py",
    "fcos3d": "fcos3d/fcos3d_r101-caffe-dcn_fpn_head-gn_8xb2-1x_nus-mono3d.py",
    "pgd": "pgd/pgd_r101-caffe_fpn_head-gn_4xb3-4x_kitti-mono3d.py",
    "imvoxelnet": "imvoxelnet/imvoxelnet_8xb4_kitti-3d-car.py",
    "cylinder3d": "cylinder3d/cylinder3d_4xb4-3x_semantickitti.py",
    "minkunet": "minkunet/minkunet34_w32_spconv_8xb2-laser-polar-mix-3x_semantickitti.py",
    "minkunet_torchsparse": (
        "minkunet/minkunet34_w32_torchsparse_8xb2-laser-polar-mix-3x_semantickitti.py"
    ),
    "minkunet_v2": (
        "minkunet/minkunet34v2_w32_torchsparse_8xb2-amp-laser-polar-mix-3x_semantickitti.py"
    ),
    "spvcnn": "spvcnn/spvcnn_w32_8xb2-amp-laser-polar-mix-3x_semantickitti.py",
    "paconv": "paconv/paconv_ssg-cuda_8xb8-cosine-200e_s3dis-seg.py",
}
MONO = ("smoke", "fcos3d", "pgd", "imvoxelnet")
ON_TORCHSPARSE = ("minkunet_torchsparse", "minkunet_v2", "spvcnn")
SEGMENTORS = ("cylinder3d", "minkunet", *ON_TORCHSPARSE, "paconv")
IMAGE = (64, 96)  # rows, columns
CAMERA = [[70.0, 0, 48, 0], [0, 70, 32, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def build(name: str) -> torch.nn.Module:
    """The network with weights from a fixed seed."""
    import mmdet3d
    from mmdet3d.registry import MODELS
    from mmdet3d.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules(init_default_scope=True)
    folder = Path(mmdet3d.__file__).parent / ".mim" / "configs"
    model = copy.deepcopy(Config.fromfile(folder / CONFIGS[name]).model)
    model.backbone.pop("init_cfg", None)  # no download
    SMALLER.get(name, lambda model: None)(model)
    torch.manual_seed(0)
    network = MODELS.build(model)
    network.init_weights()
    wake(network)
    return network


def wake(network: torch.nn.Module) -> None:
    """Random in place of zero weights: a residual block that ends in zeros hides what it computes,
    and offsets of zero leave a deformable convolution an ordinary one."""
    for name, parameter in network.named_parameters():
        if name.endswith("weight") and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)


# --- smaller --------------------------------------------------------------------------------------


def _voxels(model: Any) -> None:
    """PV-RCNN and Part-A2 on 25.6 m x 25.6 m, few proposals."""
    limits = detector_cases.RANGE
    layer = model.data_preprocessor.voxel_layer
    layer.update(point_cloud_range=list(limits), voxel_size=[0.1, 0.1, 0.1])
    layer.max_voxels = (3000, 3000)
    model.middle_encoder.sparse_shape = [41, 256, 256]
    generator = model.rpn_head.anchor_generator
    generator.ranges = [[*limits[:2], low[2], *limits[3:5], low[2]] for low in generator.ranges]
    model.train_cfg.rpn_proposal.update(nms_pre=200, nms_post=24, max_num=24)
    model.train_cfg.rcnn.sampler.num = 16
    model.test_cfg.rpn.update(nms_pre=100, nms_post=12, max_num=12)
    model.test_cfg.rcnn.score_thr = 0.0
    if "points_encoder" in model:
        model.points_encoder.update(
            num_keypoints=128, voxel_size=[0.1, 0.1, 0.1], point_cloud_range=list(limits)
        )


def _votes(model: Any) -> None:
    model.backbone.update(num_points=(128, 64, 32, 32), num_samples=(16, 8, 8, 8))
    model.backbone.radius = (1.0, 2.0, 4.0, 6.0)
    model.bbox_head.vote_aggregation_cfg.update(num_point=16, radius=3.0)
    model.test_cfg.score_thr = 0.0


def _single_stage(model: Any) -> None:
    model.backbone.num_points = (256, 64, (32, 32))
    model.backbone.fps_sample_range_lists = (-1, -1, (48, -1))
    model.bbox_head.vote_module_cfg.num_points = 32
    model.bbox_head.vote_aggregation_cfg.num_point = 32


def _depth50(model: Any) -> None:
    model.backbone.depth = 50
    model.test_cfg.update(score_thr=0.0, nms_pre=50, max_per_img=20)


def _volume(model: Any) -> None:
    model.n_voxels = [12, 16, 12]
    low, high = (0.0, -8.0), (12.0, 8.0)
    model.prior_generator.ranges = [[*low, -3.08, *high, 0.76]]
    model.bbox_head.anchor_generator.ranges = [[*low, -1.78, *high, -1.78]]
    model.test_cfg.update(score_thr=0.0, nms_pre=50, max_num=20)


def _cylinder(model: Any) -> None:
    grid = [48, 32, 16]
    model.data_preprocessor.voxel_layer.grid_shape = grid
    model.backbone.update(grid_size=grid, base_channels=8)
    model.decode_head.channels = 32


def _minkunet(model: Any) -> None:
    model.data_preprocessor.voxel_layer.voxel_size = [0.3, 0.3, 0.05]
    model.backbone.update(encoder_blocks=[1] * 4, decoder_blocks=[1] * 4)


def _paconv(model: Any) -> None:
    model.backbone.update(num_points=(64, 32, 16, 8), num_samples=(8, 8, 8, 8))
    model.decode_head.num_classes = 13
    model.test_cfg.update(
        num_points=256, block_size=30.0, sample_rate=0.5, use_normalized_coord=False, batch_size=2
    )


SMALLER: dict[str, Callable[[Any], None]] = {
    "pvrcnn": _voxels,
    "parta2": _voxels,
    "votenet": _votes,
    "3dssd": _single_stage,
    "fcos3d": _depth50,
    "pgd": _depth50,
    "imvoxelnet": _volume,
    "cylinder3d": _cylinder,
    "minkunet": _minkunet,
    **dict.fromkeys(ON_TORCHSPARSE, _minkunet),
    "paconv": _paconv,
}


# --- batches --------------------------------------------------------------------------------------


def make_batch(name: str) -> dict:
    """A raw batch of two samples, as mmdet3d's pipelines pack them."""
    if name in MONO:
        return _images(name)
    from mmdet3d.structures import PointData

    batch = detector_cases.make_batch("second")
    if name in SEGMENTORS:
        return _labelled_points(name, batch)
    for sample, points in zip(batch["data_samples"], batch["inputs"]["points"], strict=True):
        labels = sample.gt_instances_3d.labels_3d
        if name == "3dssd":
            labels.zero_()
            sample.gt_pts_seg = PointData()
        if name == "votenet":
            sample.gt_instances_3d.bboxes_3d = _indoor(sample.gt_instances_3d.bboxes_3d.tensor)
            sample.set_metainfo({"box_type_3d": type(sample.gt_instances_3d.bboxes_3d)})
            _vote_masks(sample, points)
    return batch


def _indoor(boxes: torch.Tensor) -> Any:
    from mmdet3d.structures import DepthInstance3DBoxes

    upright = torch.cat([boxes[:, :6], torch.zeros(len(boxes), 1)], 1)
    return DepthInstance3DBoxes(upright[:, :6], box_dim=6, with_yaw=False)


def _vote_masks(sample: Any, points: torch.Tensor) -> None:
    from mmdet3d.structures import PointData

    boxes = sample.gt_instances_3d.bboxes_3d  # whose own search compiled mmcv has for CUDA only
    offsets = points[:, None, :3] - boxes.gravity_center  # (N, M, 3)
    within = (offsets.abs() < boxes.dims / 2).all(-1)
    inside = torch.where(within.any(1), within.int().argmax(1), -1)
    sample.gt_pts_seg = PointData(
        pts_instance_mask=inside.long() + 1,
        pts_semantic_mask=torch.where(inside >= 0, 0, 18).long(),
    )


def _labelled_points(name: str, batch: dict) -> dict:
    from mmdet3d.structures import PointData

    generator = torch.Generator().manual_seed(0)
    for b, sample in enumerate(batch["data_samples"]):
        points = batch["inputs"]["points"][b]
        if name == "paconv":
            points = points[torch.randperm(len(points), generator=generator)[:256], :3]
            colour = torch.rand(256, 6, generator=generator)
            points = batch["inputs"]["points"][b] = torch.cat([points, colour], 1)
        labels = torch.randint(0, 13, (len(points),), generator=generator)
        sample.gt_pts_seg = PointData(pts_semantic_mask=labels)
    return batch


def _images(name: str) -> dict:
    from mmdet3d.structures import CameraInstance3DBoxes, Det3DDataSample
    from mmengine.structures import InstanceData

    rng = np.random.default_rng(0)
    nuscenes, inputs, samples = name == "fcos3d", [], []
    for _ in range(2):
        centre = np.array([[-1.5, 1.2, 9], [2.0, 1.3, 14]]) + rng.uniform(-0.3, 0.3, (2, 3))
        size = [[3.9, 1.56, 1.6]] * 2
        boxes = np.concatenate([centre, size, rng.uniform(-1, 1, (2, 1 + 2 * nuscenes))], 1)
        structure = CameraInstance3DBoxes(
            torch.tensor(boxes, dtype=torch.float32), box_dim=boxes.shape[1], origin=(0.5, 1, 0.5)
        )
        view = torch.tensor(CAMERA)
        corners = structure.corners @ view[:3, :3].T
        pixels = corners[..., :2] / corners[..., 2:]
        boxes2d = torch.cat([pixels.amin(1), pixels.amax(1)], 1)
        middle = structure.gravity_center @ view[:3, :3].T
        sample = Det3DDataSample(metainfo=_camera(name))
        labels = torch.zeros(2, dtype=torch.long)
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=structure,
            labels_3d=labels,
            centers_2d=middle[:, :2] / middle[:, 2:],
            depths=middle[:, 2],
            attr_labels=labels,
        )
        sample.gt_instances = InstanceData(bboxes=boxes2d, labels=labels)
        if name == "imvoxelnet":
            lidar = structure.convert_to(0, rt_mat=np.linalg.inv(_camera_from_lidar()))
            sample.gt_instances_3d.bboxes_3d = lidar
        inputs.append(torch.tensor(rng.uniform(0, 255, (3, *IMAGE)), dtype=torch.float32))
        samples.append(sample)
    return {"inputs": {"img": inputs}, "data_samples": samples}


def _camera_from_lidar() -> np.ndarray:
    turn = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    turn[1, 3] = -0.1
    return turn


def _camera(name: str) -> dict:
    """What pipelines note of an image."""
    from mmdet3d.structures import CameraInstance3DBoxes, LiDARInstance3DBoxes

    down = np.diag([0.25, 0.25, 1.0]).astype(np.float32)
    volume = name == "imvoxelnet"
    return {
        "cam2img": CAMERA,
        "lidar2cam": _camera_from_lidar(),
        "lidar2img": np.array(CAMERA) @ _camera_from_lidar(),
        "box_type_3d": LiDARInstance3DBoxes if volume else CameraInstance3DBoxes,
        "img_shape": IMAGE,
        "ori_shape": IMAGE,
        "pad_shape": IMAGE,
        "scale_factor": np.ones(2, dtype=np.float32),
        "trans_mat": down,
        "affine_aug": False,
    }


# --- steps ----------------------------------------------------------------------------------------


def losses(model: torch.nn.Module, name: str) -> dict[str, torch.Tensor]:
    """Losses of one training batch, by name."""
    model.train()
    data = model.data_preprocessor(make_batch(name), training=True)
    raw = model.loss(data["inputs"], data["data_samples"])
    return {key: sum(value) if isinstance(value, list) else value for key, value in raw.items()}


def predictions(model: torch.nn.Module, name: str) -> dict[str, torch.Tensor]:
    """Of the first sample: boxes, scores and labels, or a class for each point."""
    model.eval()
    if name == "smoke":  # which keeps scores above 0.25 only
        torch.nn.init.zeros_(model.bbox_head.conv_cls.bias)
    with torch.no_grad():
        data = model.data_preprocessor(make_batch(name), training=False)
        found = model.predict(data["inputs"], data["data_samples"])[0]
    if name in SEGMENTORS:
        return {"labels": found.pred_pts_seg.pts_semantic_mask}
    boxes = found.pred_instances_3d
    return {
        "boxes": boxes.bboxes_3d.tensor,
        "scores": boxes.scores_3d,
        "labels": boxes.labels_3d,
    }
