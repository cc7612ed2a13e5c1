# SPDX-License-Identifier: Apache-2.0
"""`tools/matrix.py`: outcomes of cells, the record, and the page that is made of it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import matrix_page  # noqa: E402

CELL = "python3.11-torch2.13.0-numpy2"


@pytest.fixture
def matrix(monkeypatch, tmp_path):
    """The tool, as a module, with commands that are answered here."""
    spec = importlib.util.spec_from_file_location("matrix_tool", ROOT / "tools" / "matrix.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "matrix_tool", module)  # dataclasses look it up
    spec.loader.exec_module(module)
    module.answers = {}
    module.asked = []

    def answer(*command, environment=None):
        line = " ".join(map(str, command))
        module.asked.append((line, environment))
        for word, (code, out) in module.answers.items():
            if word in line:
                return subprocess.CompletedProcess(command, code, out, out)
        if "--report" in line:
            words = list(map(str, command))
            Path(words[words.index("--report") + 1]).write_text(json.dumps({"install": []}))
        out = "[]" if "pip list" in line or "doctor --imports" in line else "12 passed in 3.4s"
        return subprocess.CompletedProcess(command, 0, out, "")

    monkeypatch.setattr(module, "run", answer)
    module.out = tmp_path / "matrix.json"
    return module


def try_one(matrix, monkeypatch, *words: str) -> dict:
    """Run the tool on one cell; its row of the record."""
    out, folder = str(matrix.out), str(matrix.out.parent / "environments")
    command = ["matrix.py", "--only", *CELL.split("-"), "--out", out, "--folder", folder, *words]
    monkeypatch.setattr(sys, "argv", command)
    assert matrix.main() == 0
    rows = json.loads(matrix.out.read_text())["rows"] if matrix.out.exists() else []
    return {row["name"]: row for row in rows}.get(CELL, {})


def test_a_cell_passes(matrix, monkeypatch):
    matrix.answers = {"pip list": (0, '[{"name": "numpy", "version": "2.4.6"}]')}
    row = try_one(matrix, monkeypatch)
    assert (row["outcome"], row["detail"]) == ("passed", "12 passed")
    assert row["versions"] == {"numpy": "2.4.6"}
    (environment,) = (given for line, given in matrix.asked if "setup_env.sh" in line)
    assert environment["LIDISTILL_TORCH"] == "2.13.0"
    assert environment["LIDISTILL_NUMPY"] == "2"


def test_a_cell_with_an_outcome_is_tried_once_more_only_on_demand(matrix, monkeypatch):
    try_one(matrix, monkeypatch)
    matrix.asked.clear()
    try_one(matrix, monkeypatch)
    assert not matrix.asked
    try_one(matrix, monkeypatch, "--again")
    assert matrix.asked


@pytest.mark.parametrize(
    ("command", "said", "outcome", "detail"),
    [
        (
            "--report",
            "ERROR: No matching distribution found for torch==2.13.0",
            "no wheel",
            "torch",
        ),
        ("setup_env.sh", "No matching distribution found for open3d", "no wheel", "open3d"),
        ("setup_env.sh", "x\nERROR: Could not build\n", "failed", "setup: ERROR: Could not build"),
        (
            "doctor --imports",
            '[{"name": "cv2", "state": "missing", "detail": "gone"}]',
            "failed",
            "cv2: gone",
        ),
        ("dry_run slidr", "Trace\nerror: no voxels\n", "failed", "slidr/demo_pretrain: error: no"),
        ("-m pytest", "FAILED tests/a.py::b\n3 failed in 2s", "failed", "3 failed; first: FAILED"),
    ],
)
def test_what_stops_a_cell_is_its_outcome(matrix, monkeypatch, command, said, outcome, detail):
    matrix.answers = {command: (1, said)}
    row = try_one(matrix, monkeypatch)
    assert row["outcome"] == outcome
    assert detail in row["detail"]


def test_gigabytes_are_not_downloaded_unasked(matrix, monkeypatch):
    def report(*command, environment=None):
        if "--report" in command:
            urls = ["https://index/a/nvidia_cudnn-9.whl", "file:///disk/nvidia_cublas-13.whl"]
            items = [{"download_info": {"url": url}} for url in urls]
            Path(command[command.index("--report") + 1]).write_text(json.dumps({"install": items}))
        return subprocess.CompletedProcess(command, 0, "[]", "")

    monkeypatch.setattr(matrix, "run", report)
    row = try_one(matrix, monkeypatch)
    assert row["outcome"] == "not tried"
    assert try_one(matrix, monkeypatch, "--cuda")["outcome"] == "passed"


def test_a_dry_run_writes_nothing(matrix, monkeypatch):
    assert try_one(matrix, monkeypatch, "--dry-run") == {}
    assert not any("setup_env" in line for line, _ in matrix.asked)


def test_the_page_shows_outcomes_and_reasons():
    def row(python, numpy, outcome, detail, versions=()):
        return {"python": python, "torch": "2.13.0", "numpy": numpy, "outcome": outcome,
                "detail": detail, "versions": dict(versions), "commit": "abc"}  # fmt: skip

    record = {
        "hardware": "a machine",
        "tests": ["tests/ops"],
        "rows": [
            row("3.11", "1", "passed", "12 passed", {"numpy": "1.26.4"}),
            row("3.11", "2", "failed", "a | b"),
            row("3.14", "1", "no wheel", "none"),
            row("3.14", "2", "not tried", "no Python 3.14"),
        ],
    }
    page = matrix_page.page(record)
    assert "| 3.11 | 2.13.0 | 1.26.4: 12 passed | **failed**: a \\| b |" in page
    assert "| 3.14 |" not in page
    assert "- not tried: no Python 3.14 (1 combination)" in page
    assert "commits `abc`" in page
    assert "No combination was tried yet" in matrix_page.page({**record, "rows": []})
