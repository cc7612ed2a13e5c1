# SPDX-License-Identifier: Apache-2.0
"""Boxes seen from above as points to read a map at, and boxes changed before: larger, later.

All take torch boxes (M, 7+) ``x, y, z, l, w, h, yaw[, vx, vy]``, metres, radians, metres a second,
and never wait for a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

# Corners, centre, midpoints of the edges, in half lengths and half widths: UniDistill's order.
NINE = (
    *((-1.0, -1.0), (-1.0, 1.0), (1.0, 1.0), (1.0, -1.0)),
    (0.0, 0.0),
    *((-1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, -1.0)),
)


def nine_points(boxes: Tensor) -> Tensor:
    """Four corners, the centre, four midpoints of edges.

    Args:
        boxes: (M, 7+).

    Returns:
        (M, 9, 2) x, y metres.

    Source: Zhou et al., "UniDistill: A Universal Cross-Modality Knowledge Distillation Framework
        for 3D Object Detection in Bird's-Eye View", CVPR 2023, section 3.2.
    """
    return _placed(boxes, _template(NINE, boxes.dtype, str(boxes.device)))


def lattice_points(boxes: Tensor, count: int) -> Tensor:
    """The centres of ``count`` x ``count`` equal parts of each box.

    Args:
        boxes: (M, 7+).
        count: K, points a side.

    Returns:
        (M, K * K, 2) x, y metres, along the length first.

    Source: Huang et al., "TiG-BEV: Multi-view BEV 3D Object Detection via Target Inner-Geometry
        Learning", 2022, section 3.3 (24 x 24, boxes 1.6 times as large).
    """
    if count < 1:
        raise ValueError(f"expected at least one point a side, got {count}")
    steps = (torch.arange(count, device=boxes.device) + 0.5) / count - 0.5
    along, across = torch.meshgrid(steps, steps, indexing="ij")
    return _placed(boxes, torch.stack([along.flatten(), across.flatten()], 1).to(boxes.dtype))


def enlarged(
    boxes: Tensor,
    factor: float = 1.0,
    by_range: Sequence[tuple[float, float]] = (),
    per_speed: float = 0.0,
) -> Tensor:
    """Boxes longer and wider by a factor, more so where they are far or fast.

    Args:
        boxes: (M, 7+); (M, 9) where speed counts.
        factor: for all of them.
        by_range: (metres from the ego vehicle, factor), ascending; beyond several the last holds.
        per_speed: metres of length and width added for each metre a second.

    Returns:
        Boxes of the same shape.

    Source: Zhao et al., "CRKD: Enhanced Camera-Radar Object Detection with Cross-modality Knowledge
        Distillation", CVPR 2024 (20 m: 1.25, 30 m: 1.5).
    """
    size = boxes[:, 3:5] * factor
    distance = torch.linalg.vector_norm(boxes[:, :2], dim=1)
    scale = torch.ones_like(distance)
    for metres, more in by_range:
        scale = torch.where(distance > metres, more, scale)
    size = size * scale[:, None]
    if per_speed:
        speed = torch.linalg.vector_norm(_velocity(boxes, "per_speed"), dim=1)
        size = size + per_speed * speed[:, None]
    return torch.cat([boxes[:, :3], size, boxes[:, 5:]], 1)


def along_trajectory(boxes: Tensor, seconds: Sequence[float]) -> Tensor:
    """Boxes where they were and will be: moved by their velocity, heading kept.

    Args:
        boxes: (M, 9); a velocity that is no number counts as standing still.
        seconds: T moments, 0 = now, negative = past.

    Returns:
        (T * M, 9), moment by moment.

    Source: Huang et al., "Leveraging Vision-Centric Multi-Modal Expertise for 3D Object Detection"
        (VCD), NeurIPS 2023, section 3.3. Differs from the authors' release: it takes the labels of
        earlier frames; a box's own velocity needs no other frame.
    """
    velocity = _velocity(boxes, "a trajectory")
    moved = [torch.cat([boxes[:, :2] + velocity * moment, boxes[:, 2:]], 1) for moment in seconds]
    return torch.cat(moved) if moved else boxes[:0]


def _velocity(boxes: Tensor, who: str) -> Tensor:
    if boxes.shape[1] < 9:
        raise ValueError(
            f"{who} needs velocities, boxes (M, 9), got (M, {boxes.shape[1]}); load them "
            "(with_velocity of the data set) or leave it out"
        )
    return torch.nan_to_num(boxes[:, 7:9], 0.0, 0.0, 0.0)


@lru_cache(maxsize=16)
def _template(points: tuple[tuple[float, float], ...], like: torch.dtype, device: str) -> Tensor:
    """(K, 2) in lengths and widths; copied to a device once, as a copy waits for it."""
    return torch.tensor(points, dtype=like, device=device) / 2


def _placed(boxes: Tensor, unit: Tensor) -> Tensor:
    """(M, K, 2) points (K, 2) given in lengths and widths of the boxes."""
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    turn = torch.stack([cos, sin, -sin, cos], 1).view(-1, 2, 2)
    return torch.baddbmm(boxes[:, None, :2], unit * boxes[:, None, 3:5], turn)
