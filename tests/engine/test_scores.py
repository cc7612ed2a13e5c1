# SPDX-License-Identifier: Apache-2.0
"""Scores of a test: tables a person can read, JSON with every number."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from lidistill.engine.scores import tables, write_scores
from lidistill.hooks.run_folder import note_run, read_note
from lidistill.io import read_json


def text_of(scores) -> str:
    console = Console(file=io.StringIO(), width=80)  # as where output goes to a file
    for table in tables(scores):
        console.print(table)
    return console.file.getvalue()


def test_kittis_numbers_are_a_line_a_difficulty_and_whole_on_80_columns():
    levels = ("easy", "moderate", "hard")
    scores = {
        f"kitti/{name}/{metric}_{recalls}_{level}": 10.0 + number + 0.123
        for number, name in enumerate(("mAP", "Pedestrian"))
        for metric in ("bbox", "bev", "3d", "aos")
        for recalls in ("R11", "R40")
        for level in levels
    }
    scores |= {f"kitti/Pedestrian/objects_{level}": 12345.0 for level in levels}
    scores |= {f"kitti/mAP/aos_R40_{level}": None for level in levels}
    (table,) = tables(scores)
    assert [column.header for column in table.columns] == [
        "class", "difficulty", "objects", "bbox", "bev", "3d", "aos",
    ]  # fmt: skip
    assert list(table.columns[0].cells) == ["mAP"] * 3 + ["Pedestrian"] * 3
    lines = [line.split() for line in text_of(scores).splitlines()]
    for line in (
        "│ Pedestrian │ moderate │ 12345 │ 11.12 │ 11.12 │ 11.12 │ 11.12 │",
        "│ mAP │ hard │ - │ 10.12 │ 10.12 │ 10.12 │ - │",
    ):
        assert line.split() in lines


def test_other_numbers_are_a_line_each():
    text = text_of(
        {"mAP": 0.25, "n/NDS": np.float32(0.5), "n/AP/car": 0.75, "n/AP/bus": float("nan")}
    )
    assert "n/AP" in text
    lines = [line.split() for line in text.splitlines()]
    for name, value in (("mAP", "0.25"), ("NDS", "0.5"), ("car", "0.75"), ("bus", "nan")):
        assert ["│", name, "│", value, "│"] in lines


def test_every_number_is_in_the_file(tmp_path):
    note_run(tmp_path, "key")
    scores = {"mAP": np.float64(0.25), "words": "x"}
    path = write_scores(scores, tmp_path, "some/iter_5.pth", "c.py")
    assert read_json(path)["scores"] == {"mAP": 0.25, "words": "x"}
    assert path.name == "iter_5.test.json"
    assert path.name in read_note(tmp_path)["wrote"]
