# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all tests: parity files, real samples, and one tiny world a session."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # a core is one worker's; before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


def project_configs(pattern: str = "*/*.py") -> list[Path]:
    """The project's configs: of its methods, detectors and tables. Folders of a user's own are not
    held to its rules."""
    methods = {path.stem for path in (ROOT / "lidistill" / "methods").glob("*.py")}
    ours = methods | {"_base_", "detection", "evidence"}
    configs = ROOT / "configs"
    return sorted(p for p in configs.glob(pattern) if p.relative_to(configs).parts[0] in ours)


def parity_dir(family: str) -> Path:
    """Folder of the parity fixtures of one family; may be absent."""
    base = os.environ.get("LIDISTILL_PARITY_DIR", str(ROOT.parent / "shared" / "parity"))
    return Path(base) / family


def parity_files(family: str, pattern: str) -> list:
    """One pytest param per matching file of ``family``; a skipped one if the folder is absent."""
    folder = parity_dir(family)
    if not folder.is_dir():
        reason = f"no parity fixtures in {folder}; set LIDISTILL_PARITY_DIR"
        return [pytest.param(folder, marks=pytest.mark.skip(reason=reason), id=f"no-{family}")]
    return [pytest.param(path, id=path.name) for path in sorted(folder.glob(pattern))]


@pytest.fixture(autouse=True, scope="module")
def no_default_scope() -> None:
    """mmengine's default scope is one a process: a file's tests do not meet another file's."""
    scope = sys.modules.get("mmengine.registry.default_scope")
    if scope is not None:
        scope.DefaultScope._instance_dict.clear()


@pytest.fixture(scope="session")
def realdata_dir() -> Path:
    """The small real excerpts of nuScenes and KITTI, or a skip that says where they were sought."""
    folder = Path(
        os.environ.get("LIDISTILL_REALDATA_DIR", str(ROOT.parent / "shared" / "realdata"))
    )
    if not folder.is_dir():
        pytest.skip(f"no real samples in {folder}; set LIDISTILL_REALDATA_DIR")
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first worker of a session makes and the others take."""
    from lidistill.io import exclusive

    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    out, done = base / name, base / f"{name}.lock" / "done"
    with exclusive(done.parent, "makes data for tests"):
        if not done.is_file():
            shutil.rmtree(out, ignore_errors=True)  # of a worker that was killed
            out.mkdir()
            make(out)
            done.touch()
    return out


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny embedded world in both layouts: ``<dir>/nuscenes`` and ``<dir>/kitti``. Read only."""
    from lidistill.world import generate

    def make(out: Path) -> None:
        generate(out, layout="both", preset="tiny", seed=0)

    return made_once(tmp_path_factory, "tiny_world", make)


@pytest.fixture(scope="session")
def converted_world(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world with info files: ``<dir>/nuscenes`` and ``<dir>/kitti``. Read only."""
    from lidistill.converters.kitti.convert import convert_kitti
    from lidistill.converters.nuscenes.convert import convert_nuscenes

    def make(out: Path) -> None:
        for layout in ("nuscenes", "kitti"):
            (out / layout).mkdir()
            for path in (tiny_world / layout).iterdir():
                (out / layout / path.name).symlink_to(path)
        convert_nuscenes(out / "nuscenes", "v1.0-mini")
        convert_kitti(out / "kitti")

    return made_once(tmp_path_factory, "converted_world", make)
