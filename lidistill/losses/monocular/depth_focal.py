# SPDX-License-Identifier: Apache-2.0
"""Focal loss of a depth distribution, heavier where objects are (CaDDN)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def depth_focal(
    logits: Tensor,
    target: Tensor,
    foreground: Tensor | None = None,
    foreground_weight: float = 13.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Focal cross entropy of depth classes, the mean over cells.

    Args:
        logits: (B, N + 1, h, w), the last class stands for out of range.
        target: (B, h, w) integer class.
        foreground: (B, h, w) bool, cells of objects; None: every cell weighs 1.
        foreground_weight: of these cells; others weigh 1.
        alpha: factor of the loss.
        gamma: how much less easy cells weigh.

    Returns:
        Scalar; zero with gradient where there are no cells. CaDDN multiplies it by 3, CMKD (without
        foreground) by 0.5.

    Raises:
        ValueError: shapes that do not fit.

    Source: Reading et al., CaDDN (2103.01100), equation 6.
    """
    if logits.dim() != 4 or target.shape != (len(logits), *logits.shape[2:]):
        raise ValueError(
            f"expected logits (B, N + 1, h, w) and target (B, h, w), got {tuple(logits.shape)} and "
            f"{tuple(target.shape)}; pool the depth map to the logits' cells (pooled_depth)"
        )
    if target.numel() == 0:
        return logits.sum() * 0
    rows = logits.float()
    log_p = -F.cross_entropy(rows, target, reduction="none")
    focal = -alpha * (1 - log_p.exp()) ** gamma * log_p
    if foreground is not None:
        focal = torch.where(foreground, foreground_weight, 1.0) * focal
    return focal.mean()


def box_cells(boxes: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Cells that rectangles touch.

    Args:
        boxes: (B, M, 4) x1 y1 x2 y2 in pixels of the image; rows of zeros are none.
        stride: pixels of a cell.
        size: (h, w) cells.

    Returns:
        (B, h, w) bool.
    """
    low = (boxes[..., :2] / stride).floor()
    high = (boxes[..., 2:] / stride).ceil()
    axes = [torch.arange(count, device=boxes.device) for count in (size[1], size[0])]
    along, down = (
        (axis >= low[..., k, None]) & (axis < high[..., k, None]) for k, axis in enumerate(axes)
    )  # (B, M, w), (B, M, h)
    return (down[..., :, None] & along[..., None, :]).any(1)
