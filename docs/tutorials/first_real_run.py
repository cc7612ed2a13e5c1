# SPDX-License-Identifier: Apache-2.0
"""Runs the five commands of ``docs/real_data.md`` in a clone, and writes the time of each.

Run it from the root of a fresh clone, with the data in ``data/real/semantic_kitti``::

    python docs/tutorials/first_real_run.py
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from lidistill.io import write_json
from lidistill.provenance import commit, hardware

DOCS = Path(__file__).resolve().parents[1]
OUT = DOCS / "first_real_run.json"


def commands(page: str) -> list[str]:
    """Of the first block of shell commands."""
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)[:1]
    return [line for line in block.splitlines() if line.strip()]


def main() -> None:
    """Run, time, write."""
    rows = []
    for command in commands((DOCS / "real_data.md").read_text(encoding="utf-8")):
        words = [sys.executable, "-m", "lidistill.cli", *shlex.split(command)[1:]]
        begin = time.perf_counter()
        subprocess.run(words, check=True)
        rows.append({"command": command, "seconds": round(time.perf_counter() - begin, 1)})
    scans = len(list(Path("data/real/semantic_kitti/sequences").glob("*/velodyne/*.bin")))
    words = f"Timed in a fresh clone with {scans} scans, commit {commit()}, on {hardware()}."
    write_json(OUT, {"words": words, "rows": rows})


if __name__ == "__main__":
    main()
