# SPDX-License-Identifier: Apache-2.0
"""KITTI scores of an mmdet3d detector, as an mmengine metric that needs no GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from lidistill.converters.infos import KITTI_CLASSES, load_infos
from lidistill.converters.kitti.files import DONT_CARE, Labels
from lidistill.evaluation.detections import boxes_of_sample, frames_by_file
from lidistill.evaluation.kitti.ap import CLASSES, LOOSE, STRICT, KittiScores, kitti_ap
from lidistill.geometry.boxes import (
    boxes_to_corners,
    kitti_to_lidar_boxes,
    lidar_to_kitti_boxes,
)
from lidistill.geometry.frames import apply_transform, invert, make_transform
from lidistill.registry import METRICS

# An upright frame (x forward, y left, z up) to a camera's (x right, y down, z forward).
CAMERA_FROM_UPRIGHT = make_transform([[0, -1, 0], [0, 0, -1], [1, 0, 0]], np.zeros(3))
NEAR = 0.1  # metres in front of the camera; corners nearer than that have no pixel
OVERLAPS = {"strict": STRICT, "loose": LOOSE}


def true_labels(frame: Mapping[str, Any]) -> Labels:
    """The labels of one frame out of its info entry, DontCare included."""
    found = frame["instances"]
    boxes = np.array([i["bbox_3d"] for i in found], dtype=np.float64).reshape(-1, 7)
    return Labels(
        names=tuple(
            KITTI_CLASSES[i["bbox_label"]] if i["bbox_label"] >= 0 else DONT_CARE for i in found
        ),
        truncated=np.array([i["truncated"] for i in found], dtype=np.float64),
        occluded=np.array([i["occluded"] for i in found], dtype=np.int64),
        alpha=np.array([i["alpha"] for i in found], dtype=np.float64),
        bbox=np.array([i["bbox"] for i in found], dtype=np.float64).reshape(-1, 4),
        size=boxes[:, 3:6],
        location=boxes[:, :3],
        rotation_y=boxes[:, 6],
        score=np.zeros(len(found)),
    )


def found_labels(
    frame: Mapping[str, Any],
    boxes: NDArray,
    scores: NDArray,
    labels: NDArray,
    classes: Sequence[str],
    camera: str = "CAM2",
) -> Labels:
    """Detections of one frame as KITTI's labels; those that the camera does not see are left out.

    Args:
        frame: info entry.
        boxes: (M, 7) in the LiDAR frame, centre origin.
        scores: (M,).
        labels: (M,) indices into ``classes``.
        classes: class names in the detector's order.
        camera: whose image counts.

    Source: the rectangle is the hull of the projected corners cut at the image, as in mmdet3d and
        OpenPCDet; corners behind the camera are left out here.
    """
    image = frame["images"][camera]
    camera_from_lidar = np.asarray(image["lidar2cam"], dtype=np.float64)
    boxes = np.asarray(boxes, dtype=np.float64)[:, :7]
    rows = lidar_to_kitti_boxes(boxes, camera_from_lidar)  # (M, 7) h w l x y z rotation_y
    # KITTI's boxes stand upright in the camera's frame, not in the LiDAR's.
    upright = boxes_to_corners(kitti_to_lidar_boxes(rows, invert(CAMERA_FROM_UPRIGHT)))
    corners = apply_transform(CAMERA_FROM_UPRIGHT, upright.reshape(-1, 3)).reshape(-1, 8, 3)
    projection = np.asarray(image["cam2img"])
    rectangles, seen = _rectangles(corners, projection, image["width"], image["height"])
    rows = rows[seen]
    return Labels(
        names=tuple(classes[int(label)] for label in np.asarray(labels)[seen]),
        truncated=np.zeros(len(rows)),
        occluded=np.zeros(len(rows), dtype=np.int64),
        alpha=rows[:, 6] - np.arctan2(rows[:, 3], rows[:, 5]),
        bbox=rectangles[seen],
        size=rows[:, [2, 0, 1]],
        location=rows[:, 3:6],
        rotation_y=rows[:, 6],
        score=np.asarray(scores, dtype=np.float64)[seen],
    )


def _rectangles(
    corners: NDArray[np.float64], projection: NDArray, width: int, height: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(M, 4) x1 y1 x2 y2 within the image of boxes (M, 8, 3), and (M,) which are in it."""
    front = corners[..., 2] > NEAR
    pixels = corners @ np.asarray(projection)[:3, :3].T + np.asarray(projection)[:3, 3]
    uv = pixels[..., :2] / np.where(front, pixels[..., 2], 1.0)[..., None]
    low = np.where(front[..., None], uv, np.inf).min(axis=1, initial=np.inf)
    high = np.where(front[..., None], uv, -np.inf).max(axis=1, initial=-np.inf)
    size = np.array([width, height], dtype=np.float64)
    seen = (low < size).all(axis=1) & (high > 0).all(axis=1)
    return np.concatenate([low.clip(0, size), high.clip(0, size)], axis=1), seen


@METRICS.register_module()
class KittiDetection(BaseMetric):
    """AP of Car, Pedestrian and Cyclist by KITTI's protocol, in percent.

    Args:
        ann_file: info file of the split, made by ``lidistill create_data kitti``.
        overlaps: ``strict``, the benchmark's, or ``loose`` (bev and 3d at 0.5 and 0.25), for small
            models and little data.
        prefix: before the names of the numbers.
    """

    default_prefix = "kitti"

    def __init__(self, ann_file: str, overlaps: str = "strict", prefix: str | None = None) -> None:
        if overlaps not in OVERLAPS:
            raise ValueError(f"expected overlaps to be one of {tuple(OVERLAPS)}, got {overlaps!r}")
        super().__init__(prefix=prefix)
        self.ann_file, self.overlaps = ann_file, OVERLAPS[overlaps]
        self.scores: KittiScores | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the boxes of each sample."""
        self.results.extend(map(boxes_of_sample, data_samples))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Score all samples; the whole outcome stays in ``self.scores``."""
        frames = frames_by_file(load_infos(self.ann_file, "kitti").frames)
        classes = (self.dataset_meta or {})["classes"]
        truth = [true_labels(frames[name]) for name, *_ in results]
        found = [
            found_labels(frames[name], boxes, scores, labels, classes)
            for name, boxes, scores, labels in results
        ]
        counted = [kind for kind in CLASSES if kind in classes]
        self.scores = kitti_ap(truth, found, counted, self.overlaps)
        means = {
            f"mAP/{metric}_R40_{level}": self.scores.mean(metric, "R40", level)
            for metric in ("bbox", "bev", "3d")
            for level in ("easy", "moderate", "hard")
        }
        return {**means, **self.scores.metrics()}
