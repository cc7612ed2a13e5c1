# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.datasets.mini import make_mini


@pytest.fixture(scope="session")
def mini_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data set; read only."""
    root = tmp_path_factory.mktemp("mini")
    make_mini(root)
    return root


@pytest.fixture
def mini(mini_source: Path, tmp_path: Path) -> Path:
    """A copy of the small data set that a test may damage."""
    return Path(shutil.copytree(mini_source, tmp_path / "mini"))
