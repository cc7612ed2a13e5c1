# SPDX-License-Identifier: Apache-2.0
"""Bench of a whole SLidR pretraining step: the authors' form beside ours.

Their form: ResNet-50 dilated to stride 4, projection, upsampling to every pixel, unit length per
pixel, regions by one-hot sparse matrices, float32. Ours at its defaults: the same weights at stride
16, projection and unit length per cell, regions read bilinearly between the cells. The student is
our spconv network in both: theirs needs MinkowskiEngine, which is not to be had here. Teacher
weights are random, which costs the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.bench.case import Case
from lidistill.bench.pairing import Rig, nuscenes_rig, sweep
from lidistill.bench.region_infonce import authors_region_loss, wobbly_grid
from lidistill.datasets.collate import collate_pairs
from lidistill.datasets.frame import CameraView, Frame, PairBatch
from lidistill.datasets.loading import PackPairs, PairPoints, Voxelize
from lidistill.distill.connectors import Linear, ProjectionMap
from lidistill.geometry.voxels import CylindricalVoxels
from lidistill.methods.slidr import SLidR
from lidistill.models.backbones.sparse_unet import SparseUNet
from lidistill.models.teachers.resnet import ResNetTeacher

DEFAULT_STRIDE = 16
DEMO = {"stem": 16, "planes": (16, 32, 48, 64, 64, 48, 32, 64), "blocks": (1,) * 8}
_SCRATCH: list[tempfile.TemporaryDirectory[str]] = []  # lives as long as the process


def cases(size: str) -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = one sample of six cameras at half of SLidR's crop; "quick" = two cameras and
            a thin teacher, for tests.

    Returns:
        The step at our defaults; with exactly the authors' teacher; at our defaults with a student
        of the paper's size; the gain of the teacher cache.
    """
    full = size == "full"
    batch = make_batch((112, 208), 6, 270) if full else make_batch((64, 96), 2, 60)
    options = {"depth": 50} if full else {"depth": 18, "base_channels": 8}
    words = (
        f"{' x '.join(map(str, batch.images.shape))} images, {len(batch.voxel_coords):,} voxels, "
        f"{len(batch.pair_point):,} pairs"
    )
    authors = authors_step(batch, options, DEMO)
    defaults = our_step(batch, {**options, "stride": DEFAULT_STRIDE}, DEMO)
    made = [
        Case("slidr_step_defaults", f"{words}, demo's student", authors, defaults),
        Case(
            "slidr_step_authors_teacher",
            f"{words}, demo's student",
            authors,
            our_step(batch, options, DEMO),
        ),
        Case(
            "slidr_step_cache_on",
            f"{words}, demo's student; reference: ours, live",
            defaults,
            our_step(batch, {**options, "stride": DEFAULT_STRIDE}, DEMO, cached=True),
        ),
    ]
    if full:
        made.append(
            Case(
                "slidr_step_defaults_minkunet34",
                f"{words}, 37.85 M student",
                authors_step(batch, options, {}),
                our_step(batch, {**options, "stride": DEFAULT_STRIDE}, {}),
            )
        )
    return made


def make_batch(hw: tuple[int, int], cameras: int, steps: int, samples: int = 1) -> PairBatch:
    """Samples: a turning LiDAR's points, cameras around it, random images, 150 superpixels."""
    rig = nuscenes_rig(hw)
    views = [_view(rig, camera, hw) for camera in range(cameras)]
    points = sweep(32, steps)
    frame = Frame("sample", "", Path(), 5, None, np.random.default_rng(0), points, views)
    voxels = CylindricalVoxels(size=(0.1, 1.0, 0.1))
    for transform in (PairPoints(empty_camera="keep"), Voxelize(voxels), PackPairs()):
        frame = transform(frame)
    return collate_pairs([frame] * samples)["inputs"]


def _view(rig: Rig, camera: int, hw: tuple[int, int]) -> CameraView:
    random = np.random.default_rng(camera)
    return CameraView(
        name=str(camera),
        token=f"image-{camera}",
        camera_from_lidar=rig.transforms()[camera],
        intrinsics=rig.intrinsics[camera],
        height=hw[0],
        width=hw[1],
        image_path=Path(),
        image=random.integers(0, 256, (*hw, 3), dtype=np.uint8),
        superpixels=wobbly_grid(1, *hw)[0].numpy(),
    )


def make_slidr(
    teacher: dict[str, Any], student: dict[str, Any], upsample: int = 1, **options: Any
) -> SLidR:
    """SLidR with random weights of one seed.

    Args:
        teacher: of :class:`lidistill.models.teachers.resnet.ResNetTeacher`.
        student: of :class:`lidistill.models.backbones.sparse_unet.SparseUNet`; {} is the paper's.
        upsample: of the image head.
        options: further arguments of the Teacher.
    """
    torch.manual_seed(0)
    network = ResNetTeacher(**teacher)
    width = student.get("planes", (96,))[-1]
    return SLidR(
        student=SparseUNet(in_channels=1, out_channels=0, **student),
        teacher={"model": network, **options},
        point_head=Linear(width, 64),
        image_head=ProjectionMap(network.out_channels, 64, upsample),
    ).train()


def our_step(
    batch: PairBatch, teacher: dict[str, Any], student: dict[str, Any], cached: bool = False
) -> Callable[[], Tensor]:
    """One training step of ours; with ``cached``, the teacher's maps come from disk."""
    options: dict[str, Any] = {}
    if cached:
        _SCRATCH.append(tempfile.TemporaryDirectory(prefix="lidistill_bench_"))
        size = (batch.images.shape[2], batch.images.shape[3])
        options["cache"] = {"folder": f"{_SCRATCH[-1].name}/cache", "size": size, "mode": "exact"}
    model = make_slidr(teacher, student, **options)
    return _trained(model, lambda: model(batch, mode="loss")["loss_infonce"])


def authors_step(
    batch: PairBatch, teacher: dict[str, Any], student: dict[str, Any], device: str = "cpu"
) -> Callable[[], Tensor]:
    """One training step in the authors' form, with the weights that `our_step` starts from."""
    model = make_slidr({**teacher, "dilated": True}, student, upsample=4).to(device)
    network = model.teachers["image"].model
    network.to(memory_format=torch.contiguous_format)  # as theirs is
    pairs = (batch.point_to_voxel[batch.pair_point], batch.pair_image, batch.pair_rowcol)
    labels = batch.superpixels

    def loss() -> Tensor:
        if labels is None:
            raise ValueError("the batch has no superpixels")
        with torch.no_grad():
            frozen = network(batch.images)
        pixels = model.connectors["image"](frozen)  # (B, D, H, W)
        voxels = (batch.voxel_features, batch.voxel_coords, batch.spatial_shape, batch.batch_size)
        points = model.connectors["point"](model.student(*voxels))
        return authors_region_loss(F.normalize(points, dim=1), pixels, labels, pairs)

    return _trained(model, loss)


def _trained(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.1)

    def step() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.detach()

    return step
