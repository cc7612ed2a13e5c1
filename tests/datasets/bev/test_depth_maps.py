# SPDX-License-Identifier: Apache-2.0
"""Depth maps: projection, filling, files, and what a network is given of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lidistill.datasets.bev.depth_maps import (
    LoadDepthMaps,
    dense_depth,
    mean_of_cells,
    read_depth,
    sparse_depth,
    write_depth,
)
from lidistill.io import DataError

MATRIX = np.array([[30.0, 0, 20, 4], [0, 30, 12, 1], [0, 0, 1, 0.01], [0, 0, 0, 1]])


def test_the_nearest_point_of_a_pixel_counts():
    rng = np.random.default_rng(0)
    xyz = rng.uniform((-5, -3, -2), (5, 3, 20), (500, 3)).astype(np.float32)
    found = sparse_depth(xyz, MATRIX, (24, 40))
    expected = np.zeros((24, 40))
    for point in xyz.astype(float):
        u, v, d, _ = MATRIX @ [*point, 1]
        if d < 0.1:
            continue
        column, row = int(np.floor(u / d + 0.5)), int(np.floor(v / d + 0.5))
        if 0 <= row < 24 and 0 <= column < 40 and not 0 < expected[row, column] < d:
            expected[row, column] = d
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found > 0).sum() > 100


def test_filling_keeps_measurements_and_lies_between_neighbours():
    rng = np.random.default_rng(1)
    plane = np.linspace(40, 5, 60)[:, None].repeat(80, 1).astype(np.float32)
    sparse = np.where(rng.random(plane.shape) < 0.1, plane, 0).astype(np.float32)
    sparse[:20] = 0
    dense = dense_depth(sparse)
    known = sparse > 0
    np.testing.assert_array_equal(dense[known], sparse[known])
    assert (dense[50:] > 0).mean() > 0.99
    assert (dense[:10] == 0).all()
    gap = np.abs(dense - plane)[dense > 0]
    assert np.quantile(gap, 0.95) < 3
    assert (dense_depth(np.zeros((9, 9), np.float32)) == 0).all()


def test_files_are_kittis(tmp_path):
    depth = np.array([[0, 1.5, 80.25], [255.99, 2.0, 300]], np.float32)
    write_depth(tmp_path / "a.png", depth)
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image)[0].tolist() == [0, 384, 20544]
    np.testing.assert_allclose(
        read_depth(tmp_path / "a.png"), depth.clip(0, 65535 / 256), atol=2e-3
    )
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="16 bits, one channel"):
        read_depth(tmp_path / "b.png")
    with pytest.raises(DataError, match="lidistill depth_maps"):
        read_depth(tmp_path / "c.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:-20])
    with pytest.raises(DataError, match="does not decode"):
        read_depth(tmp_path / "a.png")


def test_a_map_of_other_images_is_refused(tmp_path):
    write_depth(tmp_path / "000001.png", np.ones((16, 24), np.float32))
    load, known = LoadDepthMaps(str(tmp_path), stride=8), {"height": 32, "width": 48}
    with pytest.raises(DataError, match=r"(?s)48 x 32 pixels like its image, got 24 x 16.*000001"):
        load(sample() | {"images": {"CAM2": known}})


def sample():
    return {
        "img": [np.zeros((16, 24, 3), np.uint8)],
        "img_aug_matrix": np.eye(4)[None],
        "cam_names": ("CAM2",),
        "token": "000001",
    }


def test_maps_follow_their_images(tmp_path):
    rng = np.random.default_rng(2)
    depth = (rng.uniform(1, 50, (16, 24)) * (rng.random((16, 24)) < 0.3)).astype(np.float32)
    write_depth(tmp_path / "000001.png", depth)
    load = LoadDepthMaps(str(tmp_path), stride=8)
    results = load(sample())
    assert results["depth"].shape == (1, 2, 3)
    cell = depth[:8, 8:16]
    assert results["depth"][0, 0, 1] == pytest.approx(cell[cell > 0].mean(), abs=1e-2)
    flipped = sample()
    flipped["img_aug_matrix"] = np.array(
        [[[-1.0, 0, 23, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]]
    )
    np.testing.assert_allclose(load(flipped)["depth"], results["depth"][..., ::-1], atol=1e-2)
    results = sample() | {"token": "000002"}
    with pytest.raises(DataError, match="000002"):
        load(results)
    assert (LoadDepthMaps(str(tmp_path), missing="unknown")(results)["depth"] == 0).all()


def test_cells_without_depth_are_zero():
    assert (mean_of_cells(np.zeros((16, 17), np.float32), 8) == 0).all()
