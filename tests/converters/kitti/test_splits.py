# SPDX-License-Identifier: Apache-2.0
"""Splits of KITTI's layout: frames in two of them, twice in one, in none; any names."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidistill.converters.infos import load_infos
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.converters.kitti.splits import (
    find_frames,
    numbers_of,
    read_frame_list,
    warn_of_shared_drives,
)
from lidistill.converters.kitti.tracks import Origin
from lidistill.io import DataError
from tests.converters.fake_kitti import write_fake_kitti


def lists(root: Path, **splits: str) -> Path:
    (root / "ImageSets").mkdir(exist_ok=True)
    for split, text in splits.items():
        (root / "ImageSets" / f"{split}.txt").write_text(text)
    return root


def test_a_frame_in_train_and_val_is_an_error(tmp_path: Path) -> None:
    lists(tmp_path, train="000000\n3\n1\n", val="000003\n000004\n")
    with pytest.raises(DataError, match=r"(?s)1 are in both: 000003.*train\.txt.*val\.txt"):
        find_frames(tmp_path)


def test_a_frame_twice_in_one_list_is_one(tmp_path: Path, caplog) -> None:
    lists(tmp_path, train="1\n000001\n2\n", val="4\n")
    found, _ = find_frames(tmp_path)
    assert found["train"] == ["000001", "000002"]
    assert found["trainval"] == ["000001", "000002", "000004"]
    assert "listed more than once, taken once: 000001" in caplog.text


def test_a_list_trainval_of_its_own_is_taken(tmp_path: Path) -> None:
    """It was train and val, whatever the file said."""
    lists(tmp_path, train="1", val="2", trainval="1\n2\n3\n")
    assert find_frames(tmp_path)[0]["trainval"] == ["000001", "000002", "000003"]
    lists(tmp_path, trainval="2\n1\n")
    assert find_frames(tmp_path)[0]["trainval"] == ["000001", "000002"]


@pytest.mark.parametrize("split", ["train", "val", "trainval", "test"])
def test_an_empty_list_is_an_error(tmp_path: Path, split: str) -> None:
    lists(tmp_path, train="1", val="2")
    lists(tmp_path, **{split: "\n \n"})
    with pytest.raises(DataError, match=rf"(?s)list is empty.*{split}\.txt.*delete it"):
        find_frames(tmp_path)


def test_a_folder_in_place_of_a_list(tmp_path: Path) -> None:
    lists(tmp_path, val="2")
    (tmp_path / "ImageSets" / "train.txt").mkdir()
    with pytest.raises(DataError, match=r"(?s)got a folder.*train\.txt"):
        find_frames(tmp_path)


def test_marks_and_any_names(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xef\xbb\xbf7\r\nframe-A1\r\n0000000012\r\n")
    assert read_frame_list(path) == ["000007", "frame-A1", "0000000012"]
    path.write_bytes("7\nä".encode("latin-1"))
    with pytest.raises(DataError, match=r"(?s)UTF-8.*train\.txt"):
        read_frame_list(path)


@pytest.mark.parametrize("line", ["-1", "+3", "000001 1", "../x", "seq/000001", "a\x00b"])
def test_lines_that_name_no_frame(tmp_path: Path, line: str) -> None:
    path = tmp_path / "train.txt"
    path.write_text(f"000000\n{line}\n")
    with pytest.raises(DataError, match=r"(?s)(Line 2: expected the name|NUL).*train\.txt"):
        read_frame_list(path)


def test_numbers_of_frames() -> None:
    assert numbers_of(["000012", "000003"]) == {"000003": 3, "000012": 12}
    assert numbers_of(["b", "000012", "a"]) == {"000012": 0, "a": 1, "b": 2}
    assert numbers_of(["7", "007"]) == {"007": 0, "7": 1}  # two frames of one number
    assert numbers_of([]) == {}


def test_drives_in_both_splits_get_a_line(caplog) -> None:
    origins = {n: Origin(f"drive_{n // 2}", n) for n in range(6)}
    splits = {"train": ["000000", "000002", "x"], "val": ["000003", "000004"]}
    warn_of_shared_drives(splits, origins)
    assert "1 of 2 drives of val have frames in train too" in caplog.text
    assert "drive_1" in caplog.text
    caplog.clear()
    warn_of_shared_drives({"train": ["000000"], "val": ["000004"]}, origins)
    warn_of_shared_drives({"test": ["000000"]}, origins)
    assert not caplog.text


def test_drives_and_files_of_splits(tmp_path: Path) -> None:
    root = write_fake_kitti(tmp_path / "kitti", training=4, testing=0, lists=False)
    with pytest.raises(DataError, match=r"(?s)mapping is not there.*devkit_object.zip"):
        find_frames(root, "drives", {})
    drives = ["2011_09_26_drive_0009_sync", *["2011_09_26_drive_0001_sync"] * 2]
    drives += ["2011_09_26_drive_0005_sync"]
    origins = {frame: Origin(drive, 7) for frame, drive in enumerate(drives)}
    with pytest.raises(DataError, match="No training frame is of drive 2011_09_26_drive_0052"):
        find_frames(root, "drives", origins)
    origins[4] = Origin("2011_09_26_drive_0052_sync", 1)
    found, origin = find_frames(root, "drives", origins)
    assert origin == "drives"
    assert found["train"] == ["000001", "000002", "000003"]
    assert found["val"] == ["000000", "000004"]
    own = tmp_path / "own.json"
    own.write_text('{"train": ["2011_09_26_drive_0001_sync", "3"], "pretrain": ["0"]}')
    found, _ = find_frames(root, own, origins)
    assert found == {"train": ["000001", "000002", "000003"], "pretrain": ["000000"]}
    own.write_text('{"train": ["3"], "val": ["3"]}')
    with pytest.raises(DataError, match="share no frame"):
        find_frames(root, own, origins)
    own.write_text('{"training": ["3"]}')
    with pytest.raises(DataError, match="Expected splits among train, val"):
        find_frames(root, own, origins)


def test_pretraining_frames_need_no_labels(tmp_path: Path) -> None:
    root = write_fake_kitti(tmp_path / "kitti", training=4, testing=1)
    (root / "ImageSets/pretrain.txt").write_text("000000\n000009\n")
    for folder, suffix in (("image_2", "png"), ("calib", "txt"), ("velodyne", "bin")):
        source = root / "training" / folder / f"000000.{suffix}"
        (root / "training" / folder / f"000009.{suffix}").write_bytes(source.read_bytes())
    frames = load_infos(convert_kitti(root)["pretrain"]).frames
    assert [len(frame["instances"]) > 0 for frame in frames] == [True, False]
    assert "CAM2" in frames[1]["images"]
