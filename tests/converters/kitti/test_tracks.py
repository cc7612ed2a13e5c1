# SPDX-License-Identifier: Apache-2.0
"""Raw drives and track ids of KITTI's object frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lidistill.converters.infos import load_infos
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.converters.kitti.tracks import find_origins
from lidistill.io import DataError
from tests.converters.fake_kitti import write_fake_kitti

DRIVES = ("2011_09_26_drive_0001_sync", "2011_09_26_drive_0002_sync")
ORDER = (4, 1, 2, 3)  # object frame 0 is the fourth row of the mapping


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four training frames: two drives of two frames, with tracking labels."""
    root = write_fake_kitti(tmp_path / "kitti", training=4, testing=1)
    folder = root / "devkit" / "mapping"
    folder.mkdir(parents=True)
    rows = [(drive, frame) for drive in DRIVES for frame in range(2)]
    lines = "".join(f"2011_09_26 {drive} {frame:010d}\n" for drive, frame in rows)
    (folder / "train_mapping.txt").write_text(lines)
    (folder / "train_rand.txt").write_text(",".join(map(str, ORDER)) + "\n")
    tracking = root / "tracking" / "training" / "label_02"
    tracking.mkdir(parents=True)
    for index, drive in enumerate(DRIVES):
        text = ""
        for frame in range(2):
            number = ORDER.index(1 + rows.index((drive, frame)))
            labels = (root / "training" / "label_2" / f"{number:06d}.txt").read_text()
            for i, line in enumerate(labels.splitlines()):
                track = -1 if line.startswith("DontCare") else 100 * number + i
                text += f"{frame} {track} {line}\n"
        (tracking / f"{index:04d}.txt").write_text(text)
    (root / "SYNTHETIC").write_text("")
    return root


def test_drives_and_tracks(root: Path, tmp_path: Path) -> None:
    written = convert_kitti(root, tmp_path / "o")
    frames = {f["sample_idx"]: f for f in load_infos(written["trainval"]).frames}
    found = {n: (f["raw_drive"], f["raw_frame"]) for n, f in frames.items()}
    expected = {0: (DRIVES[1], 1), 1: (DRIVES[0], 0), 2: (DRIVES[0], 1), 3: (DRIVES[1], 0)}
    assert found == expected
    for number, frame in frames.items():
        tracks = [instance["track_id"] for instance in frame["instances"]]
        count = len(frame["instances"]) - 1
        assert tracks == ([100 * number + i for i in range(count)] + [-1] if count > 0 else [])
    assert "raw_drive" not in load_infos(written["test"]).frames[0]


def test_real_kitti_gets_drives_but_no_tracks(root: Path) -> None:
    (root / "SYNTHETIC").unlink()
    origins = find_origins(root)
    assert origins[0].drive == DRIVES[1]
    assert all(origin.tracks is None for origin in origins.values())
    shutil.rmtree(root / "devkit")
    assert find_origins(root) == {}


def test_a_mapping_that_comes_later_is_taken(root: Path, tmp_path: Path) -> None:
    (root / "SYNTHETIC").unlink()
    shutil.move(root / "devkit", tmp_path / "devkit")
    assert "raw_drive" not in load_infos(convert_kitti(root)["train"]).frames[0]
    shutil.move(tmp_path / "devkit", root / "devkit")
    assert load_infos(convert_kitti(root)["train"]).frames[0]["raw_drive"] == DRIVES[1]


def test_labels_and_tracks_that_disagree(root: Path, tmp_path: Path) -> None:
    path = root / "training" / "label_2" / "000001.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match=r"(?s)tracking labels.*000001\.txt.*training_000001"):
        convert_kitti(root, tmp_path / "o")


def test_a_file_of_tracks_that_was_cut(root: Path, tmp_path: Path) -> None:
    """Whole lines are lost: the drive's last frame has objects, but no tracks."""
    path = root / "tracking/training/label_02/0000.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if line.startswith("0 ")))
    with pytest.raises(DataError, match=r"(?s)objects of the tracking labels \(0\).*label_2"):
        convert_kitti(root, tmp_path / "o")
    path.write_text("")  # as if there were none for this drive
    convert_kitti(root, tmp_path / "o")


def test_damaged_mapping(root: Path, tmp_path: Path) -> None:
    (root / "devkit" / "mapping" / "train_rand.txt").write_text("1,2,nine")
    with pytest.raises(DataError, match=r"(?s)date drive frame.*train_mapping\.txt"):
        convert_kitti(root, tmp_path / "o")


@pytest.mark.parametrize("order", ["1,2,3", "1,2,3,3", "1,2,3,5", "0,1,2,3", "1,2,3,4,4"])
def test_the_order_names_each_line_once(root: Path, order: str) -> None:
    (root / "devkit" / "mapping" / "train_rand.txt").write_text(order)
    with pytest.raises(DataError, match=r"(?s)train_rand\.txt must name each of the 4 lines once"):
        find_origins(root)


@pytest.mark.parametrize("name", ["train_rand.txt", "train_mapping.txt"])
def test_one_mapping_file_alone_is_an_error(root: Path, name: str) -> None:
    (root / "devkit" / "mapping" / name).unlink()
    with pytest.raises(DataError, match=rf"(?s)not found.*{name}"):
        find_origins(root)


@pytest.mark.parametrize("line", ["-1 0 Car", "0 -2 Car", "0 99999999999999 Car"])
def test_tracks_out_of_range(root: Path, line: str) -> None:
    (root / "tracking" / "training" / "label_02" / "0000.txt").write_text(line)
    with pytest.raises(DataError, match=r"(?s)Line 1: expected frame, track.*0000\.txt"):
        find_origins(root)
