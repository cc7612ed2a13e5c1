# SPDX-License-Identifier: Apache-2.0
"""The end of a pipeline: what a detector of LiDAR and cameras takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lidistill.geometry.cameras import KEYS
from lidistill.registry import TRANSFORMS

META = (
    "sample_idx",
    "token",
    "timestamp",
    "box_type_3d",
    "box_mode_3d",
    "lidar_path",
    "img_shape",
    "lidar_aug_matrix",
    "cam_present",
    "cam_names",
    "history",
    *KEYS,
)
IMAGES, DEPTHS = ("img", "depth_image"), ("depth", "object_depth")


@TRANSFORMS.register_module()
class PackBEV:
    """mmdet3d's ``Pack3DDetInputs``, with depths and with the cameras' matrices in the metainfo.

    Args:
        keys: of ``points``, ``img``, ``depth`` for the inputs (``depth_image``, ``object_depth``
            for teachers); ``gt_bboxes_3d`` and ``gt_labels_3d`` for labels.
        meta_keys: further metainfo.
    """

    def __init__(
        self,
        keys: Sequence[str] = ("points", "img", "depth", "gt_bboxes_3d", "gt_labels_3d"),
        meta_keys: Sequence[str] = (),
    ) -> None:
        self.keys, self.meta_keys = tuple(keys), (*META, *meta_keys)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Returns ``inputs`` and ``data_samples``.

        Raises:
            ValueError: a key that no step before it made.
        """
        from mmdet3d.structures import Det3DDataSample
        from mmengine.structures import InstanceData

        lacking = [key for key in self.keys if key not in results]
        if lacking:
            raise ValueError(
                f"PackBEV has no {', '.join(lacking)}: put the step that makes it into the "
                "pipeline (LoadCheckedPoints, LoadCameras, DepthTargets, LoadAnnotations3D), or "
                "leave it out of keys"
            )
        inputs: dict[str, Any] = {}
        if "points" in self.keys:
            inputs["points"] = results["points"].tensor
        for key in IMAGES:
            if key in self.keys:
                images = np.stack(results[key]).transpose(0, 3, 1, 2)
                inputs[key] = torch.from_numpy(np.ascontiguousarray(images))  # (N, 3, H, W)
        for key in DEPTHS:
            if key in self.keys:
                inputs[key] = torch.from_numpy(results[key])
        sample = Det3DDataSample(
            metainfo={key: results[key] for key in self.meta_keys if key in results}
        )
        if "gt_bboxes_3d" in self.keys:
            labels = torch.as_tensor(np.asarray(results["gt_labels_3d"]), dtype=torch.long)
            boxes = results["gt_bboxes_3d"]
            sample.gt_instances_3d = InstanceData(bboxes_3d=boxes, labels_3d=labels)
        return {"inputs": inputs, "data_samples": sample}
