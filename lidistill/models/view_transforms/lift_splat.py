# SPDX-License-Identifier: Apache-2.0
"""Lift, splat: image features spread along their rays and summed into a bird's-eye view."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lidistill.geometry.bev_grid import BEVGrid
from lidistill.geometry.cameras import Cameras
from lidistill.geometry.depth_bins import DepthBins
from lidistill.geometry.frustum import batch_cells, depth_centres, frustum_pixels
from lidistill.losses.depth import DepthGuess, coarser_depth, depth_loss
from lidistill.models.view_transforms.depth_nets import PlainDepthNet
from lidistill.ops.bev.pool import PoolPlan, bev_pool, pool_plan
from lidistill.registry import MODELS


@MODELS.register_module()
class LiftSplat(nn.Module):
    """LSS; with a camera-aware ``depth_net`` and ``depth_weight`` it is BEVDepth.

    Tap ``depth`` for the distributions (M, D, h, w) and ``context`` for the contexts (M, C, h, w),
    M = B * N images.

    Args:
        in_channels: of the image features.
        out_channels: of the bird's-eye view.
        grid: of the map.
        z_range: (low, high) metres; points outside are left out.
        depths: bins, or (start, end, step) metres.
        depth_net: config of a network of :mod:`lidistill.models.view_transforms.depth_nets`, its
            widths left out; None is one 1x1 convolution.
        depth_weight: of the loss on depth that the LiDAR measured; 0 is none (LSS, UniDistill).
        depth_kind: see :func:`lidistill.losses.depth.depth_loss`.
        plans: geometries whose plan is kept; of use where calibration and augmentation repeat.
        compat: pixels and depths where the authors' releases place them, see
            :func:`lidistill.geometry.frustum.frustum_pixels`.

    Source: LSS (2008.05711); BEVDepth (2206.10092).
    Differs from the authors' release: a feature cell looks along the ray of its centre and a bin's
    point stands at its centre; cells are cut downwards, not towards zero; no volume of points.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: BEVGrid,
        z_range: tuple[float, float],
        depths: DepthBins | Sequence[float] = (2.0, 58.0, 0.5),
        depth_net: dict[str, Any] | None = None,
        depth_weight: float = 0.0,
        depth_kind: str = "bce",
        plans: int = 4,
        compat: bool = False,
    ) -> None:
        super().__init__()
        self.grid, self.z_range, self.bins = grid, z_range, DepthBins.of(depths)
        self.out_channels = out_channels
        self.depth_weight, self.depth_kind, self.compat = depth_weight, depth_kind, compat
        settings = {"type": PlainDepthNet, **(depth_net or {})}
        sizes = {"in_channels": in_channels, "bins": self.bins.count, "channels": out_channels}
        self.depth_net: nn.Module = MODELS.build({**settings, **sizes})
        self.depth = nn.Identity()
        self.context = nn.Identity()
        self.plans = plans
        self._kept: OrderedDict[Any, PoolPlan] = OrderedDict()

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
            measured: (B, N, H', W') metres, the LiDAR's depth of the cells of a map that the
                features' divides; 0 = none. For transforms that use it.

        Returns:
            (B, C, Y, X), channels last in memory, and the guessed depths (B * N, D, h, w).
        """
        batch, _count = features.shape[:2]
        size = (features.shape[3], features.shape[4])
        single = torch.promote_types(features.dtype, torch.float32)  # 1266 pixels are 1264 in half
        numbers = torch.from_numpy(cameras.numbers()).to(features.device, single)
        logits, context = self.depth_net(features.flatten(0, 1), numbers.flatten(0, 1))
        guess = DepthGuess.of(logits)
        depth = self.depth(self.distribution(guess.chance, self._targets(measured, size)))
        plan = self.plan(cameras, image_hw, size, features.device)
        pooled = bev_pool(depth, self.context(context), plan)
        rows, columns = self.grid.shape
        bev = pooled.view(batch, rows, columns, -1).permute(0, 3, 1, 2)
        return bev.to(features.dtype), guess

    def distribution(self, guessed: Tensor, _measured: Tensor | None) -> Tensor:
        """Where along its ray a pixel's content is: (M, D, h, w), of a guess of that shape."""
        return guessed

    def loss(self, guess: DepthGuess, measured: Tensor | None) -> dict[str, Tensor]:
        """The loss on guessed depth, weighted; nothing where it is off.

        Args:
            guess: (M, D, h, w), of :meth:`forward`.
            measured: as in :meth:`forward`.

        Raises:
            ValueError: there are no measured depths.
        """
        if not self.depth_weight:
            return {}
        if measured is None:
            raise ValueError(
                "depth_weight is set, but the batch has no measured depths; put DepthTargets "
                "between LoadCameras and PackBEV, or set depth_weight=0"
            )
        size = (guess.chance.shape[2], guess.chance.shape[3])
        targets = coarser_depth(measured.flatten(0, 1), size)
        value = depth_loss(guess, targets, self.bins, self.depth_kind)
        return {"loss_depth": self.depth_weight * value}

    def plan(
        self,
        cameras: Cameras,
        image_hw: tuple[int, int],
        size: tuple[int, int],
        device: torch.device | str = "cpu",
    ) -> PoolPlan:
        """Which points of the rays lie in which cell; kept for geometries that come again.

        Args:
            cameras: geometry.
            image_hw: of the images.
            size: (h, w) of the features.
            device: to pool on.
        """
        key = (cameras.key(), image_hw, size, str(device))
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        pixels = frustum_pixels(image_hw, size, self.compat).to(device)
        depths = depth_centres(self.bins, self.compat).to(device)
        cells = batch_cells(
            cameras.lidar_from_image(), cameras.present, pixels, depths, self.grid, self.z_range
        )
        rows, columns = self.grid.shape
        plan = pool_plan(cells, len(cameras.present) * rows * columns)
        self._kept[key] = plan
        while len(self._kept) > self.plans:
            self._kept.popitem(last=False)
        return plan

    @staticmethod
    def _targets(measured: Tensor | None, size: tuple[int, int]) -> Tensor | None:
        return None if measured is None else coarser_depth(measured.flatten(0, 1), size)


@MODELS.register_module()
class TrueDepth(LiftSplat):
    """Lift with the depth that the LiDAR measured in place of a guess: for experts and assistants.

    With ``depth_weight`` its guess is taught as any other's, for the cells without a measurement.

    Args:
        mix: share of the measured bin; the rest is predicted (VCD's variant: 0.7).
        blind: cells without a measurement: ``"predicted"``, or ``"nothing"``: they are left out.
        options: of :class:`LiftSplat`.

    Source: VCD (2310.15670), section 3.2; MonoTAKD (2404.04910), section 3.2.
    """

    def __init__(self, *, mix: float = 1.0, blind: str = "predicted", **options: Any) -> None:
        super().__init__(**options)
        if not 0 < mix <= 1:
            raise ValueError(f"mix: expected a share over 0 and up to 1, got {mix}")
        if blind not in ("predicted", "nothing"):
            raise ValueError(f"blind: expected 'predicted' or 'nothing', got {blind!r}")
        self.mix, self.blind = mix, blind

    def distribution(self, guessed: Tensor, measured: Tensor | None) -> Tensor:
        """One at the measured bin.

        Raises:
            ValueError: there are no measured depths.
        """
        if measured is None:
            raise ValueError(
                "TrueDepth needs measured depths, and the batch has none; put DepthTargets between "
                "LoadCameras and PackBEV of every pipeline of this model, the test's too"
            )
        index = self.bins.index(measured)
        known = ((index >= 0) & (measured > 0)).unsqueeze(1)  # (M, 1, h, w)
        true = torch.zeros_like(guessed).scatter_(1, index.clamp(min=0).unsqueeze(1), 1.0)
        true = self.mix * true + (1 - self.mix) * guessed
        unknown = guessed if self.blind == "predicted" else torch.zeros_like(guessed)
        return torch.where(known, true, unknown)
