# SPDX-License-Identifier: Apache-2.0
"""Random pair batches and the smallest networks for image-to-LiDAR methods."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from lidistill.datasets.frame import PairBatch
from lidistill.distill.connectors import ProjectionMap

CAMERAS, HEIGHT, WIDTH, LABELS = 2, 6, 8, 5


def make_batch(samples: int = 2, pairs: int = 60, seed: int = 0) -> PairBatch:
    """Random voxels, one point a voxel, random pairs and superpixels."""
    random = torch.Generator().manual_seed(seed)
    points = 20 * samples
    images = samples * CAMERAS
    point_batch = torch.arange(samples).repeat_interleave(20)
    pair_point = torch.randint(points, (pairs,), generator=random)
    camera = torch.randint(CAMERAS, (pairs,), generator=random)
    rowcol = torch.stack(
        [
            torch.randint(HEIGHT, (pairs,), generator=random),
            torch.randint(WIDTH, (pairs,), generator=random),
        ],
        dim=1,
    )
    return PairBatch(
        points=torch.randn(points, 4, generator=random),
        point_batch=point_batch,
        voxel_coords=torch.zeros(points, 4, dtype=torch.int32),
        voxel_features=torch.randn(points, 3, generator=random),
        spatial_shape=(1, 1, points),
        point_to_voxel=torch.randperm(points, generator=random),
        images=torch.randn(images, 3, HEIGHT, WIDTH, generator=random),
        image_batch=torch.arange(samples).repeat_interleave(CAMERAS),
        superpixels=torch.randint(LABELS, (images, HEIGHT, WIDTH), generator=random),
        pair_point=pair_point,
        pair_image=point_batch[pair_point] * CAMERAS + camera,
        pair_rowcol=rowcol,
        pair_uv=rowcol.flip(1).float(),
        point_labels=None,
        tokens=[f"sample-{i}" for i in range(samples)],
        batch_size=samples,
    )


def networks(teacher_stride: int = 1, channels: int = 5) -> dict:
    """Linear student, one convolution as teacher, heads of width 5; weights from seed 0."""
    torch.manual_seed(0)
    return {
        "student": nn.Linear(3, 6),
        "teacher": {"model": nn.Conv2d(3, 4, teacher_stride, stride=teacher_stride)},
        "point_head": nn.Linear(6, channels),
        "image_head": ProjectionMap(4, channels),
        "student_inputs": ("voxel_features",),
    }


def without_pairs(batch: PairBatch) -> PairBatch:
    """The batch with no pair at all."""
    return keep_pairs(batch, torch.arange(0))


def keep_pairs(batch: PairBatch, rows: torch.Tensor) -> PairBatch:
    """The batch with the given pairs, in this order."""
    return dataclasses.replace(
        batch,
        pair_point=batch.pair_point[rows],
        pair_image=batch.pair_image[rows],
        pair_rowcol=batch.pair_rowcol[rows],
        pair_uv=batch.pair_uv[rows],
    )
