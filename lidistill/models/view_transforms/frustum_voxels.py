# SPDX-License-Identifier: Apache-2.0
"""Voxels read out of images, heights collapsed into a map: CaDDN's view transform."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.cameras import Cameras
from lidistill.geometry.depth_scale import DepthScale
from lidistill.geometry.voxel_frustum import feature_places, frustum_places, voxel_centres
from lidistill.losses.depth import DepthGuess, coarser_depth
from lidistill.losses.monocular.depth_focal import depth_focal
from lidistill.models.bev_blocks.collapse import HeightCollapse
from lidistill.models.view_transforms.depth_nets import PlainDepthNet
from lidistill.ops.bev.frustum_read import (
    FrustumPlan,
    frustum_plan,
    read_and_collapse,
)
from lidistill.registry import MODELS

PLANS = 4
"""Geometries whose plan is kept; of use where calibration and augmentation repeat."""
LEAST = 1e-9
"""Smaller chances of the right class are taken from the logits, see ``DepthGuess``."""


@MODELS.register_module()
class FrustumVoxels(nn.Module):
    """In the place of a lift and splat: every voxel reads its pixel, weighted by its depth.

    Tap ``depth`` for the distributions (M, D + 1, h, w), the last class out of range, and
    ``context`` for what is read (M, C, h, w), M = B * N images.

    Args:
        in_channels: of the image features.
        out_channels: of the bird's-eye view.
        grid: of the map.
        z_range: (low, high) metres.
        voxels: how many stand above one another, Z, and channels of each, C.
        scale: settings of :class:`lidistill.geometry.depth_scale.DepthScale`.
        depth_net: config of a network of :mod:`lidistill.models.view_transforms.depth_nets`, its
            widths left out; None is one 1x1 convolution.
        depth_weight: of the focal loss on measured depths; 3 in CaDDN, 0.5 in CMKD, 0 is none.
        true_depth: read at the measured depth in place of a guess: MonoTAKD's assistant. A cell
            without a measurement gives nothing. A number is the share of what is measured; the
            rest is guessed: an assistant between that one and a student.
        compat: read where the authors' releases do, up to half a cell off.

    Source: CaDDN (2103.01100), section 3.2; MonoTAKD (2404.04910), section 3.2.
    Differs from the authors' release: no volume of features times depths; cells read their exact
        place; the depth loss counts measured cells only, not empty ones as out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: BEVGrid,
        z_range: tuple[float, float],
        voxels: tuple[int, int] = (10, 64),
        scale: dict[str, Any] | None = None,
        depth_net: dict[str, Any] | None = None,
        depth_weight: float = 0.0,
        true_depth: bool | float = False,
        compat: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= true_depth <= 1:
            raise ValueError(f"true_depth: expected True, False or a share, got {true_depth}")
        heights, channels = voxels
        self.grid, self.z_range, self.heights = grid, z_range, heights
        self.scale, self.out_channels = DepthScale(**(scale or {})), out_channels
        self.depth_weight, self.true_depth = depth_weight, float(true_depth)
        self.compat = compat
        settings = {"type": PlainDepthNet, **(depth_net or {})}
        sizes = {"in_channels": in_channels, "bins": self.scale.count + 1, "channels": channels}
        self.depth_net: nn.Module = MODELS.build({**settings, **sizes})
        self.depth, self.context = nn.Identity(), nn.Identity()
        self.collapse = HeightCollapse(channels * heights, out_channels)
        self._kept: OrderedDict[Any, FrustumPlan] = OrderedDict()

    def forward(
        self,
        features: Tensor,
        cameras: Cameras,
        image_hw: tuple[int, int],
        measured: Tensor | None = None,
    ) -> tuple[Tensor, DepthGuess]:
        """Bird's-eye view of B samples with N cameras each.

        Args:
            features: (B, N, C, h, w) of the images.
            cameras: their geometry.
            image_hw: rows and columns of the images that entered the network.
            measured: (B, N, H', W') metres, 0 = none; for ``true_depth``.

        Returns:
            (B, C, Y, X) and the guessed depths (B * N, D + 1, h, w).

        Raises:
            ValueError: ``true_depth`` without measured depths.
        """
        size = (features.shape[3], features.shape[4])
        single = torch.promote_types(features.dtype, torch.float32)  # 1266 pixels are 1264 in half
        numbers = torch.from_numpy(cameras.numbers()).to(features.device, single)
        logits, context = self.depth_net(features.flatten(0, 1), numbers.flatten(0, 1))
        guess = DepthGuess.of(logits)
        seen = self._true(guess.chance, measured, size) if self.true_depth else guess.chance
        depth = self.depth(seen)
        plan = self.plan(cameras, image_hw, size, features.device)
        context = self.context(context)
        mixed = read_and_collapse(context, depth[:, :-1], self.collapse.conv.weight, plan)
        return self.collapse.finish(mixed.to(features.dtype)), guess

    def loss(self, guess: DepthGuess, measured: Tensor | None) -> dict[str, Tensor]:
        """The weighted focal loss of measured cells; nothing where it is off or nothing is guessed.

        Args:
            guess: (M, D + 1, h, w), of :meth:`forward`.
            measured: as there.

        Raises:
            ValueError: there are no measured depths.
        """
        if not self.depth_weight or self.true_depth == 1:
            return {}
        size = (guess.chance.shape[2], guess.chance.shape[3])
        target, known = self._targets(measured, size)
        right = target[known]  # (K,)
        chance = guess.chance.permute(0, 2, 3, 1)[known]
        logits = guess.logits.permute(0, 2, 3, 1)[known]
        missed = F.one_hot(right, chance.shape[1]).bool() & (chance < LEAST)
        # softmax of these rows is the chance
        rows = torch.where(missed, logits.log_softmax(1), chance.clamp(min=LEAST).log())
        value = depth_focal(rows[:, :, None, None], right[:, None, None])
        return {"loss_depth": self.depth_weight * value}

    def plan(
        self,
        cameras: Cameras,
        image_hw: tuple[int, int],
        size: tuple[int, int],
        device: torch.device | str = "cpu",
    ) -> FrustumPlan:
        """Which voxels the images see; kept for geometries that come again."""
        key = (cameras.key(), image_hw, size, str(device))
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        (x_low, x_high), (y_low, y_high) = self.grid.x_range, self.grid.y_range
        rows, columns = self.grid.shape
        low, high = (x_low, y_low, self.z_range[0]), (x_high, y_high, self.z_range[1])
        centres = voxel_centres((*low, *high), (columns, rows, self.heights))
        matrices = torch.from_numpy(cameras.image_from_lidar)
        places = []
        for sample, camera in np.ndindex(*cameras.present.shape):
            at = frustum_places(centres, matrices[sample, camera], self.scale)
            at = feature_places(at, image_hw, size, self.scale.count, self.compat)
            seen = bool(cameras.present[sample, camera])
            places.append((sample, at if seen else torch.full_like(at, torch.nan)))
        plan = frustum_plan(places, size, self.scale.count, len(cameras.present)).to(device)
        self._kept[key] = plan
        while len(self._kept) > PLANS:
            self._kept.popitem(last=False)
        return plan

    def _true(self, chance: Tensor, measured: Tensor | None, size: tuple[int, int]) -> Tensor:
        """One at the measured bin, or its share of one; unknown cells are out of range."""
        target, known = self._targets(measured, size)
        target = torch.where(known, target, self.scale.count)
        true = torch.zeros_like(chance).scatter_(1, target.unsqueeze(1), self.true_depth)
        return true if self.true_depth == 1 else true + (1 - self.true_depth) * chance

    def _targets(self, measured: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(M, h, w) class, and which cells are measured."""
        if measured is None:
            raise ValueError(
                "true_depth and depth_weight need measured depths, and the batch has none; put "
                "DepthTargets or LoadDepthMaps before PackBEV, or switch them off"
            )
        depth = coarser_depth(measured.flatten(0, 1), size)
        return self.scale.target(depth), depth > 0
