# SPDX-License-Identifier: Apache-2.0
"""The wheel and the sdist: what is in them, and that they work without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt")
BUILD = "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"


def build(tree: Path, kind: str, out: Path) -> Path:
    """A wheel or an sdist of a source tree, as pip builds it, without a network."""
    pytest.importorskip("setuptools", minversion="70.1")  # bdist_wheel is in it since
    command = [sys.executable, "-W", "ignore", "-c", BUILD, f"build_{kind}", str(out)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of what is built from: building writes beside the sources."""
    folder = tmp_path_factory.mktemp("tree")
    for name in NEEDED:
        shutil.copy(ROOT / name, folder)
    for name in ("lidistill", "configs", "tools"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> Path:
    return build(tree, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """The wheel unpacked, as pip would put it into site-packages."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(folder)
    return folder


def sources(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


def test_wheel_has_every_module_config_and_data_file(site) -> None:
    assert sources(site / "lidistill" / "configs") == sources(ROOT / "configs")
    modules = {name for name in sources(site / "lidistill") if not name.startswith("configs/")}
    assert modules == sources(ROOT / "lidistill")
    others = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lidistill").rglob("*")
        if path.suffix in {".typed", ".json", ".html", ".css"}
    }
    assert others <= {path.relative_to(site).as_posix() for path in site.rglob("*")}


def test_wheel_has_nothing_else(wheel) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lidistill"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    assert wheel.name.endswith("-py3-none-any.whl")


def test_metadata_names_command_extras_and_licence(site) -> None:
    (info,) = site.glob("*.dist-info")
    text = (info / "METADATA").read_text()
    for line in (
        "Provides-Extra: cpu",
        "Requires-Dist: spconv==2.3.8;",
        "Provides-Extra: triton",
        "Requires-Dist: mmcv-lite==2.1.0",
        "License: Apache-2.0",
    ):
        assert line in text or line.replace("License:", "License-Expression:") in text
    assert "lidistill = lidistill.cli:entry" in (info / "entry_points.txt").read_text()
    assert list(info.rglob("LICENSE"))


def test_from_python_3_13_it_asks_for_what_devkit_and_mmdet3d_ask_for(site) -> None:
    """All but numpy 1, which there is none of: those two are installed without requirements."""
    apart = ("nuscenes-devkit", "mmdet3d")
    (info,) = site.glob("*.dist-info")
    ours = requirements((info / "METADATA").read_text().splitlines(), "3.13")
    assert not ours & set(apart)
    theirs = {
        name
        for package in apart
        for name in requirements(f"Requires-Dist: {r}" for r in metadata.requires(package) or ())
    }
    assert theirs - ours == set(apart) - {"mmdet3d"}
    assert set(apart) <= requirements((info / "METADATA").read_text().splitlines(), "3.12")


def requirements(lines, python: str = "3.13") -> set[str]:
    """Names of what a package's metadata ask for under one Python, without extras."""
    marked = [Requirement(line.partition(": ")[2]) for line in lines if "Requires-Dist" in line]
    here = {"python_version": python, "extra": ""}
    return {
        canonicalize_name(need.name)
        for need in marked
        if need.marker is None or need.marker.evaluate(here)
    }


def test_sdist_makes_the_same_wheel(tree, wheel, tmp_path) -> None:
    sdist = build(tree, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as content:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from 3.11.4 on
        content.extractall(tmp_path, **safely)
    (unpacked,) = tmp_path.glob("lidistill-*")
    again = build(unpacked, "wheel", tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_a_config_that_is_gone_is_not_in_the_next_wheel(tree, wheel, tmp_path) -> None:
    stale = tree / "build" / "lib" / "lidistill" / "configs" / "gone.py"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.touch()
    with zipfile.ZipFile(build(tree, "wheel", tmp_path / "out")) as content:
        assert "lidistill/configs/gone.py" not in content.namelist()


def lidistill(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command of the unpacked wheel in a folder without anything."""
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "lidistill.cli", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_configs_are_found_and_copied_without_a_checkout(site, tmp_path) -> None:
    found = lidistill(site, tmp_path, "config", "list", "slidr/demo")
    assert found.returncode == 0, found.stderr
    assert str(site) in found.stdout
    done = lidistill(site, tmp_path, "config", "copy", "slidr/demo_pretrain", "own.py")
    assert done.returncode == 0, done.stderr
    code = (
        "import lidistill; from mmengine.config import Config;"
        "from lidistill import compat, provenance; compat.apply();"
        "from lidistill.engine.configs.read import load_config;"
        "print(lidistill.__file__, provenance.INSTALLED, provenance.commit());"
        "print(load_config('own.py').to_dict() == load_config('slidr/demo_pretrain').to_dict());"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    environment.pop("LIDISTILL_COMMIT", None)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    where, installed, commit, same = ran.stdout.split()
    assert where.startswith(str(site))
    assert (installed, commit, same) == ("True", "unknown", "True")
