# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's encoders fed with our voxels: the same numbers as inside their own detectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidistill import compat
from lidistill.geometry.voxels import CartesianVoxels
from lidistill.models.backbones.bev_reader import BEVAtVoxels
from lidistill.models.backbones.mmdet3d_encoders import (
    MinkUNetAtVoxels,
    PillarsAtVoxels,
    SparseEncoderMap,
    rank_in_voxel,
)
from lidistill.models.detectors.mmdet3d import SHIPPED, detector_part, mmdet3d_detector

RANGE = (-6.4, -3.2, -1.0, 6.4, 3.2, 3.0)
PILLARS = {
    "config": SHIPPED + "centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py",
    "point_range": RANGE,
    "voxel_size": (0.4, 0.4, 4.0),
    "changes": {
        "pts_voxel_encoder": {"in_channels": 4, "feat_channels": [8]},
        "pts_middle_encoder": {"in_channels": 8},
        "pts_backbone": {"in_channels": 8, "out_channels": [8, 8, 8], "layer_nums": [1, 1, 1]},
        "pts_neck": {"in_channels": [8, 8, 8], "out_channels": [4, 4, 4],
                     "upsample_strides": [1, 2, 4]},
        "pts_bbox_head": {"in_channels": 12},
    },
}  # fmt: skip
VOXELS = {
    "config": SHIPPED + "second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py",
    "point_range": RANGE,
    "voxel_size": (0.1, 0.1, 0.1),
    "changes": {
        "middle_encoder": {
            "base_channels": 4, "output_channels": 8,
            "encoder_channels": ((4,), (8, 8, 8), (8, 8, 8), (8, 8, 8)),
        },
        "backbone": {"in_channels": 16},
    },
}  # fmt: skip


def clouds(samples: int = 2, count: int = 1200) -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    low, high = (*RANGE[:3], 0), (*RANGE[3:], 1)
    scale = (0.6, 0.6, 1.05, 1)  # some points lie outside of the range
    return [
        torch.from_numpy((rng.uniform(low, high, (count, 4)) * scale).astype(np.float32))
        for _ in range(samples)
    ]


def quantized(points: list[torch.Tensor], size: tuple[float, float, float]):
    """Points (N, 4), voxel of each, coords (V, 4), means (V, 4), shape: as collate gives them."""
    grid = CartesianVoxels(size, RANGE)
    maps, coords, means, first = [], [], [], 0
    for sample, cloud in enumerate(points):
        index = grid.quantize(cloud.numpy())
        where = torch.from_numpy(index.point_to_voxel)
        maps.append(torch.where(where >= 0, where + first, -1))
        cells = torch.from_numpy(index.coords)
        coords.append(torch.cat([torch.full((len(cells), 1), sample).int(), cells], dim=1))
        means.append(torch.from_numpy(index.mean(cloud.numpy())))
        first += len(cells)
    joined = (torch.cat(points), torch.cat(maps), torch.cat(coords), torch.cat(means))
    return *joined, grid.spatial_shape


def in_order(values: torch.Tensor, coords: torch.Tensor) -> torch.Tensor:
    """Rows sorted by their coordinates."""
    key = coords.long() @ torch.tensor([10**9, 10**6, 10**3, 1])
    return values[key.argsort()]


def test_rank_in_voxel():
    voxel = torch.randint(0, 20, (200,), generator=torch.Generator().manual_seed(0))
    seen: dict[int, int] = {}
    for index, rank in zip(voxel.tolist(), rank_in_voxel(voxel).tolist(), strict=True):
        assert rank == seen.get(index, 0)
        seen[index] = rank + 1
    assert rank_in_voxel(voxel[:0]).shape == (0,)


def test_pillars_are_those_of_the_detector():
    torch.manual_seed(0)
    detector = mmdet3d_detector(**PILLARS).eval()
    parts = {
        "voxel_encoder": detector.pts_voxel_encoder,
        "middle_encoder": detector.pts_middle_encoder,
    }
    points = clouds()
    flat, where, coords, _, shape = quantized(points, PILLARS["voxel_size"])
    data = detector.data_preprocessor({"inputs": {"points": points}, "data_samples": None}, False)
    theirs = data["inputs"]["voxels"]
    with torch.no_grad():
        expected = detector.pts_voxel_encoder(
            theirs["voxels"], theirs["num_points"], theirs["coors"]
        )
        alone = PillarsAtVoxels(**parts).eval()(flat, where, coords, shape, 2)
        bev = detector.extract_feat(data["inputs"], [{}, {}])[1][0]
        student = PillarsAtVoxels(
            **parts, backbone=detector.pts_backbone, neck=detector.pts_neck
        ).eval()
        read = student(flat, where, coords, shape, 2)
    torch.testing.assert_close(
        in_order(alone, coords), in_order(expected, theirs["coors"]), rtol=1e-4, atol=1e-5
    )
    assert read.shape == (len(coords), 12)
    even = (coords[:, 2:] % 2 == 0).all(1) & (coords[:, 2:] > 0).all(1)
    cells = coords[even][0]
    b, y, x = int(cells[0]), int(cells[2]) // 2, int(cells[3]) // 2
    # Read a quarter cell behind cell (y, x): mostly of that cell.
    weights = torch.tensor([[0.75 * 0.75, 0.75 * 0.25], [0.25 * 0.75, 0.25 * 0.25]])
    around = bev[b, :, y : y + 2, x : x + 2]
    torch.testing.assert_close(read[even][0], (around * weights).sum((1, 2)), rtol=1e-4, atol=1e-5)


def test_points_gathered_one_by_one():
    points = clouds(2, 400)
    flat, where, coords, _, _ = quantized(points, (1.6, 1.6, 4.0))
    student = PillarsAtVoxels(torch.nn.Identity(), channels=3, max_points=7, pad_channels=1)
    pillars, counts = student.gather(flat, where, len(coords))
    for voxel in range(len(coords)):
        rows = flat[where == voxel][:7, :3]
        assert counts[voxel] == len(rows)
        expected = torch.zeros(7, 4)
        expected[: len(rows), :3] = rows
        assert torch.equal(pillars[voxel], expected)
    assert counts.max() == 7


@pytest.fixture(scope="module")
def encoder():
    compat.apply()
    torch.manual_seed(0)
    return detector_part(VOXELS, "middle_encoder").eval()


def test_sparse_encoder_is_that_of_the_detector(encoder):
    detector = mmdet3d_detector(**VOXELS).eval()
    detector.middle_encoder.load_state_dict(encoder.state_dict())
    points = clouds()
    _, _, coords, means, shape = quantized(points, VOXELS["voxel_size"])
    data = detector.data_preprocessor({"inputs": {"points": points}, "data_samples": None}, False)
    theirs = data["inputs"]["voxels"]
    student = SparseEncoderMap(encoder)
    assert student.stride == 8
    with torch.no_grad():
        expected = encoder(
            detector.voxel_encoder(theirs["voxels"], theirs["num_points"], theirs["coors"]),
            theirs["coors"], 2,
        )  # fmt: skip
        got = student(means, coords, shape, 2)
        read = BEVAtVoxels(student)(means, coords, shape, 2)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert got.shape == (2, 16, 8, 16)
    assert read.shape == (len(coords), 16)
    assert got.abs().max() > 0


def test_sparse_encoder_pads_and_checks(encoder):
    _, _, coords, means, shape = quantized(clouds(1), VOXELS["voxel_size"])
    narrow = SparseEncoderMap(encoder, pad_channels=1)
    zeros = torch.cat([means[:, :3], torch.zeros(len(means), 1)], dim=1)
    with torch.no_grad():
        assert torch.equal(
            narrow(means[:, :3], coords, shape, 1),
            SparseEncoderMap(encoder)(zeros, coords, shape, 1),
        )
    with pytest.raises(ValueError, match="built for a grid"):
        SparseEncoderMap(encoder)(means, coords, (40, 64, 64), 1)
    with pytest.raises(ValueError, match="built for a grid"):
        SparseEncoderMap(encoder)(means, coords, (20, *shape[1:]), 1)
    with pytest.raises(ValueError, match="one cell along z"):
        PillarsAtVoxels(torch.nn.Identity())(means, coords[:, 0], coords, shape, 1)
    with pytest.raises(ValueError, match="middle_encoder"):
        PillarsAtVoxels(torch.nn.Identity(), backbone=torch.nn.Identity())


def test_minkunet_gives_each_voxel_its_vector():
    compat.apply()
    from mmdet3d.models.backbones import MinkUNetBackbone

    torch.manual_seed(0)
    sizes = {"encoder_channels": [8, 8, 8, 8], "decoder_channels": [8, 8, 8, 6], "base_channels": 4}
    student = MinkUNetAtVoxels(
        {"type": MinkUNetBackbone, "in_channels": 5, "encoder_blocks": [1] * 4,
         "decoder_blocks": [1] * 4, "sparseconv_backend": "spconv", **sizes},
        pad_channels=1,
    ).eval()  # fmt: skip
    # The far corner in each sample: mmdet3d makes the grid as large as the voxels ask for.
    cells = torch.randint(0, 32, (2, 300, 3)).int()
    cells[:, 0] = 31
    coords = torch.cat(
        [
            torch.nn.functional.pad(torch.unique(sample, dim=0), (1, 0), value=index)
            for index, sample in enumerate(cells)
        ]
    )
    means = torch.randn(len(coords), 4)
    out = student(means, coords)
    assert out.shape == (len(coords), 6)
    out.square().sum().backward()
    assert all(p.grad is not None for p in student.parameters())
    # The second sample alone gives the same vectors: rows keep their order and their sample.
    second = coords[:, 0] == 1
    one = coords[second].clone()
    one[:, 0] = 0
    torch.testing.assert_close(student(means[second], one), out[second], rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="spconv"):
        MinkUNetAtVoxels(torch.nn.Identity())
