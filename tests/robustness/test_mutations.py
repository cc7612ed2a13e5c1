# SPDX-License-Identifier: Apache-2.0
"""Damaged input files: a named error, the same result, or nothing that anybody could see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lidistill.io import DataError
from tests.robustness import mutate_run
from tests.robustness.mutate_form import Format
from tests.robustness.mutate_judge import (
    CRASH,
    HANG,
    NAMED,
    NATURE,
    SAME,
    SILENT,
    TRACEBACK,
    UNNAMED,
    judge_error,
    judge_result,
)
from tests.robustness.mutate_kinds import ANY, JSON, TEXT
from tests.robustness.mutate_run import Trial, planned, run_trials, table

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_no_reader_has_a_fault() -> None:
    """200 trials of a seed that nobody looked at before; the command repeats one."""
    command = [
        sys.executable,
        str(ROOT / "tools/mutate_inputs.py"),
        "--seed",
        "8",
        "--trials",
        "200",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split()[0] == "all"
    assert done.stdout.splitlines()[-1].split()[-1] == "200"


def lines(root: Path) -> None:
    (root / "numbers.txt").write_text("1\n2\n3\n")


def careless(root: Path) -> object:
    """A reader with one fault of each kind, by what it finds."""
    path = root / "numbers.txt"
    text = path.read_text()
    if "nan" in text:
        while True:
            pass
    if not text:
        os._exit(3)
    return [int(float(word)) for word in text.split()]


@pytest.fixture
def form(monkeypatch: pytest.MonkeyPatch) -> Format:
    kinds = {**ANY, **{name: TEXT[name] for name in ("NaN", "CRLF", "line gone", "UTF-16")}}
    made = Format(
        "careless", lines, "*.txt", careless, kinds, {"line gone": "no count"}, {r"\[\]": ""}
    )
    monkeypatch.setitem(mutate_run.FORMATS, "careless", made)
    monkeypatch.setattr(mutate_run, "PATIENCE_S", 1.0)
    return made


def test_every_kind_of_fault_is_found(form: Format, tmp_path: Path) -> None:
    results = list(run_trials(planned(["careless"], 60, seed=0), tmp_path / "roots"))
    assert [result.trial.number for result in results] == list(range(60))
    found: dict[str, set[str]] = {}
    for result in results:
        found.setdefault(result.mutation, set()).add(result.verdict.outcome)
    assert found["CRLF"] == {SAME}
    assert found["line gone"] == {NATURE}
    assert found["UTF-16"] == {TRACEBACK}
    assert found["missing"] == found["folder"] == {NAMED}
    assert found["?"] == {HANG, CRASH}
    assert SILENT in found["longer"] | found["cut"]
    last = table(results).splitlines()[-1].split()
    assert int(last[-1]) == 60 == sum(map(int, last[1:-1]))


def test_a_trial_is_the_same_when_it_is_repeated(form: Format, tmp_path: Path) -> None:
    trial = Trial("careless", 4, seed=1)
    first, again = (next(iter(run_trials([trial], tmp_path / name))) for name in ("one", "other"))
    assert (first.mutation, first.verdict.outcome) == (again.mutation, again.verdict.outcome)
    assert "--seed 1 --format careless --only 4" in trial.command


def test_errors_must_be_ours_and_name_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for error, outcome in (
        (DataError("Expected it.", path=path), NAMED),
        (FileNotFoundError(2, "No such file", str(path)), NAMED),
        (ValueError("cannot reshape array"), UNNAMED),
        (ValueError(f"{path} {'x' * 9000}"), UNNAMED),
        (KeyError("a.txt"), TRACEBACK),
        (UnicodeDecodeError("utf-8", b"a.txt", 0, 1, "bad"), TRACEBACK),
    ):
        assert judge_error(error, path, tmp_path).outcome == outcome, error


@pytest.mark.parametrize(
    ("old", "new", "outcome"),
    [
        ({"a": [1, 2.5]}, {"a": [1, 2.5]}, SAME),
        ({"a": float("nan")}, {"a": float("nan")}, SAME),
        ({"a": [1, 2.5]}, {"a": [1, 7.5]}, NATURE),
        ({"a": [1, 2.5]}, {"a": [1, 1e30]}, SILENT),
        ({"a": [1, 2.5]}, {"a": [1]}, SILENT),
        ({"a": 1}, {"b": 1}, SILENT),
        ({"a": 1}, {"a": None}, SILENT),
        ({"a": "x"}, {"a": "y\0"}, SILENT),
        ({"free": 1}, {"free": None}, NATURE),
        (np.zeros(3), np.ones(3), NATURE),
        (np.zeros(3), np.array([0, np.inf, 0]), SILENT),
        (np.zeros(3), np.zeros(4), SILENT),
        (np.zeros(3), np.zeros(3, np.float32), SILENT),
    ],
)
def test_what_is_plausible(old: object, new: object, outcome: str) -> None:
    form = Format("x", lines, "*", careless, ANY, {"flip": "why"}, {r"\.free": "so"})
    assert judge_result(old, new, "flip", form).outcome == outcome
    if outcome == NATURE:  # of a mutation that can be seen it is a fault
        assert judge_result(old, new, "UTF-16", form).outcome == SILENT


@pytest.mark.parametrize("name", sorted(JSON))
def test_mutations_of_json_change_something(name: str) -> None:
    data = b'{"rows": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], "n": 3}\n'
    made = {JSON[name](data, np.random.default_rng(seed)) for seed in range(9)}
    assert made - {data, None}
