# SPDX-License-Identifier: Apache-2.0
"""Where the interpreter with compiled mmcv is, and how to ask it."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def oracle_python() -> Path:
    """The interpreter of LIDISTILL_MMCV_PYTHON, else of .venv-mmcv; skips where there is none."""
    named = os.environ.get("LIDISTILL_MMCV_PYTHON")
    python = Path(named) if named else ROOT / ".venv-mmcv" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no compiled mmcv: {python} is missing; run: make mmcv")
    return python


def _command(module: str, *arguments: object) -> dict[str, Any]:
    """For `subprocess`: ``module`` of the tests in the oracle's interpreter, on one thread."""
    return {
        "args": [str(oracle_python()), "-W", "ignore", "-m", module, *map(str, arguments)],
        "cwd": ROOT,
        "env": {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
    }


def run_in_oracle(module: str, *arguments: object) -> None:
    """Run ``module`` as a script over compiled mmcv; fails with what it printed."""
    command = _command(module, *arguments)
    done = subprocess.run(**command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command['args'])}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


class Oracle:
    """Compiled mmcv in a process of its own, asked one question after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            **_command("tests.ops.oracle_server"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, name: str, **arguments: Any) -> dict[str, np.ndarray]:
        """What `op_questions.NAME` returns over compiled mmcv.

        Raises:
            RuntimeError: with the error that it raised there.
        """
        pickle.dump((name, arguments), self._process.stdin)
        self._process.stdin.flush()
        good, answer = pickle.load(self._process.stdout)
        if not good:
            raise RuntimeError(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
