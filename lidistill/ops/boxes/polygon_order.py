# SPDX-License-Identifier: Apache-2.0
"""Order of a convex polygon's corners, for the differentiable overlap of rotated boxes.

mmcv finds candidate corners of the shared polygon (corners of one box in the other, crossings of
sides) in torch and asks its extension for their order only.
"""

from __future__ import annotations

import torch
from torch import Tensor

SLOTS = 9  # eight corners at most, and the first again
BOX_CORNERS = 8  # candidates before them are corners of the boxes, those behind crossings of sides
SAME = 1e-5  # of the polygon's radius; corners nearer to each other are one


def polygon_order(corners: Tensor, valid: Tensor) -> Tensor:
    """Places of a polygon's corners, counterclockwise from the angle 0.

    Args:
        corners: (..., V, 2) candidates around the origin, V > 8.
        valid: (..., V) bool, those that belong to the polygon.

    Returns:
        (..., 9) int32: the distinct corners (at most eight), the first of them again, then an
        invalid crossing; that alone for fewer than three valid candidates, and for polygons that
        are not finite.

    Differs from mmcv: corners that coincide count once. mmcv takes candidate 0 for each such
    repetition, valid or not, and writes past the end of its array for more than eight candidates.
    """
    if corners.ndim < 2 or corners.shape[-1] != 2 or corners.shape[-2] <= BOX_CORNERS:
        raise ValueError(f"expected candidates (..., V > 8, 2), got {tuple(corners.shape)}")
    points, mask = corners.detach().flatten(0, -3).double(), valid.flatten(0, -2).bool()
    radius = torch.where(mask, points.norm(dim=-1), 0).amax(-1, keepdim=True)
    finite = radius.isfinite().squeeze(-1) & ~(mask & points.isnan().any(-1)).any(-1)
    angle = torch.atan2(points[..., 1], points[..., 0])
    near_zero = (points[..., 1].abs() <= SAME * radius) & (points[..., 0] >= 0)
    angle = torch.where(angle < 0, angle + 2 * torch.pi, angle)
    angle = torch.where(near_zero, 0.0, angle)  # on either side of the axis by rounding only
    order = torch.where(mask, angle, torch.inf).argsort(dim=-1, stable=True)
    ordered = points.gather(1, order.unsqueeze(-1).expand(-1, -1, 2))
    used = mask.gather(1, order)
    before = ordered.roll(1, dims=1)
    last = (used.sum(1) - 1).clamp(min=0)
    before[:, 0] = ordered[torch.arange(len(ordered), device=last.device), last]
    distinct = (ordered - before).norm(dim=-1) > SAME * radius
    kept = used & distinct
    count = kept.sum(1).clamp(max=SLOTS - 1)
    front = order.gather(1, (~kept).to(torch.uint8).argsort(dim=1, stable=True))[:, :SLOTS]
    spare = BOX_CORNERS + (~mask[:, BOX_CORNERS:]).to(torch.uint8).argmax(1, keepdim=True)
    slot = torch.arange(SLOTS, device=front.device)
    closed = torch.where(slot == count[:, None], front[:, :1], front)
    polygon = (mask.sum(1) >= 3) & (count >= 3) & finite
    places = torch.where((slot <= count[:, None]) & polygon[:, None], closed, spare)
    return places.int().view(*corners.shape[:-2], SLOTS)
