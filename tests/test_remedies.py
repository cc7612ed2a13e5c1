# SPDX-License-Identifier: Apache-2.0
"""Every ``fix=`` of the package: the commands and options that it names are there."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lidistill import cli

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lidistill"
CONSTANT = re.compile(r"(FIX|AGAIN|MEND|FORM|INSTALL)(_\w+)?$")
OTHERS = {"--force-reinstall", "--no-deps", "--no-build-isolation"}  # pip's


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Words of each remedy, values that are filled in left out."""
    for node in ast.walk(tree):
        found: list[ast.AST] = []
        if isinstance(node, ast.Call):
            found = [keyword.value for keyword in node.keywords if keyword.arg == "fix"]
        elif isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if any(name == "fix" or CONSTANT.search(name) for name in names):
                found = [node.value]
        for value in found:
            parts = [part for part in ast.walk(value) if isinstance(part, ast.Constant)]
            yield node.lineno, " ".join(str(p.value) for p in parts if isinstance(p.value, str))


def remedies() -> list[tuple[str, str]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, words in texts(ast.parse(path.read_text(encoding="utf-8"))):
            found.append((f"{path.relative_to(ROOT)}:{line}", words))
    return found


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from options(one)


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Verb -> its options, those of its sub-commands too."""
    found = {}
    for name, module in cli.VERBS.items():
        parser = argparse.ArgumentParser()
        importlib.import_module(module).add_arguments(parser)
        found[name] = set(options(parser))
    return found


def test_commands_and_options_exist(known: dict[str, set[str]]) -> None:
    everywhere = set().union(*known.values()) | OTHERS | {"--debug", "--help"}
    for place, words in remedies():
        for verb in re.findall(r"\blidistill ([a-z]\w+)", words):
            assert verb in known, f"{place}: lidistill {verb}"
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", words):
            assert option in everywhere, f"{place}: {option}"


def test_pages_and_files_exist() -> None:
    for place, words in remedies():
        for page in re.findall(r"\bdocs/[\w/]+\.md", words):
            assert (ROOT / page).is_file(), f"{place}: {page}"
        for tool in re.findall(r"\btools/\w+\.\w+", words):
            assert (ROOT / tool).is_file(), f"{place}: {tool}"


def test_every_kind_of_remedy_is_found() -> None:
    """Else the tests above would pass on nothing."""
    tree = ast.parse('FIX_IT = "a"\nfix = f"b {c} d"\nraise E("x", fix=FIX + "e --f")\nfix += "g"')
    assert sorted(words for _, words in texts(tree)) == ["a", "b   d", "e --f", "g"]
    assert len(remedies()) > 250
