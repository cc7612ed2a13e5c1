# SPDX-License-Identifier: Apache-2.0
"""KITTI's text files: marks, encodings, other words, and numbers that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lidistill.converters.kitti.classes import ClassTable
from lidistill.converters.kitti.files import (
    LABEL_FIELDS,
    read_calibration,
    read_labels,
    read_plane,
)
from lidistill.io import DataError
from tests.converters.fake_kitti import calibration_text

LINE = "Car 0.10 1 -1.57 10.0 20.0 30.5 40.5 1.50 1.60 3.90 -2.0 1.7 15.0 0.25"
DONT_CARE = "DontCare -1 -1 -10 5.00 6.00 20.00 30.00 -1 -1 -1 -1000 -1000 -1000 -10"
ZERO = " ".join(["0"] * 9)


def changed(field: str, value: str) -> str:
    words = LINE.split()
    words[1 + LABEL_FIELDS.index(field)] = value
    return " ".join(words)


def calibration(tmp_path: Path, text: str | None = None) -> Path:
    path = tmp_path / "000000.txt"
    path.write_text(calibration_text(np.random.default_rng(0)) if text is None else text)
    return path


def replaced(text: str, name: str, values: str | None) -> str:
    lines = [line for line in text.splitlines() if line.partition(":")[0] != name]
    return "\n".join([*lines, *([] if values is None else [f"{name}: {values}"])])


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + f"{LINE}\r\n{DONT_CARE}\r\n".encode())
    assert read_labels(path, "t").names == ("Car", "DontCare")
    plain = read_calibration(calibration(tmp_path), "t")
    path.write_bytes(b"\xef\xbb\xbf" + calibration(tmp_path).read_bytes())
    marked = read_calibration(path, "t")
    for number in range(4):
        np.testing.assert_array_equal(marked.projections[number], plain.projections[number])


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(f"Fußgänger{LINE[3:]}".encode(encoding))
    with pytest.raises(DataError, match=r"(?s)UTF-8.*a\.txt.*sample: t"):
        read_labels(path, "t")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("y", "nan", "y: expected finite"),
        ("y", "inf", "y: expected finite"),
        ("occluded", "nan", "occluded: expected finite"),
        ("occluded", "4", "occluded: expected 0, 1, 2 or 3"),
        ("occluded", "0.5", "occluded: expected 0, 1, 2 or 3"),
        ("truncated", "2", "truncated: expected 0 to 1"),
        ("alpha", "90", "alpha: expected radians"),
        ("rotation_y", "-180", "rotation_y: expected radians"),
        ("width", "-1.6", "width: expected 0 to 200"),
        ("length", "99999999999", "length: expected 0 to 200"),
        ("z", "-1e9", "z: expected a place within 1000"),
        ("x2", "9", "x2: expected at least x1 = 10"),
        ("y", "1,7", "y: expected a number, got '1,7'"),
    ],
)
def test_numbers_that_are_none_are_named(
    tmp_path: Path, field: str, value: str, message: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{LINE}\n\n{changed(field, value)}\n")
    with pytest.raises(DataError, match=rf"(?s)Line 3, {message}.*a\.txt.*decimal point"):
        read_labels(path, "t")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.sampled_from(LABEL_FIELDS[:14]), st.sampled_from(["-1e9", "99999999999", "nan", "inf"]))
def test_no_field_takes_nonsense(tmp_path: Path, field: str, value: str) -> None:
    path = tmp_path / "a.txt"
    if (field, value) in {(f, "99999999999") for f in ("x2", "y2")}:
        return  # a rectangle may leave the image, and who knows how far
    if (field, value) in {(f, "-1e9") for f in ("x1", "y1")}:
        return
    path.write_text(changed(field, value))
    with pytest.raises(DataError, match="Line 1, "):
        read_labels(path, "t")


def test_what_is_odd_and_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in (
        DONT_CARE,
        changed("alpha", "-10"),
        changed("truncated", "-1"),
        changed("occluded", "-1"),
        changed("width", "0"),
        f"{LINE} 0.75",
        f"Gabelstapler{LINE[3:]}",
    ):
        path.write_text(text)
        assert len(read_labels(path, "t").names) == 1
    path.write_text("")
    assert read_labels(path, "t").bbox.shape == (0, 4)
    path.write_text(f"{LINE} 0.75")
    assert read_labels(path, "t").score.tolist() == [0.75]


@pytest.mark.parametrize("text", [f"fork lift{LINE[3:]}", f"fork lift{LINE[3:]} 1", "Car 1 2 3"])
def test_a_class_of_two_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=r"(?s)Line 1: expected 15 fields.*class \(one word\)"):
        read_labels(path, "t")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("P2", "nan" + " 1" * 11, "P2: expected finite"),
        ("P2", "1 2 3", "P2: expected 12 values, got 3"),
        ("P2", "-700 0 600 0 0 700 180 0 0 0 1 0", "P2: expected focal lengths"),
        ("P0", ZERO, "P0: expected 12 values, got 9"),
        ("Tr_velo_to_cam", "0 -1 0 0 0 -1 1 0 0", "Tr_velo_to_cam: expected 12 values, got 9"),
        ("Tr_velo_to_cam", "0 -1 0 0 0 0 -1 0 2 0 0 0", "expected a rotation"),
        ("Tr_velo_to_cam", "0 -1 0 0 0 0 -1 0 1 0 0 1e9", "translation within 1000 m"),
        ("Tr_imu_to_velo", "1 0 0 0 0 1 0 0 0 0 -1 0", "mirrors"),
        ("R0_rect", ZERO, "R0_rect: expected a rotation"),
        ("R0_rect", "1 0 0 1 0 1 0 0 0 0 1 0", "last column of 0"),
        ("R0_rect", "1 0 0 0 1 0 0 0 one", "R0_rect: expected a number, got 'one'"),
    ],
)
def test_calibration_that_is_none(tmp_path: Path, name: str, values: str, message: str) -> None:
    path = calibration(tmp_path)
    path.write_text(replaced(path.read_text(), name, values))
    with pytest.raises(DataError, match=rf"(?s)Line \d+, .*{message}.*000000\.txt"):
        read_calibration(path, "t")


def test_the_same_entry_twice(tmp_path: Path) -> None:
    path = calibration(tmp_path)
    path.write_text(path.read_text() * 2)
    with pytest.raises(DataError, match="P0: it is there twice"):
        read_calibration(path, "t")


def test_a_missing_projection_is_not_another_ones(tmp_path: Path) -> None:
    path = calibration(tmp_path)
    text = path.read_text()
    path.write_text(replaced(replaced(text, "P0", None), "P3", None))
    assert sorted(read_calibration(path, "t").projections) == [1, 2]
    path.write_text(replaced(text, "P2", None))
    with pytest.raises(DataError, match=r"P2 is missing"):
        read_calibration(path, "t")
    assert 2 not in read_calibration(path, "t", with_camera=False).projections


def test_the_tracking_benchmarks_words(tmp_path: Path) -> None:
    """Its files also leave the colon out after some names."""
    path = calibration(tmp_path)
    plain = read_calibration(path, "t")
    text = path.read_text().replace("R0_rect:", "R_rect").replace("Tr_velo_to_cam:", "Tr_velo_cam")
    path.write_text(text.replace("Tr_imu_to_velo:", "Tr_imu_velo") + "calib_time: 09-Jan-2012\n")
    tracking = read_calibration(path, "t")
    np.testing.assert_array_equal(tracking.rectified_from_lidar, plain.rectified_from_lidar)
    np.testing.assert_array_equal(tracking.lidar_from_imu, plain.lidar_from_imu)


def test_planes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    head = "# Plane\nWidth 4\nHeight 1\n"
    path.write_text(f"{head}-1e-2 -1.0 2e-2 1.65\n")
    assert read_plane(path, "t") == [-0.01, -1.0, 0.02, 1.65]
    for row in ("0 -1 0", "0 nan 0 1.65", "0 -5 0 1.65", "0 -1 0 1e9", ""):
        path.write_text(f"{head}{row}\n")
        with pytest.raises(DataError, match=r"(?s)four numbers in the fourth line.*a\.txt"):
            read_plane(path, "t")
    path.write_text(f"{head}0 -1 0 1,65\n")
    with pytest.raises(DataError, match="'1,65'"):
        read_plane(path, "t")


def test_class_tables() -> None:
    table = ClassTable.of(["car", "Forklift"])
    assert table.taught == ("Car", "Forklift")
    assert (table.categories["Car"], table.categories["Forklift"]) == (2, 8)
    assert [table.label(table.spelled(n)) for n in ("CAR", "forklift", "Van", "x")] == [
        2,
        8,
        -1,
        -1,
    ]
    assert table.spelled("dontcare") == "DontCare"
    assert ClassTable().label("Misc") == 7
    for names in (["Car", "car"], ["fork lift"], ["dontcare"], []):
        with pytest.raises(ValueError, match="one word each"):
            ClassTable.of(names)
