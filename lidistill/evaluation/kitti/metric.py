# SPDX-License-Identifier: Apache-2.0
"""KITTI scores of an mmdet3d detector, as an mmengine metric that needs no GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from numpy.typing import NDArray

from lidistill.converters.infos import KITTI_CLASSES, load_infos
from lidistill.converters.kitti.files import DONT_CARE, Labels
from lidistill.converters.kitti.results import write_results
from lidistill.evaluation.detections import boxes_of_sample, frame_of, frames_by_file
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
OTHER = "unnamed"
EVERYWHERE = (0.0, 0.0, 1000.0, 1000.0)  # stands for the rectangle of a box without an image
NEAR = 0.1  # metres in front of the camera; corners nearer than that have no pixel
OVERLAPS = {"strict": STRICT, "loose": LOOSE}


def true_labels(frame: Mapping[str, Any]) -> Labels:
    """The labels of one frame out of its info entry, DontCare included.

    Info files of before 2026-11 hold no names: a box of label -1 with a size is then of a class
    that nobody scores, and one without is DontCare.
    """
    found = frame["instances"]
    boxes = np.array([i["bbox_3d"] for i in found], dtype=np.float64).reshape(-1, 7)
    rectangles = [i.get("bbox", EVERYWHERE) for i in found]
    return Labels(
        names=tuple(map(_name_of, found)),
        truncated=np.array([i["truncated"] for i in found], dtype=np.float64),
        occluded=np.array([i["occluded"] for i in found], dtype=np.int64),
        alpha=np.array([i["alpha"] for i in found], dtype=np.float64),
        bbox=np.array(rectangles, dtype=np.float64).reshape(-1, 4),
        size=boxes[:, 3:6],
        location=boxes[:, :3],
        rotation_y=boxes[:, 6],
        score=np.zeros(len(found)),
    )


def _name_of(instance: Mapping[str, Any]) -> str:
    if "category" in instance:
        return str(instance["category"])
    label = instance["bbox_label"]
    if label >= 0:
        return KITTI_CLASSES[label]
    return OTHER if min(instance["bbox_3d"][3:6]) > 0 else DONT_CARE


def found_labels(
    frame: Mapping[str, Any],
    boxes: NDArray,
    scores: NDArray,
    labels: NDArray,
    classes: Sequence[str],
    camera: str = "CAM2",
) -> Labels:
    """Detections of one frame as KITTI's labels; those that the camera does not see are left out.

    Without an image (LiDAR alone) all of them stay, and their rectangles mean nothing.

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
    if has_image(frame, camera):
        projection = np.asarray(image["cam2img"])
        rectangles, seen = _rectangles(corners, projection, image["width"], image["height"])
    else:
        rectangles, seen = np.tile(EVERYWHERE, (len(rows), 1)), np.ones(len(rows), dtype=bool)
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


def has_image(frame: Mapping[str, Any], camera: str = "CAM2") -> bool:
    """Whether a frame's info knows the size of an image."""
    return "width" in frame["images"][camera]


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
    """AP of Car, Pedestrian and Cyclist by KITTI's protocol, in percent; of own classes if asked.

    What is not scored (a class of the detector without an overlap, a class without objects) is
    named in the protocol, which is logged.

    Args:
        ann_file: info file of the split, made by ``lidistill create_data kitti``.
        overlaps: ``strict``, the benchmark's, or ``loose`` (bev and 3d at 0.5 and 0.25), for small
            models and little data.
        prefix: before the names of the numbers.
        own_overlaps: own class -> overlap that a match must exceed, in bbox, bev and 3d.
    """

    default_prefix = "kitti"

    def __init__(
        self,
        ann_file: str,
        overlaps: str = "strict",
        prefix: str | None = None,
        own_overlaps: Mapping[str, float] | None = None,
    ) -> None:
        if overlaps not in OVERLAPS:
            raise ValueError(f"expected overlaps to be one of {tuple(OVERLAPS)}, got {overlaps!r}")
        own = dict(own_overlaps or {})
        if not all(0 <= value < 1 for value in own.values()) or set(own) & set(CLASSES):
            raise ValueError(
                f"expected own_overlaps in 0..1 for classes other than {', '.join(CLASSES)}, "
                f"got {own}"
            )
        super().__init__(prefix=prefix)
        self.ann_file, self.overlaps = ann_file, {**OVERLAPS[overlaps], **own}
        self.scores: KittiScores | None = None
        self.found: dict[str, Labels] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the boxes of each sample."""
        self.results.extend(map(boxes_of_sample, data_samples))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Score all samples; the whole outcome stays in ``self.scores``."""
        by_file = frames_by_file(load_infos(self.ann_file, "kitti", ("lidar_points",)).frames)
        classes = (self.dataset_meta or {}).get("classes", ())
        frames = [frame_of(by_file, name, self.ann_file) for name, *_ in results]
        found = [
            found_labels(frame, boxes, scores, labels, classes)
            for frame, (_, boxes, scores, labels) in zip(frames, results, strict=True)
        ]
        self.found = {
            PurePath(name).stem: labels for (name, *_), labels in zip(results, found, strict=True)
        }
        lower = {kind.lower() for kind in classes}
        counted = [kind for kind in self.overlaps if kind.lower() in lower]
        scores = kitti_ap(
            list(map(true_labels, frames)),
            found,
            counted,
            self.overlaps,
            all(map(has_image, frames)),
        )
        words = [scores.protocol, *self._left_out(classes, counted)]
        if len(results) < len(by_file):
            words.append(f"{len(results)} of the {len(by_file)} frames of {self.ann_file}")
        self.scores = replace(scores, protocol="; ".join(words))
        print_log(self.scores.protocol, "current")
        means = {
            f"mAP/{metric}_R40_{level}": self.scores.mean(metric, "R40", level)
            for metric in ("bbox", "bev", "3d")
            for level in ("easy", "moderate", "hard")
        }
        return {**means, **self.scores.metrics()}

    def write_submission(self, folder: Path) -> Path:
        """The boxes of the last split that was scored, as KITTI's server takes them.

        Args:
            folder: gets ``data/<frame>.txt``, one a frame, an empty one where nothing was found;
                result files of an earlier test are removed.

        Returns:
            ``folder/data``: zip its files for the server, or give it to ``lidistill eval kitti``.
        """
        out = folder / "data"
        out.mkdir(parents=True, exist_ok=True)
        for path in out.glob("*.txt"):
            if path.stem not in self.found:
                path.unlink()
        for name, labels in self.found.items():
            write_results(out / f"{name}.txt", labels)
        return out

    def _left_out(self, classes: Sequence[str], counted: Sequence[str]) -> list[str]:
        known = {kind.lower() for kind in counted}
        left = [kind for kind in classes if kind.lower() not in known]
        if not left:
            return []
        return [f"not scored, for own_overlaps names no overlap for them: {', '.join(left)}"]
