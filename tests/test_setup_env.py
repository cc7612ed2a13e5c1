# SPDX-License-Identifier: Apache-2.0
"""The setup script: what it picks, and what it says on machines that lack something."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tools" / "setup_env.sh"
TOOLS = ("sh", "dirname", "date", "sed", "rm", "mkdir", "cat", "sort", "uname")


@pytest.fixture
def machine(tmp_path):
    """A PATH with little more than a shell; the test adds commands to it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        real = next(p for p in ("/usr/bin", "/bin") if Path(p, tool).exists())
        (folder / tool).symlink_to(Path(real, tool))

    def add(name: str, text: str) -> Path:
        path = folder / name
        path.unlink(missing_ok=True)  # a link to the machine's own
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command], env={"PATH": str(folder), **env}, capture_output=True, text=True
        )

    return add, run


def test_no_python_says_what_to_do(machine, tmp_path):
    _, run = machine
    done = run(str(SCRIPT), str(tmp_path / "venv"), LIDISTILL_PYTHON="/nowhere/python")
    assert done.returncode == 1
    assert "expected Python 3.10 to 3.13, found none" in done.stderr
    assert "LIDISTILL_PYTHON=" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_python_that_is_too_old_is_not_taken(machine, tmp_path):
    add, run = machine
    old = add("oldpython", "exit 1")  # its version check fails
    done = run(str(SCRIPT), str(tmp_path / "venv"), LIDISTILL_PYTHON=str(old))
    assert "found none" in done.stderr


def test_python_without_venv_says_what_to_do(machine, tmp_path):
    add, run = machine
    bare = add("barepython", 'case $2 in "import sys"*) exit 0 ;; *) exit 1 ;; esac')
    done = run(str(SCRIPT), str(tmp_path / "venv"), LIDISTILL_PYTHON=str(bare))
    assert done.returncode == 1
    assert "its venv or ensurepip module is missing" in done.stderr
    assert "apt-get install python3-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


def pick(machine, smi: str | None) -> str:
    add, run = machine
    if smi is not None:
        add("nvidia-smi", smi)
    function = re.search(r"^pick_spconv\(\).*?^}", SCRIPT.read_text(), re.DOTALL | re.MULTILINE)
    return run("sh", "-c", f"{function.group(0)}\npick_spconv").stdout.strip()


@pytest.mark.parametrize(
    ("cuda", "extra"),
    [("11.8", "cpu"), ("12.0", "cu120"), ("12.5", "cu120"), ("12.6", "cu126"), ("13.1", "cu126")],
)
def test_spconv_follows_the_driver(machine, cuda, extra):
    line = f"| NVIDIA-SMI 550.54   Driver Version: 550.54   CUDA Version: {cuda}     |"
    assert pick(machine, f"echo '{line}'") == extra


@pytest.mark.parametrize(
    ("capabilities", "machine_name", "extra"),
    [
        ("8.6", "x86_64", "cu126"),
        ("9.0", "x86_64", "cu126"),
        ("9.0\n12.0\n8.9", "x86_64", "triton"),
        ("10.0", "x86_64", "triton"),
        ("9.0", "aarch64", "triton"),
    ],
)
def test_spconv_triton_where_spconv_has_no_wheel(machine, capabilities, machine_name, extra):
    add, _ = machine
    add("uname", f"echo {machine_name}")
    smi = f"""case "$*" in *compute_cap*) printf '{capabilities}\\n' ;;
*) echo '| CUDA Version: 12.6     |' ;; esac"""
    assert pick(machine, smi) == extra


@pytest.mark.parametrize("smi", [None, "exit 9", "echo 'No devices were found'"])
def test_no_gpu_means_cpu(machine, smi):
    assert pick(machine, smi) == "cpu"


@pytest.fixture
def uv_options():
    return runpy.run_path(str(ROOT / "tools" / "_uv_options.py"))["options"]


def test_uv_is_told_what_pip_is_configured_to(uv_options):
    """Sources of a name in pip's order, however listed; several values; switches."""
    said = uv_options(
        ":env:.find-links='/wheels'\n"
        "global.cert='/etc/ca.crt'\n"
        "global.extra-index-url='https://a/simple\\nhttps://b/simple'\n"
        "global.find-links='/old'\n"
        "global.index-url='https://mirror/simple'\n"
        "install.no-index='false'\n"
        "install.pre='true'\n"
        "list.format='json'\n"
    )
    assert said[0] == "--index-strategy=unsafe-best-match"
    assert sorted(said[1:]) == [
        "--default-index=https://mirror/simple",
        "--extra-index-url=https://a/simple",
        "--extra-index-url=https://b/simple",
        "--find-links=/wheels",
        "--prerelease=allow",
    ]


def test_uv_steps_back_where_it_has_no_word(uv_options):
    with pytest.raises(ValueError, match="require-hashes"):
        uv_options("global.require-hashes='true'\n")


@pytest.mark.parametrize(
    ("uv", "asked"),
    [
        ("exit 0", ["uv"]),
        ("echo no solution >&2; exit 1", ["uv", "pip"]),
        (None, ["pip"]),
    ],
)
def test_pip_installs_what_uv_does_not_manage(machine, tmp_path, uv, asked):
    add, run = machine
    seen = tmp_path / "seen"
    function = re.search(r"^install\(\).*?^}", SCRIPT.read_text(), re.DOTALL | re.MULTILINE)
    if uv is not None:
        add("uv", f'for a in "$@"; do echo "uv|$a" >> {seen}; done\n{uv}')
    script = f"""set -eu
VENV=/venv uv={"uv" if uv else ""}
uv_options='--find-links=/a b
--no-index'
say() {{ echo "$*"; }}
pip_install() {{ echo "pip|$*" >> {seen}; }}
{function.group(0)}
install torch -e .[cpu]"""
    assert run("sh", "-c", script).returncode == 0
    lines = seen.read_text().splitlines()
    assert list(dict.fromkeys(line.split("|")[0] for line in lines)) == asked
    if "uv" in asked:
        given = [line.removeprefix("uv|") for line in lines if line.startswith("uv|")]
        assert given[4:] == ["--find-links=/a b", "--no-index", "torch", "-e", ".[cpu]"]
    if "pip" in asked:
        assert lines[-1] == "pip|torch -e .[cpu]"


def test_versions_agree():
    """The script, setup.py and constraints.txt pin the same things."""
    script, setup = SCRIPT.read_text(), (ROOT / "setup.py").read_text()
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    assert f"OPENCV={pins['opencv-python-headless']}\n" in script
    assert pins["opencv-python"] == pins["opencv-python-headless"]
    for name, version in pins.items():
        if f'"{name}==' in setup:
            assert f'"{name}=={version}"' in setup, name


def test_make_targets_need_only_the_setup():
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "lint", "docs", "bench", "evidence-slidr"):
        assert re.search(rf"^{target}: \$\(STAMP\)$", makefile, re.MULTILINE), target
    assert "$(STAMP): setup.py constraints.txt" in makefile


def test_ci_runs_the_readme_test_command_lint_and_docs():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert [line for line in lines if line.startswith("make")] == [
        "make test",
        "make lint",
        "make docs",
    ]
    assert "make test" in (ROOT / "README.md").read_text()


def test_byte_code_is_kept_wherever_the_variable_is_set(machine, tmp_path):
    """By setup, which compiles all, and by what make and CI start."""
    add, run = machine
    seen = tmp_path / "seen"
    add("python", f'echo "$PYTHONDONTWRITEBYTECODE|$*" >> {seen}; exit 1')
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "bin" / "python").rename(tmp_path / "venv" / "bin" / "python")
    text = SCRIPT.read_text()
    function = re.search(r"^compile_sources\(\).*?^}", text, re.DOTALL | re.MULTILINE)
    script = f"set -eu\nVENV={tmp_path}/venv\n{function.group(0)}\ncompile_sources\necho went on"
    done = run("sh", "-c", script, PYTHONDONTWRITEBYTECODE="1")
    assert "went on" in done.stdout
    lines = seen.read_text().splitlines()
    assert any(line.startswith("|-m compileall") and " lidistill" in line for line in lines)
    assert text.index("\ncompile_sources") < text.index('say "ready"')
    assert "unexport PYTHONDONTWRITEBYTECODE" in (ROOT / "Makefile").read_text()
    assert "unset PYTHONDONTWRITEBYTECODE" in (ROOT / ".ci" / "run").read_text()
