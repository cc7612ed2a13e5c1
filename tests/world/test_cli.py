# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from lidistill.world import cli
from lidistill.world.presets import PRESETS
from tests.world import nano


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(list(words))


def test_a_small_world_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PRESETS, "nano", nano.NANO)
    assert cli.run(parse_nano(tmp_path)) == 0
    assert (tmp_path / "kitti" / "ImageSets" / "train.txt").exists()
    assert str(tmp_path) in capsys.readouterr().out


def parse_nano(out):
    arguments = parse("--out", str(out), "--layout", "kitti", "--seed", "2", "--jobs", "2")
    arguments.preset = "nano"
    return arguments


def test_defaults():
    arguments = parse("--out", "x")
    assert (arguments.layout, arguments.preset, arguments.seed) == ("nuscenes", "small", 0)
    assert arguments.jobs >= 1


def test_unknown_preset_lists_the_known(capsys):
    with pytest.raises(SystemExit):
        parse("--out", "x", "--preset", "huge")
    error = capsys.readouterr().err
    assert all(name in error for name in PRESETS)


def test_the_package_imports_without_numba():
    """Help and argument errors must not wait for numba."""
    code = "import sys, lidistill.world, lidistill.world.cli; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
