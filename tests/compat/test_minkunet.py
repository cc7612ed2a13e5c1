# SPDX-License-Identifier: Apache-2.0
"""MinkUNet's voxels on the CPU."""

from __future__ import annotations

import inspect

import pytest
import torch

from lidistill import compat


@pytest.fixture(scope="module")
def preprocessor():
    compat.apply()
    from mmdet3d.models.data_preprocessors.data_preprocessor import Det3DDataPreprocessor

    return Det3DDataPreprocessor(
        voxel=True,
        voxel_type="minkunet",
        max_voxels=3,
        voxel_layer={
            "max_num_points": -1,
            "point_cloud_range": [-9, -9, -9, 9, 9, 9],
            "voxel_size": [0.5, 0.5, 0.5],
            "max_voxels": (-1, -1),
        },
    )


def samples(points):
    from mmdet3d.structures import Det3DDataSample, PointData

    found = []
    for rows in points:
        sample = Det3DDataSample()
        sample.gt_pts_seg = PointData(pts_semantic_mask=torch.arange(len(rows)))
        found.append(sample)
    return found


def test_the_gap_is_still_there(preprocessor) -> None:
    """Fails once mmdet3d follows the points' device: then remove the bridge."""
    theirs = type(preprocessor).voxelize.__wrapped__
    assert ".cuda()" in inspect.getsource(theirs)


@pytest.mark.parametrize("batch_first", [True, False])
def test_each_voxel_is_a_point_and_each_point_has_its_voxel(preprocessor, batch_first) -> None:
    generator = torch.Generator().manual_seed(0)
    points = [torch.randn(40, 4, generator=generator) for _ in range(2)]
    found = samples(points)
    preprocessor.batch_first = batch_first
    preprocessor.eval()
    out = preprocessor.voxelize(points, found)
    assert len(out["voxels"]) == len(out["coors"])
    first = 0
    for batch, (rows, sample) in enumerate(zip(points, found, strict=True)):
        own = out["coors"][:, 0 if batch_first else -1] == batch
        voxels = out["voxels"][own]
        cells = torch.round(rows[:, :3] / 0.5).int()
        assert len(voxels) == len(torch.unique(cells, dim=0))
        picked = torch.round(voxels[sample.point2voxel_map][:, :3] / 0.5).int()
        assert torch.equal(picked, cells)
        assert torch.equal(rows[sample.gt_pts_seg.voxel_semantic_mask], voxels)
        assert torch.equal(sample.batch_idx, torch.full((len(voxels),), batch, dtype=torch.int32))
        first += len(voxels)
    assert first == len(out["voxels"])


def test_training_keeps_so_many_voxels(preprocessor) -> None:
    points = [torch.arange(40.0).view(10, 4)]
    preprocessor.train()
    assert len(preprocessor.voxelize(points, samples(points))["voxels"]) == 3
