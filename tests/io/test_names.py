# SPDX-License-Identifier: Apache-2.0
"""Names of files of others stay in their folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidistill.io import DataError, inside, ordered_files, plain_name

ROOT = Path("/data/root")


def test_names_below_the_root() -> None:
    assert inside(ROOT, "samples/LIDAR_TOP/a.bin") == ROOT / "samples/LIDAR_TOP/a.bin"
    assert inside(ROOT, "samples\\CAM\\a.jpg") == ROOT / "samples/CAM/a.jpg"
    assert inside(ROOT, "a..b/c.") == ROOT / "a..b/c."
    assert plain_name("e93e98b63d3b40209056d129dc53ceee", "token") == (
        "e93e98b63d3b40209056d129dc53ceee"
    )


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "./", "/x", "\\x", "../x", "a/../../x", "a\\..\\x", "C:/x", "c:x", "a\0b"),
        *("a" * 256, None, 7, b"x", ["x"]),
    ],
)
def test_names_that_lead_out(name: object) -> None:
    with pytest.raises(DataError, match=r"(?s)name of a picture below this folder.*/data/root"):
        inside(ROOT, name, "picture")


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", ".a", "a/b", "a\\b", "/x", "a\0", "a\n", "a" * 201, "é" * 101, None, 7],
)
def test_tokens_that_are_no_names(name: object) -> None:
    with pytest.raises(DataError, match="Expected a scene token that can be a file name"):
        plain_name(name, "scene token")


@given(st.text())
def test_whatever_passes_lies_below(name: str) -> None:
    try:
        path = inside(ROOT, name)
    except DataError:
        pass
    else:
        assert path.is_relative_to(ROOT)
        assert ".." not in path.parts
    try:
        path = ROOT / plain_name(name, "token")
    except DataError:
        pass
    else:
        assert path.parent == ROOT


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=9, unique=True), st.booleans())
def test_files_in_the_order_of_their_numbers(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], padded: bool
) -> None:
    folder = tmp_path_factory.mktemp("frames")
    for number in numbers:
        (folder / f"a_{number:{'012d' if padded else 'd'}}.bin").touch()
    (folder / "._a_1.bin").touch()
    (folder / "a_1.txt").touch()
    found = [int(path.stem[2:]) for path in ordered_files(folder, ".bin")]
    assert found == sorted(numbers)


def test_two_files_of_one_number(tmp_path: Path) -> None:
    assert ordered_files(tmp_path / "none", ".bin") == []
    for name in ("7.bin", "007.bin"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"one file a frame, got 007.bin and 7.bin"):
        ordered_files(tmp_path, ".bin")
