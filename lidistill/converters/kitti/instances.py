# SPDX-License-Identifier: Apache-2.0
"""Labels of one KITTI frame as instances of an info, in mmdet3d's v1.1 schema."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.boxes2d import image_boxes
from lidistill.converters.kitti.classes import ClassTable
from lidistill.converters.kitti.files import DONT_CARE, Labels
from lidistill.geometry.frames import apply_transform

Info = dict[str, Any]
MAX_OCCLUDED = 3
MIN_HEIGHT, MAX_OCCLUSION, MAX_TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.3, 0.5)


def instances(
    labels: Labels,
    projection: NDArray[np.float64] | None,
    counts: NDArray[np.int64],
    classes: ClassTable,
    image_hw: tuple[int, int] | None,
) -> list[Info]:
    """Every label of a frame; without an image, rectangle and difficulty mean nothing.

    Args:
        labels: With names as the class table spells them.
        projection: (4, 4) camera 2 from the rectified frame, where it is known.
        counts: (M,) points in each box.
        classes: What is taught.
        image_hw: Size of the image; None without one.

    Returns:
        One a label, DontCare too; ``bbox_3d``: bottom centre, length, height, width, rotation_y in
        the rectified camera frame.
    """
    centers = _project_centers(labels, projection)
    levels = difficulty(labels.bbox[:, 3] - labels.bbox[:, 1], labels.occluded, labels.truncated)
    real = np.array([name != DONT_CARE for name in labels.names], dtype=bool)
    index = np.where(real, np.cumsum(real) - 1, -1)
    result: list[Info] = []
    for i, name in enumerate(labels.names):
        label = classes.label(name)
        result.append(
            {
                "category": name,
                "bbox": labels.bbox[i].tolist(),
                "bbox_label": label,
                "bbox_3d": _box(labels, i),
                "bbox_label_3d": label,
                **centers[i],
                "num_lidar_pts": int(counts[i]),
                "difficulty": int(levels[i]),
                "truncated": float(labels.truncated[i]),
                "occluded": int(labels.occluded[i]),
                "alpha": float(labels.alpha[i]),
                "score": float(labels.score[i]),
                "index": int(index[i]),
                "group_id": i,
            }
        )
        if image_hw is None:
            del result[-1]["bbox"], result[-1]["bbox_label"]
            result[-1]["difficulty"] = -1
    return result


def camera_instances(
    labels: Labels,
    projection: NDArray[np.float64] | None,
    counts: NDArray[np.int64],
    classes: ClassTable,
    image_hw: tuple[int, int] | None,
) -> list[Info]:
    """Labels of taught classes whose 3-D box shows in the image; ``bbox`` is its projection.

    Arguments as of :func:`instances`.
    """
    if image_hw is None or projection is None:
        return []
    rectangles, inside = image_boxes(_corners(labels), projection, image_hw[1], image_hw[0])
    centers = _project_centers(labels, projection)
    result = []
    for i, name in enumerate(labels.names):
        label = classes.label(name)
        known = label >= 0 and 0 <= labels.occluded[i] <= MAX_OCCLUDED
        if not (known and inside[i] and centers[i]["depth"] > 0):
            continue
        result.append(
            {
                "bbox_label": label,
                "bbox_label_3d": label,
                "bbox": rectangles[i].tolist(),
                "bbox_3d_isvalid": True,
                "bbox_3d": _box(labels, i),
                "velocity": -1,  # KITTI has none; mmdet3d marks it so
                **centers[i],
                "num_lidar_pts": int(counts[i]),
            }
        )
    return result


def difficulty(
    bbox_height: NDArray[np.float64], occluded: NDArray[np.int64], truncated: NDArray[np.float64]
) -> NDArray[np.int64]:
    """KITTI's difficulty (M,): 0 easy, 1 moderate, 2 hard, -1 none of them."""
    result = np.full(len(bbox_height), -1)
    for level in (2, 1, 0):
        fits = (bbox_height > MIN_HEIGHT[level]) & (occluded <= MAX_OCCLUSION[level])
        result[fits & (truncated <= MAX_TRUNCATION[level])] = level
    return result


def _box(labels: Labels, index: int) -> list[float]:
    return [
        *labels.location[index].tolist(),
        *labels.size[index].tolist(),
        float(labels.rotation_y[index]),
    ]


def _project_centers(labels: Labels, projection: NDArray[np.float64] | None) -> list[Info]:
    """Pixel and depth of each box's centre; its depth alone where the camera is not known."""
    centers = labels.location - [0.0, 0.5, 0.0] * labels.size
    if projection is None:
        return [{"depth": float(depth)} for depth in centers[:, 2]]
    pixels = apply_transform(projection, centers)  # (M, 3) homogeneous; the third is the depth
    return [
        {"depth": float(depth), "center_2d": [float(u / depth), float(v / depth)]}
        for u, v, depth in pixels
    ]


def _corners(labels: Labels) -> NDArray[np.float64]:
    """(M, 8, 3) in the rectified camera frame; rotation_y turns from x towards -z."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-2, 0) for z in (-1, 1)])
    local = signs[None] * labels.size[:, None] / 2  # y runs down: the box stands above its location
    cos, sin = np.cos(labels.rotation_y)[:, None], np.sin(labels.rotation_y)[:, None]
    x, y, z = np.moveaxis(local, -1, 0)
    turned = np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=-1)
    return np.asarray(turned + labels.location[:, None])
