# SPDX-License-Identifier: Apache-2.0
"""The scripts in tools/ find the project's environment, or say how to get to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"
DOORS = ("train", "test", "show_config", "create_data")


@pytest.fixture
def project(tmp_path) -> Path:
    """A project whose environment says what it was asked."""
    shutil.copytree(TOOLS, tmp_path / "tools")
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "own $*"\n')
    python.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("door", DOORS)
def test_the_environment_is_found(project, door):
    source = (project / f"tools/{door}.py").read_text()
    assert f'enter("{door}")' in source
    command = [sys.executable, "-S", str(project / f"tools/{door}.py"), "a b", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == f"own {project}/tools/{door}.py a b --seed 1\n", done.stderr


def test_without_one_it_says_how_to_make_it(project):
    shutil.rmtree(project / ".venv")
    command = [sys.executable, "-S", str(project / "tools/train.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "make setup" in done.stderr
    assert "source .venv/bin/activate" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_verb_is_not_waited_for():
    """A thread that still computes would hold the door open."""
    code = """
import sys, threading, time, types
from lidistill import cli
from _door import enter

def run(args):
    threading.Thread(target=time.sleep, args=(600,)).start()
    raise KeyboardInterrupt

verb = types.ModuleType("probe_verb")
verb.HELP, verb.add_arguments, verb.run = "a verb of this test", lambda parser: None, run
sys.modules["probe_verb"], cli.VERBS["probe"] = verb, "probe_verb"
cli._module_path = lambda name: name
sys.argv[1:] = []
sys.exit(enter("probe"))
"""
    path = os.pathsep.join(map(str, (TOOLS, TOOLS.parent)))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 130, done.stderr
    assert "interrupted: " in done.stderr
