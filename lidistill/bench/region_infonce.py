# SPDX-License-Identifier: Apache-2.0
"""Benches of region pooling + InfoNCE and of point InfoNCE, forward and backward.

The references compute the same numbers the way the authors' release does: one-hot sparse matrices
built and coalesced at each step, and full maps transposed to pixel-major order.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from lidistill.bench.case import Case
from lidistill.losses.contrastive import (
    point_infonce,
    pool_regions,
    region_infonce,
    regions_at_pairs,
    select_regions,
)
from lidistill.ops.segments.pixel_read import read_pixels, read_pixels_lowres
from lidistill.ops.segments.segment import batch_region_ids, pool_map_regions_lowres, segment_mean

Gradients = tuple[Tensor, Tensor, Tensor]
TEMPERATURE = 0.07


def cases(size: str) -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = one nuScenes sample at SLidR's crop; "quick" = seconds, for tests.

    Returns:
        Region pooling from dense and from stride-4 maps, PPKT from dense and from stride-4 maps.
    """
    images, channels, height, width = (6, 64, 224, 416) if size == "full" else (2, 16, 56, 104)
    num_pairs, num_points = (12_000, 9_000) if size == "full" else (600, 500)
    samples = 4096 if size == "full" else 256
    scene = RegionScene(images, channels, (height, width), num_points, num_pairs, samples)
    words = f"{images} x {channels} x {height} x {width}, 150 ids, {num_pairs} pairs"
    sampled = f"{images} x {channels} x {height} x {width}, {samples} pairs"
    return [
        Case("region_infonce", words, scene.reference_regions, scene.regions),
        Case("region_infonce_from_stride4", words, scene.reference_lowres, scene.regions_lowres),
        Case("point_infonce", sampled, scene.reference_points, scene.points),
        Case("point_infonce_from_stride4", sampled, scene.reference_head, scene.points_lowres),
    ]


class RegionScene:
    """Seeded inputs shared by reference and ours; each call returns loss and both gradients."""

    def __init__(
        self,
        images: int,
        channels: int,
        hw: tuple[int, int],
        num_points: int,
        num_pairs: int,
        samples: int,
        device: str = "cpu",
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        height, width = hw
        self.hw = hw
        self.labels = wobbly_grid(images, height, width)
        self.point_features = functional.normalize(
            torch.randn(num_points, channels, generator=generator), dim=1
        ).requires_grad_()
        self.pixel_map = functional.normalize(
            torch.randn(images, channels, height, width, generator=generator), dim=1
        ).requires_grad_()
        self.lowres = torch.randn(
            images, channels, height // 4, width // 4, generator=generator
        ).requires_grad_()
        self.pair_point = torch.randint(num_points, (num_pairs,), generator=generator)
        self.pair_image = torch.randint(images, (num_pairs,), generator=generator)
        self.rowcol = torch.stack(
            [torch.randint(n, (num_pairs,), generator=generator) for n in hw], dim=1
        )
        self.chosen = torch.randperm(num_pairs, generator=generator)[:samples]
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                moved = value.detach().to(device).requires_grad_(value.requires_grad)
                setattr(self, name, moved)

    def _run(self, loss: Callable[[], Tensor], leaf: Tensor) -> Gradients:
        value = loss()
        grad_points, grad_map = torch.autograd.grad(value, (self.point_features, leaf))
        return value.detach(), grad_points, grad_map

    def regions(self) -> Gradients:
        """Ours, from a dense map."""

        def loss() -> Tensor:
            ids, count = batch_region_ids(self.labels, 150)
            pair_region = regions_at_pairs(ids, self.pair_image, self.rowcol)
            pooled = pool_regions(
                self.point_features, self.pair_point, pair_region, self.pixel_map, ids, count
            )
            return region_infonce(pooled.point_regions, pooled.pixel_regions, TEMPERATURE)

        return self._run(loss, self.pixel_map)

    def regions_lowres(self) -> Gradients:
        """Ours, from a map at stride 4."""

        def loss() -> Tensor:
            ids, count = batch_region_ids(self.labels, 150)
            pair_region = regions_at_pairs(ids, self.pair_image, self.rowcol)
            paired = self.point_features.index_select(0, self.pair_point)
            pooled = select_regions(
                *segment_mean(paired, pair_region, count, 1e-6),
                *pool_map_regions_lowres(self.lowres, ids, count, eps=1e-6),
            )
            return region_infonce(pooled.point_regions, pooled.pixel_regions, TEMPERATURE)

        return self._run(loss, self.lowres)

    def points(self) -> Gradients:
        """Ours, PPKT from a dense map."""

        def loss() -> Tensor:
            keys = read_pixels(
                self.pixel_map, self.pair_image[self.chosen], self.rowcol[self.chosen]
            )
            queries = self.point_features.index_select(0, self.pair_point[self.chosen])
            return point_infonce(queries, keys, TEMPERATURE)

        return self._run(loss, self.pixel_map)

    def points_lowres(self) -> Gradients:
        """Ours, PPKT from a map at stride 4."""

        def loss() -> Tensor:
            image, rowcol = self.pair_image[self.chosen], self.rowcol[self.chosen]
            keys = functional.normalize(
                read_pixels_lowres(self.lowres, image, rowcol, self.hw), dim=1
            )
            queries = self.point_features.index_select(0, self.pair_point[self.chosen])
            return point_infonce(queries, keys, TEMPERATURE)

        return self._run(loss, self.lowres)

    def _upsampled(self) -> Tensor:
        return functional.interpolate(self.lowres, self.hw, mode="bilinear", align_corners=True)

    def reference_regions(self) -> Gradients:
        """The authors' way, from a dense map."""
        return self._run(lambda: self._one_hot_loss(self.pixel_map), self.pixel_map)

    def reference_lowres(self) -> Gradients:
        """The authors' way, after upsampling."""
        return self._run(lambda: self._one_hot_loss(self._upsampled()), self.lowres)

    def reference_points(self) -> Gradients:
        """The authors' way for PPKT, from a dense map."""
        return self._run(lambda: self._indexed_loss(self.pixel_map), self.pixel_map)

    def reference_head(self) -> Gradients:
        """The authors' way for PPKT, after upsampling."""

        def loss() -> Tensor:
            return self._indexed_loss(functional.normalize(self._upsampled(), dim=1))

        return self._run(loss, self.lowres)

    def _one_hot_loss(self, pixel_map: Tensor) -> Tensor:
        pairs = (self.pair_point, self.pair_image, self.rowcol)
        return authors_region_loss(self.point_features, pixel_map, self.labels, pairs)

    def _indexed_loss(self, pixel_map: Tensor) -> Tensor:
        k = self.point_features[self.pair_point][self.chosen]
        image, rowcol = self.pair_image[self.chosen], self.rowcol[self.chosen]
        q = pixel_map.permute(0, 2, 3, 1)[image, rowcol[:, 0], rowcol[:, 1]]
        return functional.cross_entropy(k @ q.T / TEMPERATURE, torch.arange(len(k)))


def authors_region_loss(
    point_features: Tensor, pixel_map: Tensor, labels: Tensor, pairs: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """SLidR's loss by one-hot sparse matrices, as the release computes it.

    Args:
        point_features: (V, D).
        pixel_map: (B, D, H, W), at full size.
        labels: (B, H, W) superpixels below 150.
        pairs: (P,) row of the point features, (P,) image, (P, 2) row and column.
    """
    pair_point, pair_image, rowcol = pairs
    device = pixel_map.device
    images = len(labels)
    total, pixels = images * 150, labels.numel()
    ids = labels + 150 * torch.arange(images, device=device)[:, None, None]
    at_pairs = ids[pair_image, rowcol[:, 0], rowcol[:, 1]]
    ones = torch.ones(max(pixels, len(pair_point)), device=device)
    by_pair = torch.sparse_coo_tensor(
        torch.stack([at_pairs, torch.arange(len(pair_point), device=device)]),
        ones[: len(pair_point)],
        (total, len(pair_point)),
        check_invariants=False,
    ).coalesce()
    by_pixel = torch.sparse_coo_tensor(
        torch.stack([ids.flatten(), torch.arange(pixels, device=device)]),
        ones[:pixels],
        (total, pixels),
        check_invariants=False,
    ).coalesce()
    k = by_pair @ point_features[pair_point]
    k = k / (torch.sparse.sum(by_pair, 1).to_dense()[:, None] + 1e-6)
    q = by_pixel @ pixel_map.permute(0, 2, 3, 1).flatten(0, 2)
    q = q / (torch.sparse.sum(by_pixel, 1).to_dense()[:, None] + 1e-6)
    kept = torch.where(k[:, 0] != 0)[0]
    logits = k[kept] @ q[kept].T / TEMPERATURE
    return functional.cross_entropy(logits, torch.arange(len(kept), device=device))


def wobbly_grid(images: int, height: int, width: int) -> Tensor:
    """Superpixel-like labels below 150: a 10 x 15 grid with wavy borders, (B, H, W) uint8."""
    row = torch.arange(height)[:, None].float()
    column = torch.arange(width)[None].float()
    y = row + 3 * torch.sin(column / 7)
    x = column + 3 * torch.sin(row / 5)
    grid_row = (y * 10 / height).floor().clamp(0, 9)
    grid_column = (x * 15 / width).floor().clamp(0, 14)
    return (grid_row * 15 + grid_column).to(torch.uint8).expand(images, -1, -1).contiguous()
