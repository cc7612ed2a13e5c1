# SPDX-License-Identifier: Apache-2.0
"""A method is four files: itself, a config, a page and a test. This fails when one is missing.

Folders under ``configs/`` that no method of the project owns are a user's, and held to no rule.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from lidistill.evidence.cli import plan_names
from tests import conftest
from tests.conftest import project_configs

ROOT = Path(__file__).resolve().parents[1]
METHODS = sorted(
    path.stem for path in (ROOT / "lidistill" / "methods").glob("*.py") if path.stem[0] != "_"
)


def test_there_are_methods():
    assert METHODS


@pytest.mark.parametrize("name", METHODS)
def test_method_has_config_page_and_test(name):
    configs = [p for p in (ROOT / "configs" / name).glob("*.py") if p.stem[0] != "_"]
    assert configs, f"configs/{name}/ has no config"
    assert (ROOT / "docs" / "methods" / f"{name}.md").is_file()
    assert (ROOT / "tests" / "methods" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("pattern", ["docs/methods/*.md", "tests/methods/test_*.py"])
def test_nothing_stands_there_without_its_method(pattern):
    found = {path.stem.removeprefix("test_") for path in ROOT.glob(pattern)}
    others = {"index", "methods_gpu"}
    assert {name for name in found if name[0] != "_"} - {*METHODS, *others} == set()


@pytest.mark.parametrize("name", METHODS)
def test_method_is_registered_and_reads_like_its_paper(name):
    import importlib

    from lidistill.distill.distiller import Distiller
    from lidistill.registry import MODELS

    module = importlib.import_module(f"lidistill.methods.{name}")
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__
        if issubclass(value, Distiller)
    ]
    assert classes, f"methods/{name}.py defines no Distiller"
    for value in classes:
        assert MODELS.get(value.__name__) is value, f"{value.__name__} is not registered"
        length = len(inspect.getsourcelines(value.distill_losses)[0])
        assert length <= 40, f"{value.__name__}.distill_losses has {length} lines"
    assert re.search(r"https://", module.__doc__), f"methods/{name}.py does not name its paper"
    said = any("Differs from the authors' release" in (c.__doc__ or "") for c in classes)
    assert said, f"methods/{name}.py: no class's docstring says how it differs from the release"


@pytest.mark.parametrize("name", METHODS)
def test_page_has_its_parts(name):
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text()
    for part in (
        "## The idea",
        "## Equations and functions",
        "## Run it",
        "not run",
        "## Differences from the authors' release",
        "## Citation",
    ):
        assert part in page, f"docs/methods/{name}.md has no {part!r}"
    tables = "|".join({name, *plan_names()})  # its own, or one that several methods share
    shown = re.search(rf"_generated/evidence_({tables})\.md", page)
    assert shown, f"{name}.md includes no table ../_generated/evidence_{name}.md"


@pytest.mark.parametrize("name", METHODS)
def test_method_is_in_the_tables_and_both_say_the_same(name):
    start = "| ["
    readme, page = (
        [line for line in (ROOT / table).read_text().splitlines() if line.startswith(start)]
        for table in ("README.md", "docs/methods/index.md")
    )
    rows = [line for line in readme if f"(docs/methods/{name}.md)" in line]
    assert len(rows) == 1, f"README.md has {len(rows)} rows of {name}"
    assert rows[0].replace("(docs/methods/", "(") in page, f"docs/methods/index.md on {name}"


@pytest.mark.parametrize("name", METHODS)
def test_configs_are_leaves(name):
    for path in (ROOT / "configs" / name).glob("*.py"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 80, f"{path.relative_to(ROOT)} has {len(lines)} lines"


def test_a_folder_of_ones_own_is_held_to_no_rule(tmp_path, monkeypatch):
    for name in ("lidistill/methods/known.py", "configs/known/a.py", "configs/mine/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(conftest, "ROOT", tmp_path)
    assert project_configs() == [tmp_path / "configs" / "known" / "a.py"]
