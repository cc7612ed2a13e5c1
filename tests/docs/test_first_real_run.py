# SPDX-License-Identifier: Apache-2.0
"""The five commands of the page on real data are commands, and name files that are there."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path

from lidistill import cli

ROOT = Path(__file__).resolve().parents[2]


def script():
    path = ROOT / "docs/tutorials/first_real_run.py"
    spec = importlib.util.spec_from_file_location("first_real_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_line_is_a_command_that_parses() -> None:
    lines = script().commands((ROOT / "docs/real_data.md").read_text())
    assert len(lines) == 5
    for line in lines:
        program, verb, *words = shlex.split(line)
        assert program == "lidistill"
        args = cli.build_verb_parser(verb).parse_args(words)
        if verb in ("train", "test"):
            assert (ROOT / args.config).is_file()
