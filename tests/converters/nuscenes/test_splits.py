# SPDX-License-Identifier: Apache-2.0
"""Splits: splits.json first, nuscenes-devkit's own names by the version's suffix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lidistill.converters.nuscenes.splits import find_splits
from lidistill.io import DataError


def _splits(root: Path, version: str, scenes: list[str], content: Any = None) -> dict[str, tuple]:
    (root / version).mkdir(exist_ok=True)
    if content is not None:
        (root / version / "splits.json").write_text(json.dumps(content))
    return {s.name: (s.devkit_name, s.scenes) for s in find_splits(root, version, scenes)}


@pytest.mark.parametrize(
    ("version", "scenes", "expected"),
    [
        (
            "v1.0-mini",
            ["scene-0061", "scene-0103", "scene-0916"],
            {
                "train": ("mini_train", ("scene-0061",)),
                "val": ("mini_val", ("scene-0103", "scene-0916")),
            },
        ),
        ("v1.0-trainval", ["scene-0003"], {"val": ("val", ("scene-0003",))}),
        ("v1.0-test", ["scene-0077"], {"test": ("test", ("scene-0077",))}),
    ],
)
def test_predefined(tmp_path: Path, version: str, scenes: list[str], expected: dict) -> None:
    assert _splits(tmp_path, version, scenes) == expected


def test_custom_names(tmp_path: Path) -> None:
    content = {"bench_train": ["a", "gone"], "bench_val": ["b"], "extra": ["c"], "none": ["gone"]}
    assert _splits(tmp_path, "v1.0-bench", ["a", "b", "c"], content) == {
        "train": ("bench_train", ("a",)),
        "val": ("bench_val", ("b",)),
        "extra": ("extra", ("c",)),
    }


def test_two_splits_of_one_kind_keep_their_names(tmp_path: Path) -> None:
    content = {"x_train": ["a"], "y_train": ["b"], "val": ["c"]}
    assert list(_splits(tmp_path, "v", ["a", "b", "c"], content)) == ["x_train", "y_train", "val"]


def test_file_comes_before_the_suffix(tmp_path: Path) -> None:
    content = {"my_train": ["scene-0103"]}
    found = _splits(tmp_path, "v1.0-mini", ["scene-0061", "scene-0103"], content)
    assert found == {"train": ("my_train", ("scene-0103",))}


@pytest.mark.parametrize("content", [[], {"train": "scene-1"}, {"train": [1]}])
def test_broken_file(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError, match=r"(?s)split name.*splits\.json"):
        _splits(tmp_path, "v1.0-mini", ["scene-0061"], content)


def test_no_split_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)ends in none of trainval, mini, test.*write this"):
        _splits(tmp_path, "v1.0-mine", ["a"])
    with pytest.raises(DataError, match=r"(?s)None of the 4 scenes.*a, b, c, \.\.\..*mini_train"):
        _splits(tmp_path, "v1.0-mini", ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    "content",
    [
        {"my_train": ["a", "b"], "my_val": ["b", "c"]},
        {"train": ["a", "b"], "test": ["b"]},
        {"one_train": ["b"], "other_val": ["b"]},  # they become train and val
        {"x_train": ["a"], "x_val": ["b"], "y_train": ["a", "b"], "y_val": ["b", "c"]},
    ],
)
def test_a_scene_in_two_splits_is_named(tmp_path: Path, content: dict) -> None:
    with pytest.raises(DataError, match=r"(?s)1 are in .* and in .*: b\..*splits\.json"):
        _splits(tmp_path, "v", ["a", "b", "c"], content)


def test_folds_and_parts_may_share_scenes(tmp_path: Path) -> None:
    content = {
        "x_train": ["a"], "x_val": ["b"], "y_train": ["b"], "y_val": ["a"], "trainval": ["a", "b"]
    }  # fmt: skip
    assert list(_splits(tmp_path, "v", ["a", "b"], content)) == list(content)


def test_a_scene_twice_in_one_split_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"my_train": ["a", "b", "a"], "my_val": ["c"]}
    found = _splits(tmp_path, "v", ["a", "b", "c"], content)
    assert found["train"] == ("my_train", ("a", "b"))
    assert "my_train: named more than once, taken once: a" in caplog.text


def test_a_split_without_scenes_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match=r"(?s)but my_val has none.*splits\.json"):
        _splits(tmp_path, "v", ["a"], {"my_train": ["a"], "my_val": []})
    assert list(_splits(tmp_path, "v", ["a"], {"my_train": ["a"], "my_val": ["gone"]})) == ["train"]
    assert "my_val: none of its scenes is in the tables" in caplog.text


@pytest.mark.parametrize("name", ["../../x_train", "/x_train", "", "a\\b"])
def test_a_split_is_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="can be a file name"):
        _splits(tmp_path, "v", ["a"], {name: ["a"]})
