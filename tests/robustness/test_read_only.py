# SPDX-License-Identifier: Apache-2.0
"""A user that the system does not know, without a home, of a package that he may only read.

Every command compiles its kernels anew for him; all of them run with ``LIDISTILL_LONG=1``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.robustness.tools import LONG, ROOT, TOOLS, command, digest, environment, words_of

NOBODY = 65533
READ = "+dac_read_search"  # he may read everything, as an installation for all users allows
SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
QUICK = ("export", "train")


def as_nobody(words: list[str], temporary: Path) -> list[str]:
    """The command line, run by an unknown user without a home."""
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    become += [f"--inh-caps={READ}", f"--ambient-caps={READ}", "--bounding-set=-all," + READ]
    hidden = ("HOME", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "LIDISTILL_NO_KERNEL_CACHE")
    without = [word for name in hidden for word in ("-u", name)]
    return [*become, "env", *without, f"TMPDIR={temporary}", *words]


@pytest.fixture(scope="module")
def nobody() -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("another user can be played by root alone, with setpriv (util-linux)")
    code = "import os, sys; sys.exit(os.path.expanduser('~') != '~')"
    if subprocess.run(as_nobody([sys.executable, "-c", code], Path("/tmp"))).returncode:
        pytest.skip(f"this system knows user {NOBODY}, or does not let root become another")
    if ROOT.stat().st_uid == NOBODY or ROOT.stat().st_mode & 0o002:
        pytest.skip(f"{ROOT} can be written by everybody")


@pytest.fixture
def home(nobody, tmp_path) -> Path:
    """A folder that is his; beside it, all that he writes elsewhere can be seen."""
    for name in ("mine", "temporary"):
        (tmp_path / name).mkdir()
        shutil.chown(tmp_path / name, NOBODY, NOBODY)
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o055)
    return tmp_path


def run(words: list[str], home: Path) -> str:
    """Runs a command in his folder to a good end, and looks for what it wrote elsewhere."""
    before = written_by_nobody()
    done = subprocess.run(
        as_nobody(command(*words), home / "temporary"),
        env=environment(),
        cwd=home / "mine",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("NUMBA_CACHE_DIR") <= 1, done.stderr
    assert written_by_nobody() == before
    assert list((home / "temporary").iterdir()) == []
    assert {path.name for path in (home / "mine").iterdir()} <= {"out"}  # no folder named ~
    return done.stdout


def written_by_nobody() -> set[Path]:
    """His files in the folders that are open to everybody; he can write to no others."""
    found = set()
    for folder in SHARED:
        for path in folder.iterdir():
            if path.lstat().st_uid == NOBODY:
                found.add(path)
    return found


def chosen(names: list[str]) -> list:
    """The quick ones, and the others where they are asked for."""
    long = pytest.mark.skipif(not LONG, reason="compiles for long; LIDISTILL_LONG=1 runs it")
    marks = {name: [pytest.mark.slow] if name in QUICK else [pytest.mark.slow, long]
             for name in names}  # fmt: skip
    return [pytest.param(name, marks=marks[name]) for name in names]


@pytest.mark.parametrize("tool", chosen(list(TOOLS)))
def test_tools_work_without_a_home(tool, data, undisturbed, home):
    out = home / "mine" / "out"
    run(words_of(tool, data, out), home)
    assert digest(out) == digest(undisturbed(tool)[1])


@pytest.mark.parametrize("verb", chosen(["doctor"]))
def test_doctor_works_without_a_home(verb, home):
    assert "home" in run([verb], home).lower()


@pytest.mark.parametrize("verb", chosen(["train"]))
def test_training_works_without_a_home(verb, home):
    config = ROOT / "tests" / "engine" / "toy_slidr_config.py"
    run([verb, str(config), "--work-dir", "out", "--iters", "2"], home)
    assert list((home / "mine" / "out").glob("iter_2.pth"))
