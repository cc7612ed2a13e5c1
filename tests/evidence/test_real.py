# SPDX-License-Identifier: Apache-2.0
"""Real drives as a table's ground: the fold of a seed, and what is said where there are no data."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidistill.engine.configs.read import load_config
from lidistill.evidence.plans import real_detection, real_segmentation
from lidistill.evidence.real import DRIVES, FOLDS, VARIABLE, RealFolds, drives_bank
from lidistill.io import DataError
from tests.kitti_roots import semantic_root

CONFIG = "configs/slidr/real_pretrain.py"


def test_a_seed_chooses_the_fold_of_every_file() -> None:
    cfg = load_config(CONFIG)
    FOLDS.prepare(cfg, 1)
    loaders = (cfg.train_dataloader, cfg.test_dataloader, cfg.test_cfg.train_dataloader)
    files = [loader.dataset.ann_file for loader in loaders]
    assert files == ["folds/00/pretrain.pkl", "folds/00/val.pkl", "folds/00/train.pkl"]
    with pytest.raises(ValueError, match="there are 9 folds"):
        FOLDS.prepare(cfg, 9)


def test_every_fold_is_a_seed_of_the_table() -> None:
    table = real_segmentation.table()
    assert len(table.seeds) == len(set(FOLDS.sequences)) == 9
    assert "1 without 00" in table.world.words


def test_without_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match=VARIABLE):
        FOLDS.root()


def test_the_root_is_made_ready_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, converted_world: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    semantic_root(converted_world / "kitti", tmp_path / "semantic_kitti", ("08", "00"), scans=1)
    folds = RealFolds(sequences=("08", "00"))
    root = folds.root()
    made = sorted(path.relative_to(root).as_posix() for path in root.glob("folds/*/*.pkl"))
    assert made == [
        f"folds/{s}/{n}.pkl" for s in ("00", "08") for n in ("pretrain", "train", "val")
    ]
    assert len(list((root / "superpixels/slic_150").glob("*.png"))) == 2
    assert folds.root() == root


def test_drives_are_converted_with_their_own_lists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, converted_world: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match="four KITTI drives"):
        DRIVES.root()
    home = tmp_path / "kitti_drives"
    home.mkdir()
    for part in ("training", "testing", "ImageSets"):
        (home / part).symlink_to(converted_world / "kitti" / part)
    assert (DRIVES.root() / "kitti_infos_val.pkl").is_file()
    assert real_detection.table().world is DRIVES


def test_a_bank_of_drives_needs_their_tracklets(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which boxes are the same object") as error:
        drives_bank(tmp_path / "kitti_drives")
    for place in ("kitti_drives/official/2011_09_26/2011_09_26_drive_0005_sync", "kitti_raw"):
        assert place in str(error.value)
