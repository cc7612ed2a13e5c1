# SPDX-License-Identifier: Apache-2.0
"""Without a home: libraries find a place until the process ends, and nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNKNOWN = "import os.path as p; known = p.expanduser; p.expanduser = lambda path: "
NAMES = ("HOME", "MPLCONFIGDIR", "TRITON_CACHE_DIR", "LIDISTILL_HOMELESS")
SHOW = f"""
import os
from lidistill.homes import settle
settle()
print(*(os.environ.get(name) for name in {NAMES}))"""


def run(code: str, **env: str) -> list[str]:
    variables = {k: v for k, v in os.environ.items() if k not in ("HOME", "MPLCONFIGDIR")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**variables, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_an_unknown_home_becomes_a_temporary_folder(tmp_path):
    home, matplotlib, triton, homeless = run(UNKNOWN + "path" + SHOW, TMPDIR=str(tmp_path))
    assert Path(home).parent == tmp_path
    assert (Path(matplotlib).parent, Path(triton).parent) == (Path(home), Path(home))
    assert homeless == "1"
    assert list(tmp_path.iterdir()) == []  # removed at the end


def test_a_home_that_cannot_be_written_stays(tmp_path):
    code = UNKNOWN + "'/proc/nobody'" + SHOW
    home, matplotlib, _, homeless = run(code, TMPDIR=str(tmp_path), HOME="/proc/nobody")
    assert home == "/proc/nobody"
    assert Path(matplotlib).is_relative_to(tmp_path)
    assert homeless == "None"
    named = run(code, TMPDIR=str(tmp_path), HOME="/proc/nobody", MPLCONFIGDIR="/there")
    assert named[1] == "/there"


def test_a_home_changes_nothing(tmp_path):
    assert run("pass" + SHOW, HOME=str(tmp_path)) == [str(tmp_path), "None", "None", "None"]
