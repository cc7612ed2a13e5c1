# SPDX-License-Identifier: Apache-2.0
"""The blocks of docs/tutorials/own_method.md are files that work, with the commands beside them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lidistill import cli
from lidistill.engine.configs.read import load_config
from lidistill.evidence.record import load_evidence
from lidistill.io.checkpoints import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorials" / "own_method.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\{code-block\} \w+\n:caption: (\S+)\n\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
MADE = ("world", "create_data")  # by a fixture


@pytest.fixture(scope="module")
def package(converted_world, tmp_path_factory):
    """A folder with the page's files and its world; the process stands in it."""
    folder = tmp_path_factory.mktemp("own_method")
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "data" / "world").mkdir(parents=True)
    (folder / "data" / "world" / "nuscenes").symlink_to(converted_world / "nuscenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield folder
    for name in [name for name in sys.modules if name.startswith("huber_pairs")]:
        del sys.modules[name]


def test_a_method_is_four_files_and_a_plan():
    names = sorted(Path(name).name for name in FILES)
    assert names == ["README.md", "config.py", "method.py", "plan.py", "test_method.py"]


def test_the_config_has_bases_of_ours_and_a_class_of_its_own(package):
    cfg = load_config("huber_pairs/config.py")
    assert cfg.model.type.__name__ == "HuberPairs"
    assert cfg.model.teacher.model.type.__name__ == "LocalColour"
    assert cfg.data_root == "data/world/nuscenes"


def test_a_base_that_is_not_there_is_named(package, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(
        "from mmengine.config import read_base\n"
        "with read_base():\n    from lidistill.configs.slidr.nothing import *\n"
    )
    with pytest.raises(ValueError, match=r"configs/slidr/nothing\.py not found"):
        load_config(config)


@pytest.mark.slow
def test_the_commands_of_the_page_run(package, capsys):
    ran = []
    for _, verb, *words in [c for c in COMMANDS if c[0] == "lidistill" and c[1] not in MADE]:
        assert cli.main([verb, *words]) == 0, (verb, capsys.readouterr().err)
        ran.append(verb)
    assert ran == ["show_config", "dry_run", "train", "test", "export", "evidence", "evidence"]
    out = capsys.readouterr().out
    assert re.search(r"model: huber_pairs\.method\.HuberPairs +huber_pairs/method\.py:\d+", out)
    assert "huber: value" in out
    student = read_checkpoint(package / "student.pth")["state_dict"]
    assert student
    assert not any("connectors" in name or "point_head" in name for name in student)
    record = load_evidence(package / "huber_pairs" / "evidence.json")
    assert [row.name for row in record.rows] == ["random weights", "Huber pairs"]
    assert record.rows[1].twin == "random weights"
    assert "| Huber pairs |" in out


@pytest.mark.slow
def test_the_tests_of_the_page_pass(package):
    assert ["python", "-m", "pytest", "huber_pairs"] in COMMANDS
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "huber_pairs"],
        env={**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"},
        cwd=package, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
