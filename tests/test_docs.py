# SPDX-License-Identifier: Apache-2.0
"""The docs name things that exist, and their numbers come from records."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from lidistill import cli
from lidistill.evaluation.results import summarise
from lidistill.evidence.record import load_evidence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import benchmark_page  # noqa: E402
import generate  # noqa: E402

WITH_UNDERSCORES = ("world_", "superpixels_", "mmcv, ")  # sizes of a world, ops of mmcv
PAGES = [
    ROOT / "README.md",
    ROOT / "data" / "README.md",
    *sorted(
        p for p in (ROOT / "docs").rglob("*.md") if "_" not in p.relative_to(ROOT).parts[1][:1]
    ),
]


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def exists(dotted: str) -> bool:
    """Whether ``lidistill.a.b.C.d`` can be reached by imports and attributes."""
    words = dotted.split(".")
    for split in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:split]))
        except ModuleNotFoundError:
            continue
        try:
            for word in words[split:]:
                found = getattr(found, word)
        except AttributeError:
            return False
        return True
    return False


def test_exists():
    assert exists("lidistill.bench.case.Case")
    assert not exists("lidistill.bench.case.Nothing")
    assert not exists("lidistill.nothing")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_names_in_pages_exist(page):
    for name in re.findall(r"`(lidistill\.[\w.]+)`", page.read_text()):
        assert exists(name), f"{page_id(page)} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_in_pages_exist(page):
    text = page.read_text()
    named = re.findall(r"`((?:lidistill|tools|tests|configs|docs)/[\w./]+\.\w+|\w+/)`", text)
    for name in named:
        if name.split("/")[0] in ("lidistill", "tools", "tests", "configs") or name.endswith(".md"):
            assert (ROOT / name).exists(), f"{page_id(page)} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page_id(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_verbs_and_targets_in_pages_exist(page):
    text = page.read_text()
    for verb in re.findall(r"`?lidistill ([a-z_]+)(?= |`|$)", "\n".join(code_of(text))):
        assert verb in cli.VERBS, f"{page_id(page)} runs lidistill {verb}"
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"make ([a-z-]+)", "\n".join(code_of(text))):
        assert target in targets.group(1).split(), f"{page_id(page)} runs make {target}"


def code_of(text: str) -> list[str]:
    """Fenced blocks of shell and inline code that starts with a command."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return blocks + re.findall(r"`((?:lidistill|make) [^`]+)`", text)


def test_readme_is_short_and_in_order():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    assert "make demo" in "\n".join(lines[:30])
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[:3] == ["## Install", "## A first result, on a CPU", "## Methods"]


def test_readme_pictures_exist():
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_missing_records_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "plan_names", lambda: ["planned"])
    assert generate.evidence(tmp_path, "planned") == (
        "Not run yet: `lidistill evidence planned` writes this table.\n"
    )
    assert generate.evidence(tmp_path, "other").startswith("Not run: no plan")
    assert generate.benchmarks(tmp_path / "none.json").startswith("Not run yet: `make bench`")


def test_benchmarks_page_shows_the_record(tmp_path):
    record = {
        "commit": "abc",
        "hardware": "a machine",
        "threads": 2,
        "rows": [
            {"name": "region_infonce", "size": "6 < 7", "reference_s": 1.5, "ours_s": 0.25,
             "ratio": 6.0, "reference_mib": 1024.4, "ours_mib": 10.0},
            {"name": "distilled_step, SECOND, maps", "size": "s", "reference_s": 0.1,
             "ours_s": 0.2, "ratio": 0.5, "reference_mib": 7.0, "ours_mib": 8.0},
            {"name": "step", "size": "s", "reference_s": None, "ours_s": 0.0123, "ratio": None,
             "reference_mib": None, "ours_mib": 5.0},
        ],
    }  # fmt: skip
    path = tmp_path / "benchmarks.json"
    path.write_text(json.dumps(record))
    page = generate.benchmarks(path).replace("\N{NO-BREAK SPACE}", " ")
    lines = [line for line in page.splitlines() if line.startswith("<tr><td>")]
    assert len(lines) == 3
    loss, slower, other = lines
    assert "SLidR&#x27;s contrast of regions<br><small>6 &lt; 7</small>" in loss
    assert 'style="width:7.00em"></span>1.50 s reference' in loss
    assert 'style="width:1.17em"></span>250 ms ours' in loss
    assert "<b>6.0x</b>" in loss
    assert "1,024 / 10" in loss
    assert "<small><code>region_infonce</code></small></td>" in loss
    assert "SECOND, compared at its maps" in slower
    assert "100 ms without" in slower
    assert "2.0 times as long" in slower
    assert "step<br>" in other
    assert "reference" not in other.replace("no reference", "")
    assert re.findall(r"### (\w+)", page) == ["Losses", "What", "Others"]
    assert "Commit `abc`; a machine; 2 threads" in page


@pytest.mark.parametrize("name", ["benchmarks.json", "benchmarks_gpu.json", "benchmarks_mmcv.json"])
def test_every_benchmark_has_a_group_and_a_plain_name(name):
    for row in json.loads((ROOT / "docs" / name).read_text())["rows"]:
        group, plain = benchmark_page.place(row["name"])
        assert group is not benchmark_page.OTHERS, (
            f"say in benchmark_page.GROUPS what {row['name']} is"
        )
        assert plain
        assert "_" not in plain or row["name"].startswith(WITH_UNDERSCORES), plain
        if row["ratio"] is not None and row["ratio"] < 1:
            assert group.words.startswith("No race"), f"{row['name']} is slower and not explained"


def test_pages_are_written_once(tmp_path):
    generate.write_pages(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "_generated").iterdir()}
    assert {path.name for path in written} >= {"benchmarks.md", "cli.md", "evidence_slidr.md"}
    generate.write_pages(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_cli_page_has_every_verb():
    page = generate.verbs()
    for verb in cli.VERBS:
        assert f"## {verb}\n" in page
    assert "usage: lidistill create_data nuscenes" in page


def test_evidence_records_have_their_form():
    for path in (ROOT / "docs" / "evidence").glob("*.json"):
        evidence = load_evidence(path)
        assert evidence.method == path.stem
        assert any(row.twin is None for row in evidence.rows)


@pytest.mark.parametrize("name", ["benchmarks.json", "benchmarks_gpu.json", "benchmarks_mmcv.json"])
def test_benchmark_record_has_its_form(name):
    record = json.loads((ROOT / "docs" / name).read_text())
    assert set(record) >= {"commit", "hardware", "threads", "rows"}
    columns = {"name", "size", "reference_s", "ours_s", "ratio", "reference_mib", "ours_mib"}
    assert all(set(row) >= columns for row in record["rows"])


@pytest.mark.parametrize("page", ["README.md", "docs/methods/pointdistiller.md"])
def test_numbers_on_pages_are_those_of_the_records(page):
    shown = re.findall(r"\d+\.\d+ ± \d+\.\d+", (ROOT / page).read_text())
    records = [load_evidence(path) for path in sorted((ROOT / "docs/evidence").glob("*.json"))]
    summaries = [summarise(row, record.rows) for record in records for row in record.rows]
    measured = {
        f"{abs(mean):.{digits}f} ± {spread:.{digits}f}"
        for found in summaries
        for mean, spread in (
            (found.mean, found.spread),
            (found.difference, found.difference_spread),
        )
        for digits in (1, 3)
    }
    assert len(shown) >= 5
    assert set(shown) <= measured, f"numbers of {page} are not in docs/evidence"
