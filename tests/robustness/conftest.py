# SPDX-License-Identifier: Apache-2.0
"""What the tools read, and what each makes of it when nobody disturbs it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.robustness.tools import command, digest, environment, make_material


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of every tool; read only."""
    return make_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="session")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Runs a tool once: seconds that it took, and checksums of what it wrote."""
    known: dict[str, tuple[float, dict[str, str]]] = {}

    def run(tool: str) -> tuple[float, dict[str, str]]:
        if tool not in known:
            out = tmp_path_factory.mktemp(tool)
            words = command(tool, data, out)
            subprocess.run(words, env=environment(), check=True, capture_output=True)  # compiles
            begin = time.monotonic()
            again = tmp_path_factory.mktemp(tool)
            subprocess.run(
                command(tool, data, again), env=environment(), check=True, capture_output=True
            )
            known[tool] = time.monotonic() - begin, digest(again)
            assert known[tool][1], "nothing was written"
            assert digest(out) == known[tool][1]
        return known[tool]

    return run
