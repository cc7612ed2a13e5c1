# SPDX-License-Identifier: Apache-2.0
"""Makes docs/_generated/: evidence and benchmark tables from their JSON, verbs from their parsers.

No number in the docs is typed by hand. A record that does not exist yet gives a line that says so
and names the command that writes it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

import benchmark_page
import matrix_page

from lidistill import cli
from lidistill.evidence.cli import plan_names
from lidistill.evidence.page import to_markdown
from lidistill.io import read_json

BENCHMARKS = {  # a record and what writes it
    "benchmarks": "make bench",
    "benchmarks_gpu": "lidistill bench gpu --out docs/benchmarks_gpu.json",
    "benchmarks_mmcv": "lidistill bench mmcv.compiled --out docs/benchmarks_mmcv.json",
}
METHODS = Path(__file__).resolve().parents[2] / "lidistill" / "methods"


def write_pages(docs: Path) -> None:
    """Write every generated page that differs from what is there."""
    folder = docs / "_generated"
    folder.mkdir(exist_ok=True)
    pages = {f"evidence_{name}.md": evidence(docs, name) for name in evidence_names(docs)}
    for name in BENCHMARKS:
        pages[f"{name}.md"] = benchmarks(docs / f"{name}.json")
    pages["matrix.md"] = matrix(docs / "matrix.json")
    pages["cli.md"] = verbs()
    pages["first_real_run.md"] = commands(docs / "first_real_run.json")
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def evidence_names(docs: Path) -> list[str]:
    """Method files of the package, tables that several methods share, records of ended tables."""
    methods = {path.stem for path in METHODS.glob("*.py") if path.stem[0] != "_"}
    records = {path.stem for path in (docs / "evidence").glob("*.json")}
    return sorted(methods | records | set(plan_names()))


def evidence(docs: Path, method: str) -> str:
    """The table of one method's record, or that there is none yet."""
    path = docs / "evidence" / f"{method}.json"
    if path.exists():
        return to_markdown(path, chart=True)
    if method in plan_names():
        return f"Not run yet: `lidistill evidence {method}` writes this table.\n"
    return "Not run: no plan of an evidence table has been written for this method yet.\n"


def benchmarks(path: Path) -> str:
    """The tables of a record of ``lidistill bench``, or that there is none yet."""
    if not path.exists():
        command = BENCHMARKS.get(path.stem, "make bench")
        return f"Not run yet: `{command}` writes this table.\n"
    return benchmark_page.page(read_json(path))


def matrix(path: Path) -> str:
    """The table of a record of ``tools/matrix.py``, or that there is none yet."""
    if not path.exists():
        return "Not run yet: `tools/matrix.py` writes this table.\n"
    return matrix_page.page(read_json(path))


def commands(path: Path) -> str:
    """Seconds of each command of a record, or that there is none yet."""
    if not path.exists():
        return "Not timed yet.\n"
    record = read_json(path)
    rows = [f"| `{row['command']}` | {row['seconds']:.0f} |" for row in record["rows"]]
    table = "\n".join(["| command | seconds |", "| --- | ---: |", *rows])
    return f"{record['words']}\n\n{table}\n"


def verbs() -> str:
    """``--help`` of every verb and its sub-commands, as their parsers print it."""
    os.environ["COLUMNS"] = "92"
    parts = []
    for verb in cli.VERBS:
        if importlib.util.find_spec(cli.VERBS[verb]) is None:
            parts.append(f"## {verb}\n\n{cli.help_line(verb)}\n")
            continue
        parser = cli.build_verb_parser(verb)
        parts.append(f"## {verb}\n")
        parts += [f"```text\n{each.format_help().rstrip()}\n```\n" for each in family(parser)]
    return "\n".join(parts)


def family(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A parser and the parsers of its sub-commands."""
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += action.choices.values()
    return found
