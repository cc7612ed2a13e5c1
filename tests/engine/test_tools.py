# SPDX-License-Identifier: Apache-2.0
"""Stages that make something: run once, handed on by name, made anew only when asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lidistill.engine.train import train
from lidistill.io import read_json

CONFIG = Path(__file__).with_name("toy_tool_config.py")


def test_a_tool_runs_once_and_its_result_has_a_name(tmp_path):
    made = train(CONFIG, tmp_path / "run")
    assert made == tmp_path / "run" / "made" / "word.txt"
    note = read_json(tmp_path / "run" / "run.json")
    assert note["made"] == "made/word.txt"
    assert note["facts"] == {"letters": 5}
    assert note["process_s"] >= 0
    assert train(CONFIG, tmp_path / "run") == made
    assert len((made.parent / "log.txt").read_text().splitlines()) == 1


def test_later_stages_name_what_it_made(tmp_path):
    staged = tmp_path / "staged.py"
    stages = [
        dict(name="one", config=str(CONFIG)),
        dict(name="two", config=str(CONFIG), options={"tool.word": "stage://one"}),
    ]
    staged.write_text(f"stages = {stages!r}\n")
    made = train(staged, tmp_path / "run")
    assert made.read_text() == str(tmp_path / "run" / "one" / "made" / "word.txt")


def test_what_was_made_from_another_stage_is_not_taken(tmp_path):
    """The folder of the first is removed, its options are others: the second is of the old one."""
    staged, work = tmp_path / "staged.py", tmp_path / "run"
    stages = [
        dict(name="one", config=str(CONFIG)),
        dict(name="two", config=str(CONFIG), options={"tool.word": "stage://one"}),
    ]
    staged.write_text(f"stages = {stages!r}\n")
    train(staged, work)
    shutil.rmtree(work / "one")
    with pytest.raises(ValueError, match=r"two was made from one, trained with other settings"):
        train(staged, work, options={"one.tool.word": "other"})
    shutil.rmtree(work / "two")
    train(staged, work, options={"one.tool.word": "other"})
    shutil.rmtree(work / "one")
    train(staged, work, options={"one.tool.word": "other"})  # the same again


def test_another_config_and_restart(tmp_path):
    made = train(CONFIG, tmp_path / "run")
    with pytest.raises(ValueError, match=r"tool\.word is first there, second here"):
        train(CONFIG, tmp_path / "run", options={"tool.word": "second"})
    assert made.read_text() == "first"
    (tmp_path / "run" / "mine.txt").write_text("stays")
    again = train(CONFIG, tmp_path / "run", options={"tool.word": "second"}, restart=True)
    assert again.read_text() == "second"
    assert len((again.parent / "log.txt").read_text().splitlines()) == 1
    assert (tmp_path / "run" / "mine.txt").is_file()


def test_seconds_are_those_of_all_starts(tmp_path, monkeypatch):
    """The cost of a method counts what an interrupted tool did; the next start goes on with it."""
    clock = [100.0]
    monkeypatch.setattr("lidistill.engine.tools.time.process_time", lambda: clock[0])
    written = Path.write_text

    def killed(path, text, **options):
        if path.name != "word.txt":
            return written(path, text, **options)
        clock[0] += 50
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            train(CONFIG, tmp_path / "run")
    assert read_json(tmp_path / "run" / "run.json")["process_s"] == 50
    train(CONFIG, tmp_path / "run")
    assert read_json(tmp_path / "run" / "run.json")["process_s"] == 50


def test_one_that_did_not_end_runs_again(tmp_path):
    with pytest.raises(TypeError):
        train(CONFIG, tmp_path / "run", options={"tool.word": 3})
    assert train(CONFIG, tmp_path / "run", restart=True).read_text() == "first"
    made = train(CONFIG, tmp_path / "run")
    made.unlink()
    assert train(CONFIG, tmp_path / "run") == made
    assert made.is_file()
