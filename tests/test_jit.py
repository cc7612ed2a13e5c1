# SPDX-License-Identifier: Apache-2.0
"""The one decorator: kernels run with a cache, without one, and with a broken one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lidistill
from lidistill import jit

PACKAGE = Path(lidistill.__file__).parent
KERNEL = """\
from lidistill.jit import njit

@njit
def twice(value):
    return 2 * value

@njit(error_model="numpy")
def inverse(value):
    return 1.0 / value
"""
USE = "import kernels; print(kernels.twice(21), kernels.inverse(0))"


@pytest.fixture
def start(tmp_path: Path):
    """Runs a program in an own process, with ``kernels.py`` beside it."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "kernels.py").write_text(KERNEL)

    def run(code: str = USE, **env: str | None) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "PYTHONPATH": f"{folder}:{PACKAGE.parent}", **env}
        for name in ("NUMBA_CACHE_DIR", jit.SAID):
            variables.setdefault(name, None) if name in env else variables.pop(name, None)
        return subprocess.run(
            [sys.executable, "-B", "-c", code],
            env={key: value for key, value in variables.items() if value is not None},
            cwd=folder,
            capture_output=True,
            text=True,
        )

    run.folder = folder  # type: ignore[attr-defined]
    return run


def block(folder: Path) -> str:
    """A path below which nothing can be made, whoever asks."""
    path = folder / "blocked"
    path.write_text("a file, no folder")
    return str(path)


def no_place(start) -> dict[str, str | None]:
    """Neither home nor the source's folder can be written."""
    (start.folder / "__pycache__").write_text("a file, no folder")
    return {"XDG_CACHE_HOME": block(start.folder)}


def test_no_other_file_compiles_with_numba():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path != PACKAGE / "jit.py":
            for word in ("numba.njit", "numba.jit", "numba import njit", "enable_caching"):
                assert word not in text, f"{path} compiles with {word}; use lidistill.jit.njit"


def test_machine_code_is_kept_beside_the_source(start):
    done = start()
    assert (done.stdout, done.stderr) == ("42 inf\n", "")
    assert {p.suffix for p in (start.folder / "__pycache__").iterdir()} >= {".nbi", ".nbc"}
    hits = "import kernels; kernels.twice(1.5); print(sum(kernels.twice.stats.cache_hits.values()))"
    assert start(hits).stdout == "0\n"  # another type than before
    assert start(hits.replace("1.5", "21")).stdout == "1\n"


def test_named_folder_comes_first(start, tmp_path):
    assert start(NUMBA_CACHE_DIR=str(tmp_path / "named")).stdout == "42 inf\n"
    assert list((tmp_path / "named").rglob("*.nbc"))
    assert not list((start.folder).rglob("*.nbc"))


def test_without_any_folder_kernels_run_and_one_line_says_so(start):
    done = start(**no_place(start))
    assert done.stdout == "42 inf\n"
    assert done.stderr.count("\n") == 1
    assert "NUMBA_CACHE_DIR" in done.stderr


@pytest.mark.parametrize("between", [False, True])
def test_a_change_of_a_function_that_is_called_compiles_its_callers_anew(start, between):
    """KITTI's matching calls the overlap of boxes in another file."""
    caller = (
        "from lidistill.jit import njit\nfrom {} import {}\n\n@njit\ndef {}(x):\n    return {}(x)\n"
    )
    (start.folder / "middle.py").write_text(caller.format("kernels", "twice", "through", "twice"))
    home, name = ("middle", "through") if between else ("kernels", "twice")
    (start.folder / "callers.py").write_text(caller.format(home, name, "call", name))
    use = "import callers; print(callers.call(21), *callers.call.stats.cache_hits.values())"
    assert [start(use).stdout.split() for _ in range(2)] == [["42"], ["42", "1"]]
    (start.folder / "kernels.py").write_text(KERNEL.replace("2 * value", "10 * value"))
    assert start(use).stdout.split() == ["210"]


def test_a_worker_process_does_not_say_it_again(start):
    again = f"import subprocess, sys; {USE}; subprocess.run([sys.executable, '-c', {USE!r}])"
    done = start(again, **no_place(start))
    assert sorted(done.stdout.split()) == ["42", "42", "inf", "inf"]
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1


def test_without_a_home_no_folder_named_tilde_appears(start, monkeypatch):
    code = "import os.path as p; p.expanduser = lambda path: path; "  # as for an unknown user id
    (start.folder / "__pycache__").write_text("a file, no folder")
    done = start(code + USE, XDG_CACHE_HOME=None)
    assert done.stdout == "42 inf\n"
    assert "NUMBA_CACHE_DIR" in done.stderr
    assert not (start.folder / "~").exists()


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_damaged_file_of_the_cache_is_passed_over(start, suffix):
    start()
    for path in (start.folder / "__pycache__").glob(f"*{suffix}"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = start()
    assert done.stdout == "42 inf\n"
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1


def test_a_full_disk_is_passed_over(start):
    full = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))  # what is longer fails, as on a full disk
"""
    done = start(full + USE)
    assert done.stdout == "42 inf\n", done.stderr
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1


def test_kernels_can_be_run_as_python(start):
    assert start("import kernels; print(kernels.twice(21))", NUMBA_DISABLE_JIT="1").stdout == "42\n"
