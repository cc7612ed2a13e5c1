# SPDX-License-Identifier: Apache-2.0
"""Which points lie in which boxes, by mmcv's rule and rounding.

mmcv's rule: a point on the top or bottom face is inside, one on a side face is outside, and ``z``
of a box is its *bottom*. lidistill's own rule (``geometry.boxes``: centre origin, all faces inside)
differs on purpose: this file answers for mmcv.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lidistill.jit import njit


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Tell for every point and box whether the point is inside.

    Args:
        points: (N, 3+) x, y, z in metres.
        boxes: (M, 7+) x, y, z of the bottom's centre, l, w, h in metres, yaw in radians.

    Returns:
        (M, N) bool on the points' device.
    """
    if points.ndim != 2 or points.shape[1] < 3 or boxes.ndim != 2 or boxes.shape[1] < 7:
        raise ValueError(
            f"expected points (N, 3+) and boxes (M, 7+), got {tuple(points.shape)} and "
            f"{tuple(boxes.shape)}"
        )
    xyz = points[:, :3].detach().float()
    bottom_boxes = boxes[:, :7].detach().float()
    if points.device.type == "cpu":
        inside = np.zeros((len(boxes), len(points)), dtype=np.bool_)
        _inside_boxes(xyz.numpy(), bottom_boxes.numpy(), inside)
        return torch.from_numpy(inside)
    return _inside_boxes_torch(xyz, bottom_boxes)


def first_box_of_points(points: Tensor, boxes: Tensor) -> Tensor:
    """Index of the first box that holds each point: (N,) int32, -1 for none. Arguments as above."""
    inside = points_in_boxes(points, boxes)  # (M, N)
    box, point = inside.nonzero(as_tuple=True)
    none = torch.full((len(points),), len(boxes), device=points.device)
    first = none.scatter_reduce(0, point, box, "amin")
    return torch.where(first < len(boxes), first, -1).int()


def _inside_boxes_torch(xyz: Tensor, boxes: Tensor) -> Tensor:
    """Do as the numba kernel on any device: (M, N)."""
    size = boxes[:, 3:6].double() / 2
    centre_z = (boxes[:, 2].double() + size[:, 2]).float()
    cos = torch.cos(-boxes[:, 6].double()).float()[:, None]
    sin = torch.sin(-boxes[:, 6].double()).float()[:, None]
    shift_x = xyz[None, :, 0] - boxes[:, None, 0]  # (M, N)
    shift_y = xyz[None, :, 1] - boxes[:, None, 1]
    local_x = shift_x * cos + shift_y * -sin
    local_y = shift_x * sin + shift_y * cos
    half_x, half_y, half_z = (side[:, None] for side in size.unbind(1))
    in_height = ~((xyz[None, :, 2] - centre_z[:, None]).abs() > half_z)
    in_length = (local_x > -half_x) & (local_x < half_x)
    in_width = (local_y > -half_y) & (local_y < half_y)
    return in_height & in_length & in_width


@njit
def _inside_boxes(points: np.ndarray, boxes: np.ndarray, inside: np.ndarray) -> None:
    """Coordinates in float32, half sizes in float64, as mmcv's C++ promotes them."""
    for box in range(len(boxes)):
        half_x = np.float64(boxes[box, 3]) / 2
        half_y = np.float64(boxes[box, 4]) / 2
        half_z = np.float64(boxes[box, 5]) / 2
        centre_z = np.float32(np.float64(boxes[box, 2]) + half_z)
        cos = np.float32(np.cos(np.float64(-boxes[box, 6])))
        sin = np.float32(np.sin(np.float64(-boxes[box, 6])))
        for point in range(len(points)):
            if abs(points[point, 2] - centre_z) > half_z:
                continue
            shift_x = points[point, 0] - boxes[box, 0]
            shift_y = points[point, 1] - boxes[box, 1]
            local_x = shift_x * cos + shift_y * -sin
            local_y = shift_x * sin + shift_y * cos
            inside[box, point] = abs(local_x) < half_x and abs(local_y) < half_y
