# SPDX-License-Identifier: Apache-2.0
"""Mirroring of a whole sample: image, depth, points and boxes, and the matrices between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lidistill.datasets.bev.augment import move_scene
from lidistill.datasets.bev.cameras import affine_matrix
from lidistill.datasets.bev.pack import DEPTHS
from lidistill.geometry.frames import mirror
from lidistill.registry import TRANSFORMS


@TRANSFORMS.register_module()
class FlipView:
    """Mirror image and scene together, so that the picture is one that a camera could have taken.

    Of a forward camera: the images left and right, y of points and boxes (LiDAR frame x forward).
    P2 stays whole: the matrices of image and scene say what was done, and
    :class:`lidistill.geometry.cameras.Cameras` still takes each point to its pixel. Stands behind
    LoadCameras and AugmentImages, before or after the steps that make depths.

    Args:
        share: of samples that are mirrored.

    Source: CaDDN's, CMKD's and MonoTAKD's only augmentation.
    Differs from the authors' release: principal point and the shift in P2 are kept exactly; the
        release mirrors about the image's middle and leaves them.
    """

    def __init__(self, share: float = 0.5) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share: expected 0..1, got {share}")
        self.share = share

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Mirror, or leave as it is."""
        draw = np.random  # seeded in each worker process, as mmengine's
        if draw.uniform() >= self.share:
            return results
        move_scene(results, mirror((False, True, False)))
        moments = [results, *results.get("history", ())]
        count = len(results["img"]) // len(moments)
        for number, moment in enumerate(moments):
            for k in range(count):
                place = number * count + k
                width = results["img"][place].shape[1]
                results["img"][place] = np.ascontiguousarray(results["img"][place][:, ::-1])
                flip = affine_matrix(np.array([[-1.0, 0, width - 1], [0, 1, 0]]))
                moment["img_aug_matrix"][k] = flip @ moment["img_aug_matrix"][k]
        for key in DEPTHS:  # (N, h, w)
            if key in results:
                results[key] = np.ascontiguousarray(results[key][..., ::-1])
        if "depth_image" in results:  # each (H, W, 3)
            made = results["depth_image"]
            results["depth_image"] = [np.ascontiguousarray(image[:, ::-1]) for image in made]
        return results
