# SPDX-License-Identifier: Apache-2.0
"""A made-up batch for an image-to-LiDAR method or a segmentor, where there are no data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lidistill.datasets.frame import CameraView, Frame
from lidistill.datasets.loading import PackPairs, Voxelize
from lidistill.geometry.correspondence import Pairs
from lidistill.registry import TRANSFORMS

SIZE = (112, 224)  # of images, where the pipeline says nothing: a multiple of 14 and 16
PAIRS = 500  # of an image
PATCH = 16  # pixels of a superpixel's side
REACH = np.array([20.0, 20.0, 1.0])  # metres along x, y, z


def pairs_pipeline(cfg: Any) -> list[Any] | None:
    """Steps of a training pipeline that ends in voxels of frames; None for other trainings."""
    loader = cfg.get("train_dataloader") or {}
    steps = (loader.get("dataset") or {}).get("pipeline") or []
    kinds = [step.get("type") if isinstance(step, Mapping) else type(step) for step in steps]
    return list(steps) if Voxelize in kinds else None


def synthetic_pairs(cfg: Any, steps: list[Any], points: int) -> Any:
    """Two frames of noise, voxelized, packed and collated as the config does.

    Args:
        cfg: config of the training.
        steps: of :func:`pairs_pipeline`.
        points: of each frame.

    Returns:
        What the data loader would give.
    """
    sizes = [step["size"] for step in steps if isinstance(step, Mapping) and "size" in step]
    size = tuple(sizes[-1]) if sizes else SIZE
    kinds = [step.get("type") if isinstance(step, Mapping) else type(step) for step in steps]
    last = [
        TRANSFORMS.build(dict(step)) if isinstance(step, Mapping) else step
        for step, kind in zip(steps, kinds, strict=True)
        if kind in (Voxelize, PackPairs)
    ]
    frames = []
    for number in range(2):
        frame = _frame(number, points, size, with_images=PackPairs in kinds)
        for step in last:
            frame = step(frame)
        frames.append(frame)
    return cfg.train_dataloader.collate_fn["type"](frames)


def _frame(number: int, points: int, size: tuple[int, int], with_images: bool) -> Frame:
    rng = np.random.default_rng(number)
    cloud = rng.uniform(-1, 1, (points, 5)).astype(np.float32)
    cloud[:, :3] *= REACH
    frame = Frame(f"made-up {number}", "", Path("made-up"), 5, None, rng, cloud)
    frame.point_labels = rng.integers(0, 10, points).astype(np.uint8)
    if not with_images:
        return frame
    rows, columns = np.indices(size) // PATCH
    frame.cameras = [
        CameraView(
            "CAM", f"made-up {number}", np.eye(4), np.eye(3), *size, Path("made-up"),
            image=rng.integers(0, 255, (*size, 3)).astype(np.uint8),
            superpixels=rows * (size[1] // PATCH + 1) + columns,
        )
    ]  # fmt: skip
    pixels = rng.uniform((0, 0), (size[1] - 1, size[0] - 1), (PAIRS, 2))
    frame.pairs = Pairs(rng.integers(0, points, PAIRS), np.zeros(PAIRS, dtype=np.int64), pixels)
    return frame
