# SPDX-License-Identifier: Apache-2.0
"""Where the interpreters with compiled mmcv and with torchsparse are, and how to ask them."""

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


def torchsparse_python() -> Path:
    """The interpreter of LIDISTILL_TORCHSPARSE_PYTHON; skips where there is none."""
    named = os.environ.get("LIDISTILL_TORCHSPARSE_PYTHON")
    if not named:
        pytest.skip("LIDISTILL_TORCHSPARSE_PYTHON names no interpreter with torchsparse 1.4.0")
    return Path(named)


def _command(python: Path, module: str, *arguments: object) -> dict[str, Any]:
    """For `subprocess`: ``module`` of the tests in an oracle's interpreter, on one thread."""
    return {
        "args": [str(python), "-W", "ignore", "-m", module, *map(str, arguments)],
        "cwd": ROOT,
        "env": {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
    }


def run_in_oracle(module: str, *arguments: object) -> None:
    """Run ``module`` as a script over compiled mmcv; fails with what it printed."""
    command = _command(oracle_python(), module, *arguments)
    done = subprocess.run(**command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command['args'])}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


class Oracle:
    """An original in a process of its own, asked one question after another.

    Args:
        questions: module of functions that are asked by their names; those of mmcv's ops.
        python: interpreter with the original; the one with compiled mmcv if None.
    """

    def __init__(
        self, questions: str = "tests.ops.op_questions", python: Path | None = None
    ) -> None:
        command = _command(python or oracle_python(), "tests.ops.oracle_server", questions)
        self._process = subprocess.Popen(**command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, name: str, **arguments: Any) -> dict[str, np.ndarray]:
        """What the function of this name returns over the original.

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
