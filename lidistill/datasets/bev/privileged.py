# SPDX-License-Identifier: Apache-2.0
"""What a camera's teacher may see and its student may not: depth of objects, depth as an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from lidistill.datasets.bev.depth_maps import dense_depth, sparse_depth
from lidistill.geometry.cameras import Cameras
from lidistill.registry import TRANSFORMS

_NEAR = 0.1  # metres in front of the camera; corners nearer than that have no pixel


@TRANSFORMS.register_module()
class ObjectDepths:
    """Depth of each object over its rectangle: ``object_depth`` (N, h, w) metres, 0 elsewhere.

    For a teacher with ``camera=dict(depth="object_depth", ...)`` and true depth. Needs labels, and
    stands behind the steps that load and move images and boxes. Of objects one behind the other
    the nearer covers the cells.

    Args:
        stride: pixels along a cell; divides the images' sides.

    Source: Wu et al., "Attention-based Depth Distillation with 3D-Aware Positional Encoding for
        Monocular 3D Object Detection" (ADD), AAAI 2023, its object-wise depth.
    """

    def __init__(self, stride: int = 8) -> None:
        self.stride = stride

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``object_depth``."""
        boxes = results["gt_bboxes_3d"]
        corners = boxes.corners.double().numpy().reshape(-1, 8, 3)
        centres = boxes.gravity_center.double().numpy().reshape(-1, 3)
        maps = []
        for image, matrix, present in _views(results):
            rows, columns = (side // self.stride for side in image.shape[:2])
            depth = np.zeros((rows, columns), np.float32)
            far = centres @ matrix[2, :3] + matrix[2, 3]
            for k in np.argsort(-far, kind="stable"):
                seen = corners[k] @ matrix[:3, :3].T + matrix[:3, 3]
                seen = seen[seen[:, 2] > _NEAR]
                if not present or far[k] <= _NEAR or not len(seen):
                    continue
                cells = (seen[:, :2] / seen[:, 2:] + 0.5) / self.stride
                (u0, v0), (u1, v1) = np.floor(cells.min(0)), np.ceil(cells.max(0))
                left, right = np.clip([u0, u1], 0, columns).astype(int)
                top, bottom = np.clip([v0, v1], 0, rows).astype(int)
                depth[top:bottom, left:right] = far[k]
            maps.append(depth)
        results["object_depth"] = np.stack(maps)
        return results


@TRANSFORMS.register_module()
class DepthImages:
    """The scan as an image, holes filled: ``depth_image``, a list of (H, W, 3) float32 of 0..255.

    For a teacher with ``camera=dict(images="depth_image", ...)``. Stands behind the steps that load
    and move images and points. Near is bright, unknown is black.

    Args:
        far: metres that are black.

    Source: Chong et al., "MonoDistill: Learning Spatial Features for Monocular 3D Object Detection"
        (2201.10830), section 3.2: a teacher on projected and completed depth.
    """

    def __init__(self, far: float = 60.0) -> None:
        self.far = far

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill ``depth_image``."""
        xyz = np.ascontiguousarray(results["points"].tensor[:, :3].numpy(), dtype=np.float32)
        made = []
        for image, matrix, present in _views(results):
            depth = dense_depth(sparse_depth(xyz, matrix, image.shape[:2]))
            bright = np.where(depth > 0, 255 * (1 - np.minimum(depth / self.far, 1)), 0)
            made.append(np.repeat((bright * present)[..., None], 3, axis=2).astype(np.float32))
        results["depth_image"] = made
        return results


def _views(results: dict[str, Any]) -> list[tuple[Any, Any, bool]]:
    """Present image, matrix from augmented points to its pixels, whether it is there."""
    cameras = Cameras.of_samples([results])
    views = zip(results["img"], cameras.image_from_lidar[0], cameras.present[0], strict=False)
    return [(image, matrix, bool(there)) for image, matrix, there in views]
