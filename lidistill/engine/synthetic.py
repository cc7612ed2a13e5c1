# SPDX-License-Identifier: Apache-2.0
"""A made-up batch of what a config trains on, where there are no data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from lidistill.engine.synthetic_cameras import with_cameras
from lidistill.engine.synthetic_pairs import pairs_pipeline, synthetic_pairs


def made_up(cfg: Any, model: nn.Module, points: int) -> Any:
    """A batch without data: frames with images, crops of images, or a detector's clouds with boxes.

    Args:
        cfg: config of the training.
        model: what is trained.
        points: of each of the two samples, where they have any.
    """
    from lidistill.datasets.images import ImageCrops

    steps = pairs_pipeline(cfg)
    if steps is not None:
        return synthetic_pairs(cfg, steps, points)
    dataset = (cfg.get("train_dataloader") or {}).get("dataset") or {}
    if dataset.get("type") is ImageCrops:
        return synthetic_crops(cfg)
    return synthetic_batch(cfg, model, points)


def synthetic_crops(cfg: Any) -> Any:
    """Two crops of each of two images of noise, collated as the config does."""
    from lidistill.datasets.images import ImageCrops

    loader = cfg.train_dataloader
    settings = {name: value for name, value in loader.dataset.items() if name != "type"}
    crops = ImageCrops(**settings, lazy_init=True)
    views = []
    for number in range(2):
        rng = np.random.default_rng(number)
        shape = (2 * crops.size[0], 2 * crops.size[1], 3)
        image = rng.integers(0, 255, shape).astype(np.uint8)
        views.append(crops.two_views(image, rng, {"path": "made-up", "token": f"made-up {number}"}))
    return loader.collate_fn["type"](views)


def synthetic_batch(cfg: Any, model: nn.Module, points: int, objects: int = 6) -> dict[str, Any]:
    """Noise with a few boxes full of points, in the detector's range.

    Args:
        cfg: config of the training; says how many numbers a point has, and the classes where the
            detector's head does not.
        model: detector, or a Distiller around one.
        points: of each of the two samples.
        objects: likewise; of 50 points each.

    Raises:
        ValueError: the detector has no voxel layer that says what it covers.
    """
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    from lidistill.datasets.object_complete.transforms import TEACHER_POINTS, SplitObjectComplete
    from lidistill.distill.detectors.heads import class_count
    from lidistill.distill.detectors.places import point_range

    student = getattr(model, "student", model)
    covered = point_range(student) or cfg.get("point_range")
    if covered is None:
        raise ValueError(
            "--synthetic makes batches for detectors with a voxel layer or configs with a "
            "point_range; use data"
        )
    low, high = torch.tensor(covered[:3]), torch.tensor(covered[3:])
    head = getattr(student, "pts_bbox_head", None)
    centres_head = getattr(head, "task_heads", None) is not None  # CenterPoint's
    with_velocity = centres_head or getattr(head, "box_code_size", 7) > 7
    numbers = point_numbers(cfg.get("train_dataloader"))  # a Config itself is no mapping
    classes = class_count(student) or len(cfg.get("classes") or [0])
    made = torch.Generator().manual_seed(0)
    clouds, samples = [], []
    for _ in range(2):
        xyz = low + (high - low) * torch.rand(points, 3, generator=made)
        centres = low + (high - low) * (0.2 + 0.6 * torch.rand(objects, 3, generator=made))
        sizes = torch.tensor([3.9, 1.6, 1.5]).expand(objects, 3)
        near = (
            centres[:, None] + (torch.rand(objects, 50, 3, generator=made) - 0.5) * sizes[:, None]
        )
        xyz[: len(near) * 50] = near.reshape(-1, 3)[:points]
        clouds.append(torch.cat([xyz, torch.rand(points, numbers - 3, generator=made)], 1))
        boxes = torch.cat([centres, sizes, torch.rand(objects, 1, generator=made)], 1)
        boxes[:, 2] -= sizes[:, 2] / 2
        if with_velocity:
            boxes = torch.cat([boxes, torch.zeros(objects, 2)], 1)
        meta = {"box_type_3d": LiDARInstance3DBoxes, "box_mode_3d": 0}
        sample = Det3DDataSample(metainfo=meta)
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=boxes.shape[1]),
            labels_3d=torch.arange(objects) % classes,
        )
        samples.append(sample)
    inputs = {"points": clouds}
    if has_step(cfg.get("train_dataloader"), SplitObjectComplete):
        inputs[TEACHER_POINTS] = clouds
    batch = {"inputs": inputs, "data_samples": samples}
    return with_cameras(batch, cfg.get("train_dataloader"), model)


def point_numbers(node: Any) -> int:
    """Numbers of a point, by the last step of the pipeline that reads or adds some."""
    return _point_numbers(node) or 4


def _point_numbers(node: Any) -> int | None:
    if isinstance(node, Mapping):
        used = node.get("use_dim")
        if used is not None and ("load_dim" in node or "sweeps_num" in node):
            count = used if isinstance(used, int) else len(used)
            if count > 3:
                return count
        node = list(node.values())
    if isinstance(node, list | tuple):
        return next(filter(None, map(_point_numbers, reversed(node))), None)
    return None


def has_step(node: Any, step: type) -> bool:
    """Whether a pipeline, somewhere in a config, has a transform."""
    if isinstance(node, Mapping):
        return node.get("type") is step or any(has_step(item, step) for item in node.values())
    return isinstance(node, list | tuple) and any(has_step(item, step) for item in node)
