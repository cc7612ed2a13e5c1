# SPDX-License-Identifier: Apache-2.0
"""What is no cloud of the wished columns is refused, with what it likely is."""

from __future__ import annotations

import contextlib
import io as streams
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.io import DataError, point_count, read_points
from lidistill.io.clouds import cloud_fault


def cloud(columns: int = 4, count: int = 4000, seed: int = 0) -> np.ndarray:
    """Points of a ring sensor: x, y, z, reflectance, ring, then times."""
    rng = np.random.default_rng(seed)
    azimuth, radius = rng.uniform(-np.pi, np.pi, count), rng.uniform(3, 60, count)
    places = (radius * np.cos(azimuth), radius * np.sin(azimuth), rng.normal(-1, 0.7, count))
    rest = (rng.random(count), np.arange(count) % 64, *rng.random((3, count)) * 0.1)
    return np.stack([*places, *rest][:columns], axis=1).astype("<f4")


@pytest.mark.parametrize("columns", [3, 4, 5, 6])
@pytest.mark.parametrize("seed", range(3))
def test_every_width_is_read_as_itself_only(tmp_path: Path, columns: int, seed: int) -> None:
    path = tmp_path / "a.bin"
    points = cloud(columns, seed=seed)
    for width in (3, 4, 5, 6):
        whole = points.size // (width * columns) * columns
        path.write_bytes(points.reshape(-1)[: whole * width].tobytes())
        if width == columns:
            assert np.array_equal(read_points(path, width), points[:whole])
            assert point_count(path, width) == whole
            continue
        words = rf"(?s)cloud of {width} float32.*period of {columns}: likely {columns} .*--help"
        with pytest.raises(DataError, match=words):
            read_points(path, width)
        with pytest.raises(DataError, match=words):
            point_count(path, width)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("width", [4, 5])
def test_doubles(tmp_path: Path, width: int, exact: bool) -> None:
    points = cloud(4).astype("<f8")
    points += 0 if exact else np.random.default_rng(0).random(points.shape) * 1e-9
    (tmp_path / "a.bin").write_bytes(points[:2000].tobytes())
    with pytest.raises(DataError, match=r"(?s)float64 \(doubles\), 4 values per point.*a\.bin"):
        read_points(tmp_path / "a.bin", width)


def test_other_numbers(tmp_path: Path) -> None:
    points, path = cloud(4), tmp_path / "a.bin"
    for content, words in (
        (points.astype(">f4"), "big-endian"),
        ((points * 1000).astype("<i4"), "no coordinates"),
        (points * np.float32(1000), "a kilometre or more away"),
        (points + np.float32([500_000, 4_600_000, 0, 0]), "a kilometre or more away"),
    ):
        path.write_bytes(content.tobytes())
        with pytest.raises(DataError, match=words):
            read_points(path, 4)


def test_a_few_far_points_and_large_other_columns_pass(tmp_path: Path) -> None:
    points = cloud(5)
    points[:30, 0] = 4e5
    points[:, 4] = np.linspace(0, 1e9, len(points))  # microseconds
    points.tofile(tmp_path / "a.bin")
    assert np.array_equal(read_points(tmp_path / "a.bin", 5), points)


@pytest.mark.parametrize("points", [np.zeros((5000, 4)), np.ones((5000, 4)), np.zeros((3, 4))])
def test_values_without_a_pattern_give_no_verdict(points: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(size=points.shape)
    assert cloud_fault((points + noise).astype(np.float32)) is None
    if points.any() or len(points) < 10:
        assert cloud_fault(points.astype(np.float32)) is None


def headers() -> dict[str, tuple[bytes, str]]:
    points = cloud(4)
    memory = streams.BytesIO()
    np.save(memory, points)
    pcd = b"# .PCD v0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nDATA binary\n"
    return {
        "npy": (memory.getvalue(), r"numpy\.load"),
        "pcd": (pcd + b"\n" * (-len(pcd) % 16) + points.tobytes(), "open3d"),
        "ply": (b"ply\nformat binary_little_endian 1.0\n" + points.tobytes(), "open3d"),
        "zip": (b"PK\x03\x04" + points.tobytes(), "unpack"),
        "gzip": (b"\x1f\x8b\x08\x00" + points.tobytes(), "gunzip"),
        "text": (b"1.0 2.0 3.0 0.5\n" * 9, r"numpy\.loadtxt"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    }


@pytest.mark.parametrize("name", list(headers()))
def test_headers_are_refused_with_the_line_that_converts(tmp_path: Path, name: str) -> None:
    data, line = headers()[name]
    (tmp_path / "a.bin").write_bytes(data)
    for read in (read_points, point_count):
        with pytest.raises(DataError, match=rf"(?s)raw float32 values, got .*a\.bin.*{line}"):
            read(tmp_path / "a.bin", 4)


def test_points_that_are_not_finite(tmp_path: Path) -> None:
    points = cloud(4)
    points[::50, 3] = np.nan
    points[7, 0] = -np.inf
    path = tmp_path / "a.bin"
    points.tofile(path)
    with pytest.raises(DataError, match=r"(?s)81 of 4000 points.*index 0.*nonfinite='drop'"):
        read_points(path, 4)
    assert len(read_points(path, 4, nonfinite="keep")) == 4000
    kept = read_points(path, 4, nonfinite="drop")
    assert np.array_equal(kept, points[np.isfinite(points).all(axis=1)])


@pytest.mark.parametrize("columns", [0, -1, 2, 65])
def test_columns_that_cannot_be(tmp_path: Path, columns: int) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(640))
    with pytest.raises(DataError, match=rf"3 to 64 values a point .*got {columns}"):
        read_points(tmp_path / "a.bin", columns)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damage_is_an_error_or_finite_points(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(cloud(4, 500).tobytes())
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    path.write_bytes(bytes(content))
    with contextlib.suppress(DataError):
        assert np.isfinite(read_points(path, 4)).all()
    with contextlib.suppress(DataError):
        assert point_count(path, 4) * 16 == len(content)


def test_a_folder_in_place_of_a_cloud(tmp_path: Path) -> None:
    for read in (read_points, point_count):
        with pytest.raises(DataError, match="got a folder"):
            read(tmp_path, 4)


@pytest.mark.parametrize("columns", [3, 4, 5])
@pytest.mark.parametrize("count", [100, None])
def test_a_transposed_array(tmp_path: Path, columns: int, count: int | None) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(np.ascontiguousarray(cloud(columns)[:count].T).tobytes())
    with pytest.raises(DataError, match="column by column"):
        read_points(path, columns)


def test_values_that_are_all_alike_are_not_called_transposed() -> None:
    rng = np.random.default_rng(0)
    for count in (7, 64, 5000):
        assert cloud_fault(rng.normal(size=(count, 4)).astype("<f4")) is None
        spread = np.sort(rng.normal(size=(count, 4)), axis=0)  # in an order, as sensors turn
        assert cloud_fault((spread * [20, 20, 1, 0.1]).astype("<f4")) is None


@pytest.mark.parametrize(("column", "value"), [(0, 2e6), (2, -1e30), (3, 1e20), (3, -3e38)])
def test_one_value_that_no_sensor_gives(column: int, value: float) -> None:
    points = cloud(4)
    points[100, column] = value
    assert f"values like {abs(value):g}" in str(cloud_fault(points))
    points[100, column] = 5000.0  # a reflection may be as far
    assert cloud_fault(points) is None
