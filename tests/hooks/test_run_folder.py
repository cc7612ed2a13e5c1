# SPDX-License-Identifier: Apache-2.0
"""What ``--restart`` may remove: what a run noted as its own, never anything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidistill.hooks.run_folder import (
    clear,
    finished_checkpoint,
    flat_values,
    note_run,
    note_written,
    read_note,
    refuse_foreign,
)
from lidistill.io import DataError, read_json, write_json
from lidistill.io.locks import LOCK_FILE


def a_run(folder, *names):
    note_run(folder, "key", {"model.width": "8"})
    for name in names:
        note_written(folder, name)
        (folder / name).write_text("x")


def test_restart_removes_the_run_and_nothing_else(tmp_path, capsys):
    tmp_path.joinpath("thesis").mkdir()
    tmp_path.joinpath("thesis/ch1.tex").write_text("mine")
    tmp_path.joinpath("notes.txt").write_text("mine")
    a_run(tmp_path, "iter_5.pth", "iter_10.pth")
    tmp_path.joinpath("20260101_000000/vis_data").mkdir(parents=True)
    note_written(tmp_path, "20260101_000000", there=True)
    tmp_path.joinpath(".iter_15.tmp.pth").write_text("not of a noted name")
    tmp_path.joinpath(".iter_10.tmp.pth").write_text("half")
    tmp_path.joinpath(LOCK_FILE).touch()
    clear(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"thesis", "thesis/ch1.tex", "notes.txt", ".iter_15.tmp.pth", LOCK_FILE}
    said = capsys.readouterr().err
    assert "removed 6 files" in said
    assert "iter_5.pth" in said
    assert "notes.txt" in said


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    refuse_foreign(tmp_path)
    refuse_foreign(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "data").mkdir()
    for refused in (refuse_foreign, clear):
        with pytest.raises(DataError, match=r"2 files and folders \(data, notes.txt\)") as caught:
            refused(tmp_path)
        assert str(tmp_path) in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "notes.txt"]


def test_a_note_that_names_nothing_removes_nothing(tmp_path):
    write_json(tmp_path / "run.json", {"config": "key"})
    (tmp_path / "iter_5.pth").touch()
    with pytest.raises(DataError, match="did not note its files"):
        clear(tmp_path)
    assert (tmp_path / "iter_5.pth").exists()


def test_of_a_link_only_the_link_goes(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "scan.bin").write_text("precious")
    work = tmp_path / "work"
    a_run(work, "iter_5.pth")
    for name in ("log", "iter_10.pth"):
        note_written(work, name)
    (work / "log").symlink_to(data, target_is_directory=True)
    (work / "iter_10.pth").symlink_to(data / "scan.bin")
    (work / "dangling").symlink_to(data / "nothing")
    note_written(work, "dangling")  # it was there before: not the run's
    clear(work)
    assert (data / "scan.bin").read_text() == "precious"
    assert [path.name for path in work.iterdir()] == ["dangling"]


def test_what_was_there_before_is_not_the_runs(tmp_path):
    (tmp_path / "console.log").write_text("mine")
    a_run(tmp_path)
    note_written(tmp_path, "console.log")
    assert read_note(tmp_path)["wrote"] == ["run.json", "run_config.json"]
    note_written(tmp_path / "elsewhere", "x")  # no run there: nothing is noted
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "note",
    [
        "[]",
        "null",
        "{",
        '{"config": 3}',
        '{"config": "k", "wrote": "all"}',
        '{"config": "k", "wrote": [1]}',
        '{"config": "k", "wrote": ["../x"]}',
    ],
)
def test_a_damaged_note_is_an_error_that_names_it(tmp_path, note):
    (tmp_path / "run.json").write_text(note)
    with pytest.raises(DataError, match=r"run\.json"):
        clear(tmp_path)


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=12).filter(lambda name: "/" in name or "\\" in name or name in ("", "..")))
def test_no_path_leaves_the_folder(tmp_path_factory, name):
    work = tmp_path_factory.mktemp("work")
    write_json(work / "run.json", {"config": "key", "wrote": ["iter_5.pth", name]})
    (work / "iter_5.pth").touch()
    with pytest.raises(DataError, match="names of files in this folder"):
        clear(work)
    assert (work / "iter_5.pth").exists()


def test_another_config_is_told_by_its_keys(tmp_path):
    a_run(tmp_path)
    (tmp_path / "iter_5.pth").touch()
    with pytest.raises(ValueError, match=r"model.width is 8 there, 16 here") as caught:
        finished_checkpoint(tmp_path, "other", {"model.width": "16"})
    assert f"load_from={tmp_path / 'iter_5.pth'}" in str(caught.value)
    assert finished_checkpoint(tmp_path, "key", {"model.width": "8"}) is None


def test_a_start_without_a_checkpoint_blocks_nothing(tmp_path):
    a_run(tmp_path)
    assert finished_checkpoint(tmp_path, "other", {}) is None
    note_run(tmp_path, "other", {"model.width": "16"})
    assert read_json(tmp_path / "run_config.json") == {"model.width": "16"}


def test_values_by_dotted_key():
    config = {"model": {"type": dict, "steps": [{"size": 3}, {"size": 4}]}, "scale": (1, 2)}
    assert flat_values(config) == {
        "model.type": "dict", "model.steps.0.size": "3", "model.steps.1.size": "4",
        "scale": "(1, 2)",
    }  # fmt: skip
