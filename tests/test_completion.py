# SPDX-License-Identifier: Apache-2.0
"""The tab key: bash itself is asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lidistill.cli import VERBS, main
from lidistill.completion import CONFIG_VERBS, script


def complete(folder: Path, *words: str) -> list[str]:
    """What bash offers after ``lidistill`` and these words, the last of them unfinished."""
    asked = " ".join(f"'{word}'" for word in ("lidistill", *words))
    code = f"COMP_WORDS=({asked}); COMP_CWORD={len(words)}; _lidistill"
    code = f'{script("bash")}\n{code}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_verbs(tmp_path):
    assert complete(tmp_path, "") == list(VERBS)
    assert complete(tmp_path, "sup") == ["superpixels"]


@pytest.mark.parametrize("verb", CONFIG_VERBS)
def test_configs(tmp_path, verb):
    (tmp_path / "configs" / "slidr").mkdir(parents=True)
    (tmp_path / "configs" / "slidr" / "demo.py").touch()
    (tmp_path / "configs" / "notes.md").touch()
    assert complete(tmp_path, verb, "") == ["configs/slidr/demo.py"]
    assert complete(tmp_path, verb, "configs/sl") == ["configs/slidr/demo.py"]
    assert complete(tmp_path, "world", "") == []  # files, by the shell itself


def test_names_where_there_is_no_folder_of_configs(tmp_path):
    assert "slidr/demo_pretrain.py" in complete(tmp_path, "train", "slidr/demo")
    assert complete(tmp_path, "train", "_base_/") == []


def test_verbs_with_configs_are_verbs():
    assert set(CONFIG_VERBS) <= set(VERBS)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_reads_it(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert subprocess.run([shell, "-n"], input=text, text=True).returncode == 0
