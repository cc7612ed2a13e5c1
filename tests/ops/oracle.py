# SPDX-License-Identifier: Apache-2.0
"""Where the interpreter with compiled mmcv is, and how to run a script in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def oracle_python() -> Path:
    """The interpreter of LIDISTILL_MMCV_PYTHON, else of .venv-mmcv; skips where there is none."""
    named = os.environ.get("LIDISTILL_MMCV_PYTHON")
    python = Path(named) if named else ROOT / ".venv-mmcv" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no compiled mmcv: {python} is missing; run: make mmcv")
    return python


def run_in_oracle(script: Path, *arguments: object) -> None:
    """Run ``script`` in the oracle's interpreter, on one thread; fails with what it printed."""
    command = [str(oracle_python()), "-W", "ignore", str(script), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
