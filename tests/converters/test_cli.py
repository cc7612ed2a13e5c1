# SPDX-License-Identifier: Apache-2.0
"""The create_data verb: what it writes, what it says, what it returns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lidistill.cli import main
from lidistill.converters.infos import load_infos
from tests.converters.fake_kitti import write_fake_kitti
from tests.converters.fake_nuscenes import write_fake_nuscenes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_fake_nuscenes(tmp_path_factory.mktemp("fake"), ["a", "b"], "v1.0-fake")
    splits = {"fake_train": ["a"], "fake_val": ["b"]}
    (root / "v1.0-fake" / "splits.json").write_text(json.dumps(splits))
    return root


def test_nuscenes(fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["create_data", "nuscenes", "--root", str(fake), "--out-dir", str(tmp_path)]
    assert main([*words, "--jobs", "1", "--max-sweeps", "1"]) == 0
    assert "train" in capsys.readouterr().out
    frames = load_infos(tmp_path / "lidistill_infos_val.pkl").frames
    assert [len(frame["lidar_sweeps"]) for frame in frames] == [1, 1, 1]


def test_kitti_through_the_door(tmp_path: Path) -> None:
    root = write_fake_kitti(tmp_path / "kitti", training=2, testing=1)
    door = [sys.executable, str(ROOT / "tools" / "create_data.py"), "kitti", "--root", str(root)]
    done = subprocess.run([*door, "--jobs", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in root.glob("*.pkl")) == [
        f"kitti_infos_{split}.pkl" for split in ("test", "train", "trainval", "val")
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nuscenes", "--version", "v1.0-mini"], "versions found: v1.0-fake"),
        (["kitti"], "KITTI's object benchmark"),
        (["nuscenes", "--max-sweeps", "-1"], "0 or more"),
        (["nuscenes", "--jobs", "0"], ">= 1"),
    ],
)
def test_errors(
    fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture, words: list[str], message: str
) -> None:
    common = ["--root", str(fake), "--out-dir", str(tmp_path)]
    assert main(["create_data", *words, *common]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("*.pkl"))


def test_versions(fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["create_data", "nuscenes", "--out-dir", str(tmp_path), "--root"]
    assert main([*words, str(tmp_path)]) == 1
    assert "none is there" in " ".join(capsys.readouterr().err.split())
    for name in ("v1.0-a", "v1.0-b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scene.json").write_text("[]")
    assert main([*words, str(tmp_path)]) == 1
    assert "several are there: v1.0-a, v1.0-b" in " ".join(capsys.readouterr().err.split())
