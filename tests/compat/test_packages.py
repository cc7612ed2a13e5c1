# SPDX-License-Identifier: Apache-2.0
"""Bases in other packages are found without setuptools' ``pkg_resources``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lidistill import compat
from lidistill.compat.packages import get_installed_path, is_installed

compat.apply()
import mmdet3d  # noqa: E402
import mmengine  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.config import config as config_module  # noqa: E402


def test_packages_by_the_name_of_distribution_or_module():
    assert Path(get_installed_path("mmdet3d")) == Path(mmdet3d.__file__).parent
    assert Path(get_installed_path("mmcv-lite")).name == "mmcv"
    assert (Path(get_installed_path("lidistill")) / "configs/slidr").is_dir()
    assert is_installed("mmcv-lite")
    assert is_installed("mmdet3d")
    assert not is_installed("no-such-package")
    with pytest.raises(ModuleNotFoundError, match="no package 'no-such-package'"):
        get_installed_path("no-such-package")


def test_mmengine_asks_us_wherever_it_asks():
    for module in (mmengine.utils, mmengine.utils.package_utils, config_module):
        assert module.get_installed_path is get_installed_path


@pytest.mark.parametrize(
    "text",
    [
        '_base_ = "mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"\n',
        "from mmengine.config import read_base\nwith read_base():\n"
        "    from lidistill.configs.detection.pointpillars_world import *\n",
    ],
)
def test_a_config_of_ones_own_on_the_bases_of_others(tmp_path, monkeypatch, text):
    monkeypatch.setitem(sys.modules, "pkg_resources", None)  # as with setuptools 81 and later
    (tmp_path / "mine.py").write_text(text)
    assert "model" in Config.fromfile(tmp_path / "mine.py")
