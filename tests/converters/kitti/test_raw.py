# SPDX-License-Identifier: Apache-2.0
"""KITTI's raw data: pairs as the object benchmark's own frames give them, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lidistill.converters.infos import load_infos
from lidistill.converters.kitti.raw import convert_kitti_raw, find_drives
from lidistill.io import DataError
from tests.kitti_roots import DAY, raw_root


@pytest.fixture
def root(converted_world: Path, tmp_path: Path) -> Path:
    return raw_root(converted_world / "kitti", tmp_path / "raw")


def test_the_same_camera_as_the_object_benchmark(root: Path, converted_world: Path) -> None:
    path = convert_kitti_raw(root)["train"]
    frames = load_infos(path).frames
    drives = sorted(folder.name for folder in (root / DAY).iterdir() if folder.is_dir())
    assert list(dict.fromkeys(frame["scene_name"] for frame in frames)) == drives
    own = load_infos(converted_world / "kitti/kitti_infos_train.pkl").frames[0]
    there = next(f for f in frames if f["raw_drive"] == own["raw_drive"])
    for key in ("cam2img", "lidar2cam", "lidar2img"):
        ours, theirs = np.array(there["images"]["CAM2"][key]), np.array(own["images"]["CAM2"][key])
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert (root / there["lidar_points"]["lidar_path"]).is_file()
    assert (root / there["images"]["CAM2"]["img_path"]).is_file()
    seen = load_infos(path).metainfo["contents"]["cameras"]["CAM2"]
    assert 0.1 < seen["inside"] / seen["in_front"] < 1


def test_frames_without_scan_or_image_are_left_out(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drive = next(iter(find_drives(root)["train"]))
    own = root / DAY / "copy"
    shutil.copytree(drive.folder, own)
    drive.folder.unlink()
    own.rename(drive.folder)
    sorted(drive.folder.glob("velodyne_points/data/*.bin"))[0].unlink()
    found = load_infos(convert_kitti_raw(root)["train"]).frames
    left = [frame for frame in found if frame["scene_name"] == drive.name]
    assert len(left) == len(list(drive.folder.glob("velodyne_points/data/*.bin")))
    assert "left out 1 scans or images" in caplog.text


def test_splits_by_drive(root: Path) -> None:
    names = [drive.name for drive in find_drives(root)["train"]]
    (root / "splits.json").write_text(json.dumps({"train": names[:1], "val": names[1:2]}))
    written = convert_kitti_raw(root)
    assert {frame["raw_drive"] for frame in load_infos(written["val"]).frames} == {names[1]}
    (root / "splits.json").write_text(json.dumps({"train": ["2011_09_26_drive_9999_sync"]}))
    with pytest.raises(DataError, match=r"not there: 2011_09_26_drive_9999_sync"):
        convert_kitti_raw(root)


def test_what_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected KITTI's raw data"):
        convert_kitti_raw(tmp_path)
    path = root / DAY / "calib_velo_to_cam.txt"
    path.write_text(path.read_text().replace("T:", "S:"))
    with pytest.raises(DataError, match="Expected a line 'T: "):
        convert_kitti_raw(root)


def test_another_calibration_is_converted_again(root: Path) -> None:
    def translation() -> float:
        frame = load_infos(convert_kitti_raw(root)["train"]).frames[0]
        return float(frame["images"]["CAM2"]["lidar2cam"][2][3])

    before = translation()
    path = root / DAY / "calib_velo_to_cam.txt"
    turn, shift = path.read_text().splitlines()
    shift = " ".join([*shift.split()[:-1], "-1.0"])
    path.write_text(f"{turn}\n{shift}\n")
    assert abs(translation() - before) > 0.5


def test_drives_of_validation_frames_are_left_out(root: Path, tmp_path: Path) -> None:
    names = [drive.name for drive in find_drives(root)["train"]]
    frames = tmp_path / "val.txt"
    frames.write_text("000001\n")
    with pytest.raises(DataError, match="mapping of frames to drives"):
        convert_kitti_raw(root, clear_of=frames)
    mapping = root / "devkit" / "mapping"
    mapping.mkdir(parents=True)
    rows = [f"2011_09_26 {name} {number:010d}" for number, name in enumerate(names)]
    (mapping / "train_mapping.txt").write_text("\n".join(rows))
    order = [len(names) - number for number in range(len(names))]  # frame 0 is the last line
    (mapping / "train_rand.txt").write_text(",".join(map(str, order)))
    path = convert_kitti_raw(root, clear_of=frames)["train"]
    left = {frame["raw_drive"] for frame in load_infos(path).frames}
    assert left == set(names) - {names[-2]}
    manifest = json.loads(path.with_name(f"{path.name}.manifest.json").read_text())
    assert manifest["parameters"]["left_out"] == [names[-2]]
    frames.write_text("000099\n")
    with pytest.raises(DataError, match="not in the mapping: 000099"):
        convert_kitti_raw(root, clear_of=frames)
    frames.write_text("".join(f"{number}\n" for number in range(len(names))))
    with pytest.raises(DataError, match="nothing is left"):
        convert_kitti_raw(root, clear_of=frames)


def test_drives_without_their_suffix_are_the_same_road(root: Path, tmp_path: Path) -> None:
    test_drives_of_validation_frames_are_left_out(root, tmp_path)
    names = [drive.name for drive in find_drives(root)["train"]]
    (root / DAY / names[-2]).rename(root / DAY / names[-2].removesuffix("_sync"))
    (tmp_path / "val.txt").write_text("000001\n")
    path = convert_kitti_raw(root, clear_of=tmp_path / "val.txt")["train"]
    assert {f["raw_drive"] for f in load_infos(path).frames} == set(names) - {names[-2]}


def test_two_drives_of_one_name_are_refused(root: Path) -> None:
    """One of them was left out without a word."""
    drive = next(iter(find_drives(root)["train"]))
    shutil.copytree(drive.folder, root / "second_day" / drive.name)
    with pytest.raises(DataError, match=f"Two drives are called {drive.name}: .*second_day/"):
        convert_kitti_raw(root)
