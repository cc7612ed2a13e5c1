# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from lidistill.datasets.collate import collate_pairs
from lidistill.datasets.frame import Frame, PairBatch
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.datasets.sampler import Draw
from lidistill.datasets.transforms import (
    DropCuboid,
    LoadImages,
    LoadPointLabels,
    LoadPoints,
    LoadSuperpixels,
    PackPairs,
    PairPoints,
    ResizedCropImages,
    Voxelize,
)
from lidistill.geometry.voxels import CartesianVoxels, CylindricalVoxels
from lidistill.io import NO_REGION

LOAD = [LoadPoints(), LoadPointLabels(), LoadImages(), LoadSuperpixels(), PairPoints()]
SMALL = CartesianVoxels((0.5, 0.5, 0.5), (-9, -9, -4, 9, 9, 4))  # some points fall outside


@functools.cache
def dataset_of(root: Path) -> ImageLidarPairs:
    steps = [DropCuboid(0.4, 10), ResizedCropImages((28, 48), min_pairs=100), Voxelize(SMALL)]
    return ImageLidarPairs(
        root / "infos.pkl", root, [*LOAD, *steps, PackPairs()], superpixels_dir=root / "slic"
    )


def frames_of(root: Path) -> list[Frame]:
    return [dataset_of(root)[Draw(index, index + 1)] for index in (0, 2)]


def batch_of(frames: list[Frame]) -> PairBatch:
    return collate_pairs(frames)["inputs"]


def test_every_index_of_the_batch_leads_back_to_its_frame(mini_source):
    frames = frames_of(mini_source)
    assert len(frames[0].points) != len(frames[1].points)
    batch = batch_of(frames)
    row = 0
    for number, frame in enumerate(frames):
        pairs = frame.need_pairs()
        for point, camera, uv, rowcol in zip(
            pairs.point, pairs.camera, pairs.pixel_uv, pairs.rowcol(), strict=True
        ):
            flat = int(batch.pair_point[row])
            assert batch.points[flat].tolist() == frame.points[point].tolist()
            assert batch.point_batch[flat] == number
            image = int(batch.pair_image[row])
            assert image == 2 * number + camera
            assert batch.image_batch[image] == number
            assert batch.pair_rowcol[row].tolist() == rowcol.tolist()
            np.testing.assert_allclose(batch.pair_uv[row], uv, rtol=1e-6)
            row += 1
    assert row == len(batch.pair_point)


def test_voxels_of_the_batch_belong_to_their_points(mini_source):
    frames = frames_of(mini_source)
    batch = batch_of(frames)
    inside = batch.point_to_voxel >= 0
    assert 0 < int(inside.sum()) < len(inside)
    coords = batch.voxel_coords[batch.point_to_voxel[inside]]
    assert torch.equal(coords[:, 0].long(), batch.point_batch[inside])
    expected = np.floor((batch.points[inside][:, [2, 1, 0]].double().numpy() - [-4, -9, -9]) / 0.5)
    np.testing.assert_array_equal(coords[:, 1:], expected)
    assert batch.voxel_coords.dtype == torch.int32
    assert batch.voxel_coords.is_contiguous()
    assert (batch.voxel_coords[:, 1:] < torch.tensor(batch.spatial_shape)).all()
    assert (batch.point_to_voxel[batch.pair_point] >= 0).all()


def test_shapes_types_and_labels(mini_source):
    frames = frames_of(mini_source)
    batch = batch_of(frames)
    assert batch.images.shape == (4, 3, 28, 48)
    assert batch.superpixels is not None
    assert batch.superpixels.shape == (4, 28, 48)
    assert batch.superpixels.dtype == torch.int64
    assert batch.point_labels is not None
    assert torch.equal(
        batch.point_labels[: len(frames[0].points)], torch.from_numpy(frames[0].point_labels)
    )
    assert batch.tokens == ["token0", "token2"]
    frames[1].point_labels = None
    frames[1].cameras[0].superpixels = None
    batch = batch_of(frames)
    assert batch.point_labels is None
    assert batch.superpixels is None


def test_pixels_without_region_become_minus_one(mini_source):
    frames = frames_of(mini_source)
    labels = frames[0].cameras[1].superpixels.copy()
    labels[:5, :7] = NO_REGION
    frames[0].cameras[1].superpixels = labels
    found = batch_of(frames).superpixels
    expected = torch.from_numpy(labels.astype(np.int64))
    expected[:5, :7] = -1
    assert torch.equal(found[1], expected)
    assert int(found.max()) < NO_REGION


def test_to_moves_and_keeps_everything(mini_source):
    batch = batch_of(frames_of(mini_source))
    moved = batch.to("meta")
    assert moved.points.device.type == "meta"
    assert moved.superpixels is not None
    assert moved.superpixels.device.type == "meta"
    assert moved.tokens == batch.tokens
    assert batch.points.device.type == "cpu"


def test_a_frame_without_pairs_collates(mini_source):
    frames = frames_of(mini_source)
    frames[0].pairs = frames[0].need_pairs().where(np.zeros(len(frames[0].need_pairs()), bool))
    batch = batch_of(frames)
    assert len(batch.pair_point) == len(frames[1].need_pairs())
    assert int(batch.pair_image.min()) >= 2


def test_frames_for_a_probe_have_neither_images_nor_pairs(mini_source):
    steps = [LoadPoints(), LoadPointLabels(), Voxelize(dict(type=CylindricalVoxels, rho_max=64.0))]
    dataset = ImageLidarPairs(mini_source / "infos.pkl", mini_source, steps)
    batch = batch_of([dataset[0], dataset[1]])
    assert batch.images.shape == (0, 3, 0, 0)
    assert batch.superpixels is None
    assert len(batch.pair_point) == len(batch.pair_rowcol) == len(batch.image_batch) == 0
    assert batch.point_labels is not None
    assert len(batch.point_labels) == len(batch.points) == 6000
    assert batch.spatial_shape[2] == 640


def test_what_is_missing_is_named(mini_source):
    frames = frames_of(mini_source)
    with pytest.raises(ValueError, match="expected frames with voxels"):
        collate_pairs([])
    images, frames[1].images = frames[1].images, None
    with pytest.raises(ValueError, match=r"end the pipeline with Voxelize"):
        collate_pairs(frames)
    frames[1].images = images[:, :, :20]
    with pytest.raises(ValueError, match="one image size"):
        collate_pairs(frames)
