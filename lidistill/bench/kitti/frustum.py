# SPDX-License-Identifier: Apache-2.0
"""From image features to a bird's-eye view at KITTI's size, forward and backward.

Both ways end with the map: voxels, their heights mixed by CaDDN's 1x1 convolution. The reference
makes the volume (outer product), reads it trilinearly and convolves; ours never holds volume or
voxels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lidistill.bench.case import Case
from lidistill.geometry.depth_scale import DepthScale
from lidistill.geometry.voxel_frustum import (
    feature_places,
    frustum_places,
    sample_grid,
    voxel_centres,
)
from lidistill.ops.bev.frustum_read import (
    frustum_plan,
    frustum_volume,
    read_and_collapse,
    read_frustum,
    sample_volume,
)

RANGE = (2.0, -30.08, -3.0, 46.8, 30.08, 1.0)
"""MonoTAKD's, metres; cells of 0.32 x 0.32 x 0.4 m."""
PROJECTION = (
    (721.5377, 0.0, 609.5593, 44.85728),
    (0.0, 721.5377, 172.854, 0.2163791),
    (0.0, 0.0, 1.0, 0.002745884),
)
"""P2 of KITTI's frame 000000's rig."""
CAMERA_FROM_LIDAR = ((0.0, -1.0, 0.0, 0.0), (0.0, 0.0, -1.0, -0.08), (1.0, 0.0, 0.0, -0.27))


def cases(size: str) -> list[Case]:
    """The map of one image, and its voxels alone.

    Args:
        size: "full" = 1242 x 375, stride 8, 120 bins, 140 x 188 x 10 voxels, 64 channels; "quick" =
            a sixth of the columns and 8 channels.
    """
    full = size == "full"
    grid_size = (140, 188, 10) if full else (24, 30, 4)
    image_hw, features_hw = ((375, 1242), (47, 156)) if full else ((96, 320), (12, 40))
    channels, out, bins = (64, 128, 120) if full else (8, 16, 24)
    scale = DepthScale(count=bins)
    matrix = torch.tensor(PROJECTION, dtype=torch.float64)
    matrix[:2] *= image_hw[1] / 1242
    pose = torch.cat([torch.tensor(CAMERA_FROM_LIDAR), torch.tensor([[0.0, 0, 0, 1]])]).double()
    places = frustum_places(
        voxel_centres(RANGE, grid_size), matrix @ pose, scale, float(matrix[2, 3])
    )
    cells = feature_places(places, image_hw, features_hw, bins, compat=True)
    plan = frustum_plan([(0, cells)], features_hw, bins, 1)
    grid = sample_grid(places, image_hw, bins)[None].float()
    random = torch.Generator().manual_seed(0)
    features = torch.randn(1, channels, *features_hw, generator=random).requires_grad_()
    depth = torch.randn(1, bins + 1, *features_hw, generator=random).softmax(1)[:, :-1]
    depth = depth.contiguous().requires_grad_()
    weight = torch.randn(out, channels * grid_size[2], 1, 1, generator=random) / 25
    weight.requires_grad_()
    cot = torch.randn(1, out, grid_size[1], grid_size[0], generator=random)
    voxel_cot = torch.randn(1, channels, *grid_size[::-1], generator=random)

    def step(make: Callable[[], Tensor], by: Tensor, leaves: list[Tensor]) -> list[Tensor]:
        result = make()
        return [result.detach(), *torch.autograd.grad(result, leaves, by)]

    def volume() -> Tensor:
        return sample_volume(frustum_volume(features, depth), grid)

    three, two = [features, depth, weight], [features, depth]
    words = (
        f"{image_hw[1]} x {image_hw[0]} pixels, {bins} bins, {channels} channels, "
        f"{grid_size[0]} x {grid_size[1]} x {grid_size[2]} voxels"
    )
    return [
        Case(
            "frustum",
            f"{words} to {out} channels",
            lambda: step(lambda: F.conv2d(volume().flatten(1, 2), weight), cot, three),
            lambda: step(lambda: read_and_collapse(features, depth, weight, plan), cot, three),
        ),
        Case(
            "frustum, voxels alone",
            words,
            lambda: step(volume, voxel_cot, two),
            lambda: step(lambda: read_frustum(features, depth, plan), voxel_cot, two),
        ),
    ]
