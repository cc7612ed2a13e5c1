# SPDX-License-Identifier: Apache-2.0
"""The store of parts: kept across runs, thrown away when the job changes, one process at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidistill.converters.parts import PartStore
from lidistill.io import DataError


def test_parts_survive_until_the_job_is_finished(tmp_path: Path) -> None:
    folder = tmp_path / ".work"
    with PartStore(folder, {"a": 1}) as store:
        assert store.missing(["x", "y"]) == ["x", "y"]
        store.save("x", {"value": [1.5]})
    with PartStore(folder, {"a": 1}) as store:
        assert store.missing(["x", "y"]) == ["y"]
        assert store.load("x") == {"value": [1.5]}
        store.finish()
    assert not folder.exists()


def test_another_job_starts_afresh(tmp_path: Path) -> None:
    with PartStore(tmp_path / ".work", {"a": 1}) as store:
        store.save("x", 1)
    with PartStore(tmp_path / ".work", {"a": 2}) as store:
        assert store.missing(["x"]) == ["x"]


def test_half_written_key_starts_afresh(tmp_path: Path) -> None:
    with PartStore(tmp_path / ".work", {"a": 1}) as store:
        store.save("x", 1)
    (tmp_path / ".work" / "job.json").write_text("{")
    with PartStore(tmp_path / ".work", {"a": 1}) as store:
        assert store.missing(["x"]) == ["x"]


def test_two_processes(tmp_path: Path) -> None:
    with (
        PartStore(tmp_path / ".work", {"a": 1}),
        pytest.raises(DataError, match=r"(?s)Another process.*--out-dir"),
    ):
        PartStore(tmp_path / ".work", {"a": 1}).__enter__()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"(?s)can be written.*--out-dir"):
        PartStore(tmp_path / "file" / ".work", {}).__enter__()
