# SPDX-License-Identifier: Apache-2.0
"""Real drives for tests of training."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lidistill.converters.kitti.convert import convert_kitti


@pytest.fixture(scope="session")
def real_drives(tmp_path_factory):
    """Two labelled frames of drives 0005 and 0001, as info files."""
    home = os.environ.get("LIDISTILL_REAL_ROOT")
    if home is None or not Path(home, "kitti_drives", "training").is_dir():
        pytest.skip("no real drives; set LIDISTILL_REAL_ROOT to the folder of kitti_drives/")
    root = tmp_path_factory.mktemp("real") / "kitti_drives"
    root.mkdir()
    (root / "training").symlink_to(Path(home, "kitti_drives", "training"))
    chosen = {"train": ["050020", "010030"], "val": ["090010"]}
    (root / "few.json").write_text(json.dumps(chosen))
    convert_kitti(root, points="velodyne_reduced", split=root / "few.json")
    return root
