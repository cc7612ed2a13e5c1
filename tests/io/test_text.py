# SPDX-License-Identifier: Apache-2.0
"""Text and JSON of any tool: marks and line ends pass, other encodings are named."""

from __future__ import annotations

import codecs
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidistill.io import DataError, read_json, read_text, write_json

LINES = "Car 0.0 é\nBus 1"


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends(tmp_path: Path, mark: bytes, end: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(mark + LINES.replace("\n", end).encode())
    assert read_text(path) == LINES


def test_two_marked_files_put_together(tmp_path: Path) -> None:
    part = codecs.BOM_UTF8 + b"000001\r\n"
    (tmp_path / "a.txt").write_bytes(part + part)
    assert read_text(tmp_path / "a.txt").split() == ["000001", "000001"]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (LINES.encode("utf-16"), "UTF-16"),
        (LINES.encode("utf-16-be"), "UTF-16"),
        (codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"), "UTF-16"),
        (LINES.encode("utf-32"), "UTF-32"),
        (LINES.encode("latin-1"), "0xe9 in line 1: latin-1"),
        (b"a\0b", "NUL"),
    ],
)
def test_other_encodings_are_named(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"(?s){name}.*a\.txt.*sample: t1.*what to do"):
        read_text(path, "t1")
    with pytest.raises(DataError, match=rf"(?s){name}.*a\.txt"):
        read_json(path)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    for read in (read_text, read_json):
        with pytest.raises(DataError, match="got a folder"):
            read(tmp_path)
        with pytest.raises(DataError, match="not found"):
            read(tmp_path / "a")


def test_json_with_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(codecs.BOM_UTF8 + b'[{"a": 1}, {"a": 2}]')
    assert read_json(path) == [{"a": 1}, {"a": 2}]
    write_json(path, {"b": [1.5]})
    assert read_json(path) == {"b": [1.5]}


def test_numbers_that_are_none_become_null(tmp_path):
    path = tmp_path / "scores.json"
    write_json(path, {"ap": float("nan"), "all": (1.5, [float("-inf"), {"a": 2}])})
    assert "NaN" not in path.read_text()
    assert read_json(path) == {"ap": None, "all": [1.5, [None, {"a": 2}]]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
        ('[{"a": 1, "b": 2, "a": 3}]', "'a' is there twice"),
        ("{", "does not parse"),
        ("", "does not parse"),
        ("1" * 5000, "does not parse"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=rf"(?s){words}.*a\.json.*what to do: run z"):
        read_json(tmp_path / "a.json", fix="run z")


def test_json_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="at most 5 bytes, got 6"):
        read_json(tmp_path / "a.json", max_bytes=5)


JSON = json.dumps({"tables": [{"token": "é", "values": [1, 2.5, None]}]}, ensure_ascii=False)


@given(st.data())
def test_damage_is_an_error_or_no_damage(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    content = bytearray(JSON.encode())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[place:]
    path.write_bytes(bytes(content))
    for read in (read_text, read_json):
        with contextlib.suppress(DataError):
            read(path)
