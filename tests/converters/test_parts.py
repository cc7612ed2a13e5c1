# SPDX-License-Identifier: Apache-2.0
"""The store of parts: kept across runs, thrown away when the job changes, one process at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lidistill.converters.parts import PartStore, finished_before, remember, stamp
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


def test_parts_of_another_version_are_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PartStore(tmp_path / ".work", {"a": 1}) as store:
        store.save("x", 1)
    monkeypatch.setattr("lidistill.converters.parts.__version__", "0.0.next")
    with PartStore(tmp_path / ".work", {"a": 1}) as store:
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


def test_a_finished_job_is_remembered(tmp_path: Path) -> None:
    folder, asked = tmp_path / ".work", {"a": (1, 2)}
    assert finished_before(folder, asked) is None
    product = tmp_path / "x.pkl"
    product.write_bytes(b"12")
    (tmp_path / "x.pkl.manifest.json").write_text("{}")
    remember(folder, asked, {"train": product})
    assert finished_before(folder, asked) == {"train": product}
    assert finished_before(folder, {"a": 2}) is None
    assert finished_before(folder, asked, restart=True) is None
    product.write_bytes(b"123")
    assert finished_before(folder, asked) is None
    product.write_bytes(b"13")  # as large as before
    assert finished_before(folder, asked) is None
    product.write_bytes(b"12")
    assert finished_before(folder, asked) == {"train": product}
    (tmp_path / ".work.done.json").write_text("[")
    assert finished_before(folder, asked) is None


def test_a_folder_whose_files_are_written_in_place_is_another(tmp_path: Path) -> None:
    path = tmp_path / "label_2" / "000000.txt"
    path.parent.mkdir()
    path.write_text("Car")
    before, folder_time = stamp(path.parent), path.parent.stat().st_mtime_ns
    assert stamp(path.parent) == before
    path.write_text("Van")  # as long as before
    os.utime(path, ns=(1, 1))  # and, as ``cp -p`` leaves it, older
    assert path.parent.stat().st_mtime_ns == folder_time
    assert stamp(path.parent) != before
    (path.parent / "gone.txt").symlink_to(tmp_path / "nowhere")
    assert stamp(path.parent) == stamp(path.parent)
