# SPDX-License-Identifier: Apache-2.0
"""Supervision of a camera's depth distribution by depths that a LiDAR measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.geometry.depth_bins import DepthBins

LEAST, MOST = 1e-7, 1 - 1e-6
"""Chances between them are taken as they are, others from their logits."""


@dataclass(frozen=True)
class DepthGuess:
    """A distribution over depth bins, and the logits that it was made of.

    Chances round to 0 and 1, where no gradient passes through them: the logits still know how wrong
    a guess is.

    Attributes:
        logits: (M, D, h, w) float32.
        chance: (M, D, h, w), their softmax.
    """

    logits: Tensor
    chance: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> DepthGuess:
        """The guess of logits (M, D, h, w) of any precision."""
        rows = logits.float()
        return cls(rows, rows.softmax(1))


def depth_loss(guess: DepthGuess, depth: Tensor, bins: DepthBins, kind: str = "bce") -> Tensor:
    """How badly a distribution over depth bins names the bin that was measured.

    Args:
        guess: of M images.
        depth: (M, h, w) metres; 0 where nothing was measured. Depths outside of the bins do not
            count.
        bins: the D bins.
        kind: ``"bce"``: binary cross entropy of each bin, summed; ``"ce"``: cross entropy.

    Returns:
        Mean over measured cells; zero, with gradient, where there are none.

    Raises:
        ValueError: shapes that do not fit; an unknown kind.

    Source: BEVDepth (2206.10092), section 3.1.
    """
    chance, logits = guess.chance, guess.logits
    if chance.dim() != 4 or chance.shape[1] != bins.count:
        raise ValueError(f"expected a guess (M, {bins.count}, h, w), got {tuple(chance.shape)}")
    if depth.shape != (len(chance), *chance.shape[2:]):
        raise ValueError(
            f"expected depth {(len(chance), *chance.shape[2:])}, got "
            f"{tuple(depth.shape)}; the stride of DepthTargets must be the feature map's"
        )
    if kind not in ("bce", "ce"):
        raise ValueError(f"expected kind 'bce' or 'ce', got {kind!r}")
    index = bins.index(depth)  # (M, h, w)
    index = torch.where(depth > 0, index, -1)
    weight = (index >= 0).float()
    right = index.clamp(min=0).unsqueeze(1)
    rows = chance.clamp(LEAST, MOST)
    chosen, total = rows.gather(1, right).squeeze(1), logits.logsumexp(1)
    missed = (chance.gather(1, right) < LEAST).squeeze(1)
    value = torch.where(missed, total - logits.gather(1, right).squeeze(1), -chosen.log())
    if kind == "bce":
        others = -torch.log1p(-rows)  # of every bin, as if none were right
        value = value + others.sum(1) + torch.log1p(-chosen)
        sure = (chance > MOST).scatter(1, right, False)  # of a wrong bin, of one at most
        rest = total - logits.masked_fill(sure, -torch.inf).logsumexp(1)  # -log(1 - its chance)
        value = torch.where(sure.any(1), value - others.amax(1) + rest, value)
    return (value * weight).sum() / weight.sum().clamp(min=1)


def coarser_depth(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest measured depth of larger cells.

    Args:
        depth: (M, H, W) metres, 0 = none.
        size: (h, w) that divide H and W.

    Returns:
        (M, h, w).

    Raises:
        ValueError: cells that are no whole number of the given ones.
    """
    rows, columns = depth.shape[1:]
    if (rows, columns) == tuple(size):
        return depth
    if rows % size[0] or columns % size[1]:
        raise ValueError(
            f"depth targets of {rows} x {columns} cells do not divide into {size[0]} x {size[1]}; "
            "set the stride of DepthTargets to that of the image features"
        )
    far = torch.where(depth > 0, depth, torch.inf)
    kernel = (rows // size[0], columns // size[1])
    nearest = -F.max_pool2d(-far.unsqueeze(1), kernel, kernel).squeeze(1)
    return torch.where(torch.isinf(nearest), 0.0, nearest)
