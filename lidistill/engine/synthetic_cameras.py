# SPDX-License-Identifier: Apache-2.0
"""Images, matrices and depths for a made-up batch, where a config's pipeline loads cameras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from lidistill.geometry.frames import invert, make_transform, rotation_about_z

LIDAR_FROM_CAMERA = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # x right, y down, z forward


def with_cameras(batch: dict[str, Any], loader: Any, model: nn.Module) -> dict[str, Any]:
    """Add what the steps of the loader's pipeline would: cameras that look around, noise as images.

    Args:
        batch: as :func:`lidistill.engine.synthetic.synthetic_batch` makes it; changed.
        loader: config of the data loader; without AugmentImages in it nothing is added.
        model: of the batch; says how many earlier frames it looks at.
    """
    steps = {_name(step): step for step in _steps(loader or {})}
    if "AugmentImages" not in steps:
        return batch
    height, width = steps["AugmentImages"]["size"]
    names = steps.get("LoadCameras", {}).get("cameras") or range(6)
    count, stride = len(names), steps.get("DepthTargets", {}).get("stride")
    student = getattr(model, "student", model)
    frames = 1 + max(
        int(steps.get("LoadCameras", {}).get("history") or 0), getattr(student, "history", 0)
    )
    made = torch.Generator().manual_seed(1)
    images, depths = [], []
    for_teachers: dict[str, list[torch.Tensor]] = {}
    for sample in batch["data_samples"]:
        shape = (frames * count, 3, int(height), int(width))
        images.append(torch.randint(0, 256, shape, generator=made, dtype=torch.uint8))
        if stride:
            cells = (count, int(height) // stride, int(width) // stride)
            depths.append(50 * torch.rand(cells, generator=made))
        moment = _matrices(count, int(height), int(width))
        earlier = [{**moment, "from_present": np.eye(4)} for _ in range(frames - 1)]
        sample.set_metainfo({**moment, "history": earlier, "lidar_aug_matrix": np.eye(4)})
        for step, key in (("DepthImages", "depth_image"), ("ObjectDepths", "object_depth")):
            if step in steps:
                given = images[-1].float() if step == "DepthImages" else depths[-1]
                for_teachers.setdefault(key, []).append(given)
    batch["inputs"].update(for_teachers, img=images)
    if stride:
        batch["inputs"]["depth"] = depths
    return batch


def _matrices(count: int, height: int, width: int) -> dict[str, Any]:
    pose = make_transform(LIDAR_FROM_CAMERA, [0.5, 0.0, -0.3])
    turns = [rotation_about_z(2 * np.pi * k / count) @ pose for k in range(count)]
    intrinsics = np.eye(4)
    intrinsics[:2, :3] = [[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2]]
    return {
        "cam2img": np.tile(intrinsics, (count, 1, 1)),
        "lidar2cam": np.stack([invert(turn) for turn in turns]),
        "img_aug_matrix": np.tile(np.eye(4), (count, 1, 1)),
        "cam_present": np.ones(count, dtype=bool),
    }


def _steps(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        if "type" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _steps(item)


def _name(step: Mapping[str, Any]) -> str:
    kind = step["type"]
    return str(getattr(kind, "__name__", kind)).rsplit(".", 1)[-1]
