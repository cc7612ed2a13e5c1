# SPDX-License-Identifier: Apache-2.0
"""Readers of point clouds, images and label maps: right values, and errors that name the file."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidistill.io import (
    DataError,
    finite_points,
    image_size,
    point_count,
    read_image,
    read_label_map,
    read_points,
    write_label_map,
)


def test_points_against_struct(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    path.write_bytes(b"".join(struct.pack("<5f", *row) for row in values))
    points = read_points(path, 5)
    assert points.dtype == np.float32
    assert points.tolist() == [list(struct.unpack("<5f", row.tobytes())) for row in values]
    points[0, 0] = 1.0  # the caller may change them


@pytest.mark.parametrize("size", [0, 1, 19, 21, 30])
def test_cut_points(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\0" * size)
    with pytest.raises(DataError, match=rf"(?s)got {size} bytes.*a\.bin.*sample: t1.*what to do"):
        read_points(path, 5, token="t1")
    with pytest.raises(DataError, match=rf"(?s)got {size} bytes.*a\.bin.*sample: t1.*what to do"):
        point_count(path, 5, token="t1")


def test_missing_points(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)not found.*a\.bin.*sample: t1.*run z"):
        read_points(tmp_path / "a.bin", 4, token="t1", fix="run z")


def test_point_count(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(7 * 16))
    assert point_count(tmp_path / "a.bin", 4) == len(read_points(tmp_path / "a.bin", 4)) == 7
    with pytest.raises(DataError, match=r"(?s)not found.*b\.bin.*run z"):
        point_count(tmp_path / "b.bin", 4, fix="run z")


def test_image_size(tmp_path: Path) -> None:
    Image.new("RGB", (7, 5)).save(tmp_path / "a.png")
    assert image_size(tmp_path / "a.png") == (7, 5)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"(?s)does not open.*b\.png.*sample: t1"):
        image_size(tmp_path / "b.png", "t1")
    with pytest.raises(DataError, match="not found"):
        image_size(tmp_path / "c.png")


def test_finite_points() -> None:
    points = np.ones((5, 4), dtype=np.float32)
    assert finite_points(points, "a.bin") is points
    points[3, 2] = np.nan
    points[4, 3] = np.inf
    with pytest.raises(DataError, match=r"(?s)2 of 5 points.*index 3.*a\.bin.*t1"):
        finite_points(points, "a.bin", "t1")


def test_image_is_rgb(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), image)
    Image.fromarray(image[..., 0]).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(image[..., :1], 3, axis=2))


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_cut_image(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(image).save(path)
    data = path.read_bytes()
    for size in (0, 10, len(data) // 2):
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match=rf"(?s)does not decode.*{name}.*t1"):
            read_image(path, "t1")
    path.unlink()
    with pytest.raises(DataError, match="not found"):
        read_image(path)


def test_label_map_round_trip(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 65536, (9, 11))
    labels[0, :2] = 0, 65535
    write_label_map(tmp_path / "a.png", labels)
    read = read_label_map(tmp_path / "a.png")
    assert read.dtype == np.int32
    assert np.array_equal(read, labels)
    Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "8bit.png")
    assert np.array_equal(read_label_map(tmp_path / "8bit.png"), labels.astype(np.uint8))


def test_label_map_errors(tmp_path: Path) -> None:
    for labels in (np.full((2, 2), 65536), np.full((2, 2), -1)):
        with pytest.raises(ValueError, match="16 bits"):
            write_label_map(tmp_path / "a.png", labels)
    for labels in (np.zeros((2, 2)), np.zeros(4, dtype=int)):
        with pytest.raises(ValueError, match="integers"):
            write_label_map(tmp_path / "a.png", labels)
    assert not list(tmp_path.iterdir())
    Image.fromarray(np.zeros((2, 2, 3), dtype=np.uint8)).save(tmp_path / "rgb.png")
    with pytest.raises(DataError, match="single-channel"):
        read_label_map(tmp_path / "rgb.png")
