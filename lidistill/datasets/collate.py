# SPDX-License-Identifier: Apache-2.0
"""Frames to one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidistill.datasets.frame import Frame, PairBatch
from lidistill.geometry.correspondence import Pairs
from lidistill.io import NO_REGION


def collate_pairs(frames: Sequence[Frame]) -> dict[str, PairBatch]:
    """Concatenates frames that went through ``Voxelize`` and ``PackPairs``.

    A pipeline for LiDAR alone (a probe) ends with ``Voxelize``: its frames have neither images nor
    pairs, and the batch's ``images`` are (0, 3, 0, 0).

    Args:
        frames: B frames; numbers of points, pairs and cameras may differ, image sizes may not.

    Returns:
        ``dict(inputs=PairBatch)``, as mmengine's train loop passes it on.

    Raises:
        ValueError: If a frame misses voxels, images or pairs, or image sizes or grids differ.
    """
    voxels = [frame.voxels for frame in frames if frame.voxels is not None]
    images = [frame.images for frame in frames if frame.images is not None]
    lidar_only = not images and all(frame.pairs is None for frame in frames)
    if not frames or len(voxels) < len(frames) or (len(images) < len(frames) and not lidar_only):
        raise ValueError(
            f"expected frames with voxels and images, got {len(voxels)} and {len(images)} of "
            f"{len(frames)}; end the pipeline with Voxelize(...), PackPairs()"
        )
    if lidar_only:
        images = [torch.zeros(0, 3, 0, 0)] * len(frames)
    shapes = {tuple(stack.shape[1:]) for stack in images}
    grids = {sample.spatial_shape for sample in voxels}
    if len(shapes) != 1 or len(grids) != 1:
        raise ValueError(f"expected one image size and one grid, got {shapes} and {grids}")
    num_points = [len(frame.points) for frame in frames]
    num_voxels = [len(sample.coords) for sample in voxels]
    num_images = [len(stack) for stack in images]
    pairs = [Pairs.empty() if lidar_only else frame.need_pairs() for frame in frames]
    point_start, voxel_start, image_start = map(_starts, (num_points, num_voxels, num_images))
    num_pairs = [len(part) for part in pairs]
    batch = PairBatch(
        points=_cat([frame.points for frame in frames]),
        point_batch=_ids(num_points),
        voxel_coords=torch.cat(
            [_ids(num_voxels).int()[:, None], _cat([sample.coords for sample in voxels])], dim=1
        ).contiguous(),
        voxel_features=_cat([sample.features for sample in voxels]),
        spatial_shape=grids.pop(),
        point_to_voxel=_shift([s.point_to_voxel for s in voxels], voxel_start, num_points),
        images=torch.cat(images),
        image_batch=_ids(num_images),
        superpixels=None if lidar_only else _superpixels(frames),
        pair_point=_shift([part.point for part in pairs], point_start, num_pairs),
        pair_image=_shift([part.camera for part in pairs], image_start, num_pairs),
        pair_rowcol=_cat([part.rowcol() for part in pairs]),
        pair_uv=_cat([part.pixel_uv.astype(np.float32) for part in pairs]),
        point_labels=_labels(frames),
        tokens=[frame.token for frame in frames],
        batch_size=len(frames),
        **({} if lidar_only else _files(frames)),
    )
    return {"inputs": batch}


def _cat(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays))


def _ids(counts: Sequence[int]) -> Tensor:
    """0 repeated counts[0] times, 1 repeated counts[1] times, ... int64."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def _starts(counts: Sequence[int]) -> list[int]:
    return [0, *np.cumsum(counts)[:-1].tolist()]


def _shift(indices: Sequence[np.ndarray], starts: Sequence[int], counts: Sequence[int]) -> Tensor:
    """Concatenated indices, each frame's moved by its start; -1 stays -1."""
    joined = np.concatenate(indices)
    offset = np.repeat(starts, counts)
    return torch.from_numpy(np.where(joined >= 0, joined + offset, -1))


def _labels(frames: Sequence[Frame]) -> Tensor | None:
    labels = [frame.point_labels for frame in frames if frame.point_labels is not None]
    return _cat(labels) if len(labels) == len(frames) else None


def _superpixels(frames: Sequence[Frame]) -> Tensor | None:
    maps = [camera.superpixels for frame in frames for camera in frame.cameras]
    loaded = [labels.astype(np.int64) for labels in maps if labels is not None]
    if len(loaded) < len(maps):
        return None
    stack = np.stack(loaded)
    stack[stack == NO_REGION] = -1
    return torch.from_numpy(stack)


def _files(frames: Sequence[Frame]) -> dict[str, Any]:
    """Which files the images come from, and how they were cut out of them."""
    cameras = [camera for frame in frames for camera in frame.cameras]
    return {
        "image_tokens": [camera.token for camera in cameras],
        "image_from_file": torch.from_numpy(np.stack([c.image_from_file() for c in cameras])),
        "file_size": torch.tensor([camera.file_size for camera in cameras]),
    }
