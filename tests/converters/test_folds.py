# SPDX-License-Identifier: Apache-2.0
"""Folds that leave one sequence out: no frame of its place is in training or pretraining."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidistill.cli import main
from lidistill.converters.folds import ODOMETRY_DRIVES, make_folds
from lidistill.converters.infos import load_infos, write_infos
from lidistill.converters.kitti.raw import convert_kitti_raw
from lidistill.converters.semantic_kitti.convert import convert_semantic_kitti
from lidistill.io import DataError
from tests.kitti_roots import raw_root, semantic_root


@pytest.fixture
def root(converted_world: Path, tmp_path: Path) -> Path:
    convert_semantic_kitti(semantic_root(converted_world / "kitti", tmp_path / "all/semantic"))
    convert_kitti_raw(raw_root(converted_world / "kitti", tmp_path / "all/raw"))
    return tmp_path / "all"


def frames(root: Path, fold: str, split: str) -> list[dict]:
    return load_infos(root / "folds" / fold / f"{split}.pkl").frames


def test_folds(root: Path) -> None:
    assert list(make_folds(root)) == ["00", "08"]
    for fold, other in (("00", "08"), ("08", "00")):
        assert {f["scene_name"] for f in frames(root, fold, "val")} == {fold}
        assert {f["scene_name"] for f in frames(root, fold, "train")} == {other}
        pairs = frames(root, fold, "pretrain")
        assert not [f for f in pairs if f["scene_name"] == fold]
        assert len(pairs) == 2 + len(load_infos(root / "raw/kittiraw_infos_train.pkl").frames)
        for frame in pairs:
            assert (root / frame["lidar_points"]["lidar_path"]).is_file()
            assert (root / frame["images"]["CAM2"]["img_path"]).is_file()


def test_a_raw_drive_that_is_the_sequence_is_left_out(root: Path) -> None:
    path = root / "raw/kittiraw_infos_train.pkl"
    infos = load_infos(path)
    drive = infos.frames[0]["raw_drive"]
    for frame in infos.frames:
        if frame["raw_drive"] == drive:
            frame["raw_drive"] = ODOMETRY_DRIVES["08"]
    write_infos(path, infos.metainfo, infos.frames, {}, "")
    make_folds(root)
    drives = {f.get("raw_drive") for f in frames(root, "08", "pretrain")}
    assert ODOMETRY_DRIVES["08"] not in drives
    assert ODOMETRY_DRIVES["08"] in {f.get("raw_drive") for f in frames(root, "00", "pretrain")}


def test_places_by_pattern_through_the_verb(root: Path) -> None:
    words = ["create_data", "folds", "--root", str(root), "--place", "00", "*_drive_0001_*"]
    assert main(words) == 0
    tokens = [frame["token"] for frame in frames(root, "00", "pretrain")]
    assert tokens
    assert not [token for token in tokens if "_drive_0001_" in token]


def test_without_semantickitti(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="create_data semantickitti"):
        make_folds(tmp_path)


def test_a_slip_in_a_place_is_refused(root: Path) -> None:
    """It would leave the judged place in the pretraining."""
    with pytest.raises(DataError, match=r"sequences 00, 08, got '8'"):
        make_folds(root, {"8": ["*_drive_0001_*"]})
    with pytest.raises(DataError, match=r"No frame fits the pattern '\*drive_9999\*'"):
        make_folds(root, {"08": ["*drive_9999*"]})


def test_one_sequence_leaves_nothing_to_train_on(converted_world: Path, tmp_path: Path) -> None:
    made = semantic_root(converted_world / "kitti", tmp_path / "all/semantic", ("08",))
    (made / "splits.json").write_text('{"val": ["08"]}')
    convert_semantic_kitti(made)
    with pytest.raises(DataError, match="08 alone"):
        make_folds(tmp_path / "all")


def test_frames_that_are_called_alike(root: Path, converted_world: Path) -> None:
    convert_kitti_raw(raw_root(converted_world / "kitti", root / "again"))
    with pytest.raises(DataError, match=r"Two frames are called .*: .*again/.* and .*raw/"):
        make_folds(root)


def test_frames_of_unknown_drives_are_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = root / "raw/kittiraw_infos_train.pkl"
    infos = load_infos(path)
    for frame in infos.frames:
        del frame["raw_drive"]
    write_infos(path, infos.metainfo, infos.frames, {}, "")
    make_folds(root)
    assert f"{len(infos.frames)} frames do not say which raw drive" in caplog.text


def test_data_sets_may_be_links_to_other_disks(root: Path, tmp_path: Path) -> None:
    (root / "raw").rename(tmp_path / "disk")
    (root / "raw").symlink_to(tmp_path / "disk")
    (root / "back").symlink_to(root)  # once around, no more
    make_folds(root)
    pairs = frames(root, "00", "pretrain")
    assert len(pairs) == 2 + len(load_infos(tmp_path / "disk/kittiraw_infos_train.pkl").frames)
    assert all((root / frame["lidar_points"]["lidar_path"]).is_file() for frame in pairs)
