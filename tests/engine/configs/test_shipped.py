# SPDX-License-Identifier: Apache-2.0
"""Configs by name, and copies of them that stand anywhere."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from lidistill.engine.configs import cli
from lidistill.engine.configs.read import load_config
from lidistill.engine.configs.shipped import (
    copy_config,
    find_config,
    list_configs,
    shipped_configs,
)
from lidistill.engine.configs.stages import load_stage


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["slidr/demo", "slidr/demo.py", "configs/slidr/demo.py", "slidr/downstream/../demo.py"],
)
def test_a_name_is_found_from_any_folder(name) -> None:
    assert find_config(name) == shipped_configs() / "slidr" / "demo.py"
    assert load_config(name).stages[1]["name"] == "pretrain"


def test_a_file_comes_before_a_name(elsewhere) -> None:
    own = elsewhere / "slidr" / "demo.py"
    own.parent.mkdir()
    own.write_text("max_iters = 3")
    assert load_config("slidr/demo.py").max_iters == 3
    assert load_config("slidr/demo").stages  # no file of this name


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("slidr/demo_pretrian", "slidr/demo_pretrain"),
        ("configs/slydr/demo.py", "slidr/demo"),
        ("second_kitti_4x", "pointdistiller/second_kitti_4x"),
    ],
)
def test_a_wrong_name_gets_the_nearest(name, near) -> None:
    with pytest.raises(FileNotFoundError, match=f"found no {name}; did you mean .*{near}"):
        find_config(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../slidr/demo", "/slidr/demo", "slidr"])
def test_what_is_no_name_is_no_config(name) -> None:
    with pytest.raises(FileNotFoundError, match="lidistill config list"):
        find_config(name)


def test_the_list_has_words_and_no_bases() -> None:
    found = dict(list_configs())
    assert "SLidR" in found["slidr/demo_pretrain"]
    assert not any("_base_" in name for name in found)
    assert [name for name, words in found.items() if not words] == []


@pytest.mark.parametrize("name", ["slidr/demo_pretrain", "slidr/downstream/second_kitti"])
def test_a_copy_reads_as_its_original(elsewhere, name) -> None:
    copy = copy_config(name, elsewhere / "mine" / "own.py")
    assert "from ." not in copy.read_text()
    assert load_config(copy).to_dict() == load_config(name).to_dict()


def test_a_copy_keeps_its_stages(elsewhere) -> None:
    copy = copy_config("slidr/downstream/demo", elsewhere)
    assert copy == elsewhere / "demo.py"
    stages = load_config(copy).stages
    paths = [load_stage(copy, stage)[0] for stage in stages]
    assert paths[0] == shipped_configs() / "slidr" / "demo_teacher.py"
    assert all(path.is_file() for path in paths)


def test_nothing_is_overwritten(elsewhere) -> None:
    copy_config("slidr/demo", elsewhere)
    with pytest.raises(FileExistsError, match="name another"):
        copy_config("slidr/demo", elsewhere)


def words(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(given)


def test_the_verb_lists_and_copies(elsewhere, capsys) -> None:
    assert cli.run(words("list", "slidr", "demo_")) == 0
    listed = capsys.readouterr().out
    assert "slidr/demo_pretrain" in listed
    assert "pointdistiller" not in listed.splitlines()[0]
    assert cli.run(words("copy", "slidr/demo_pretrain", "own.py")) == 0
    assert capsys.readouterr().out == "own.py: lidistill train own.py\n"
    assert (elsewhere / "own.py").is_file()
