# SPDX-License-Identifier: Apache-2.0
"""Unmodified mmdet3d detectors on small grids: build, one training step, prediction.

Used in the test's process and by the interpreter that has compiled mmcv (`detector_runs`). It
therefore imports mmdet3d and torch only, never lidistill.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

CAR_SIZE = (3.9, 1.6, 1.56)
RANGE = (0.0, -12.8, -3.0, 25.6, 12.8, 1.0)
CONFIGS = {
    "second": "second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py",
    "pointpillars": "pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py",
    "centerpoint": "centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py",
    "pointrcnn": "point_rcnn/point-rcnn_8xb2_kitti-3d-3class.py",  # CUDA only in compiled mmcv
}


def model_config(name: str) -> dict:
    """The shipped config's model, its range and grid cut down to 25.6 m x 25.6 m."""
    import mmdet3d
    from mmengine.config import Config

    folder = Path(mmdet3d.__file__).parent / ".mim" / "configs"
    model = copy.deepcopy(Config.fromfile(folder / CONFIGS[name]).model)
    if name == "pointrcnn":
        return fewer_points(model)
    layer = model.data_preprocessor.voxel_layer
    layer.point_cloud_range = list(RANGE)
    if name == "pointpillars":
        layer.voxel_size = [0.32, 0.32, 4]
        model.voxel_encoder.update(voxel_size=layer.voxel_size, point_cloud_range=list(RANGE))
        model.middle_encoder.output_shape = [80, 80]
    else:
        layer.voxel_size = [0.1, 0.1, 0.1]
    layer.max_voxels = (3000, 4000)
    if name == "second":
        model.middle_encoder.sparse_shape = [41, 256, 256]
    if name == "centerpoint":
        model.pts_middle_encoder.sparse_shape = [41, 256, 256]
        model.train_cfg.pts.update(
            grid_size=[256, 256, 40], voxel_size=[0.1, 0.1, 0.1], point_cloud_range=list(RANGE)
        )
        model.pts_bbox_head.bbox_coder.update(pc_range=list(RANGE[:2]))
        model.pts_bbox_head.bbox_coder.score_threshold = 0.0
        model.test_cfg.pts.update(pc_range=list(RANGE[:2]), score_threshold=0.0)
    else:
        generator = model.bbox_head.anchor_generator
        generator.ranges = [[*RANGE[:2], low[2], *RANGE[3:5], low[2]] for low in generator.ranges]
        model.test_cfg.score_thr = 0.0
    return model


def fewer_points(model: dict) -> dict:
    """PointRCNN's model with a sixteenth of the points, and every box kept."""
    model.backbone.num_points = (256, 64, 32, 16)
    model.roi_head.bbox_roi_extractor.roi_layer.num_sampled_points = 64
    model.roi_head.bbox_head.num_points = (16, 8, -1)
    model.train_cfg.rpn.rpn_proposal.update(nms_pre=500, nms_post=64)
    model.test_cfg.rpn.nms_cfg.update(nms_pre=500, nms_post=32)
    model.test_cfg.rcnn.score_thr = 0.0
    return model


def build(name: str) -> torch.nn.Module:
    """The detector with weights from a fixed seed."""
    from mmdet3d.registry import MODELS
    from mmdet3d.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    torch.manual_seed(0)
    model = MODELS.build(model_config(name))
    model.init_weights()
    return model


def make_batch(name: str, samples: int = 2) -> dict:
    """Cars as clouds of points on a noisy ground, with their boxes: mmdet3d's raw batch."""
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    rng = np.random.default_rng(3)
    nuscenes = name == "centerpoint"
    points, data_samples = [], []
    for _ in range(samples):
        centres = rng.uniform((3, -10, -1.7), (22, 10, -1.5), (4, 3))
        yaws = rng.uniform(-np.pi, np.pi, 4)
        clouds = [rng.uniform((0, -13, -1.8), (26, 13, -1.6), (1500, 3))]
        for centre, yaw in zip(centres, yaws, strict=True):
            local = rng.uniform(-0.5, 0.5, (300, 3)) * CAR_SIZE + (0, 0, CAR_SIZE[2] / 2)
            cos, sin = np.cos(yaw), np.sin(yaw)
            turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
            clouds.append(local @ turn.T + centre)
        xyz = np.concatenate(clouds)
        extra = rng.uniform(0, 1, (len(xyz), 2 if nuscenes else 1))
        points.append(torch.tensor(np.concatenate([xyz, extra], 1), dtype=torch.float32))
        boxes = np.concatenate([centres, np.tile(CAR_SIZE, (4, 1)), yaws[:, None]], 1)
        if nuscenes:
            boxes = np.concatenate([boxes, rng.uniform(-1, 1, (4, 2))], 1)
        boxes = torch.tensor(boxes, dtype=torch.float32)
        structure = LiDARInstance3DBoxes(boxes, box_dim=boxes.shape[1])
        labels = torch.tensor([0, 0, 8, 9] if nuscenes else [2, 2, 0, 1])
        sample = Det3DDataSample(
            metainfo={"box_type_3d": LiDARInstance3DBoxes, "box_mode_3d": 0, "pcd_fusion": 0}
        )
        sample.gt_instances_3d = InstanceData(bboxes_3d=structure, labels_3d=labels)
        data_samples.append(sample)
    return {"inputs": {"points": points}, "data_samples": data_samples}


def losses(model: torch.nn.Module, name: str) -> dict[str, torch.Tensor]:
    """Losses of one training batch, by name; lists are summed as mmengine does."""
    model.train()
    data = model.data_preprocessor(make_batch(name), training=True)
    raw = model.loss(data["inputs"], data["data_samples"])
    return {key: sum(value) if isinstance(value, list) else value for key, value in raw.items()}


def predictions(model: torch.nn.Module, name: str) -> dict[str, np.ndarray]:
    """Boxes, scores, labels of the first sample."""
    model.eval()
    with torch.no_grad():
        data = model.data_preprocessor(make_batch(name), training=False)
        found = model.predict(data["inputs"], data["data_samples"])[0].pred_instances_3d
    return {
        "boxes": found.bboxes_3d.tensor.numpy(),
        "scores": found.scores_3d.numpy(),
        "labels": found.labels_3d.numpy(),
    }
