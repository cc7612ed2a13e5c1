# SPDX-License-Identifier: Apache-2.0
"""What the tools read, and what each makes of it when nobody disturbs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.robustness.forks import Forks, can_mount
from tests.robustness.tools import digest, make_material, words_of


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of every tool; read only."""
    return make_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Starts commands without seconds of imports, with mounts of their own where that may be."""
    own = ("unshare", "--mount", "--propagation", "private") if can_mount() else ()
    with Forks(tmp_path_factory.mktemp("forks"), own) as started:
        yield started


@pytest.fixture(scope="session")
def undisturbed(
    data: Path, forks: Forks, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[float, Path]]:
    """Runs a tool, once a session: seconds that it took, and the folder that it filled."""
    known: dict[str, tuple[float, Path]] = {}

    def run(tool: str) -> tuple[float, Path]:
        if tool not in known:
            first, out = tmp_path_factory.mktemp(tool), tmp_path_factory.mktemp(tool)
            forks.learn(words_of(tool, data, first))
            begin = time.monotonic()
            forks.run(words_of(tool, data, out))
            known[tool] = time.monotonic() - begin, out
            assert digest(out), "nothing was written"
            assert digest(out) == digest(first)
        return known[tool]

    return run
