# SPDX-License-Identifier: Apache-2.0
"""Damaged files of tracks, poses and scans: an error that names them, no other bank in silence."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lidistill.converters.object_bank.bank import read_bank, write_bank
from lidistill.converters.object_bank.finish import make_bank
from lidistill.converters.object_bank.options import BankOptions
from lidistill.converters.object_bank.sources import kitti
from lidistill.converters.object_bank.sources.arrays import ArraySource
from lidistill.converters.object_bank.sources.semantic_kitti import SemanticKittiSource
from lidistill.converters.object_bank.sources.tracklets import read_tracklets
from lidistill.io import DataError
from tests.converters.fake_semantic_kitti import write_fake_semantic_kitti
from tests.converters.object_bank.drives import (
    box_arrays,
    packet,
    sensor_boxes,
    write_arrays,
    write_poses,
    write_raw,
    write_scans,
    write_tracking,
    write_tracklets,
)
from tests.converters.object_bank.scenes import make_scene


@pytest.fixture
def tracks(tmp_path):
    return make_scene(tmp_path / "made", sweeps=False)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<count>3</count>", "<count>4</count>", "tracklets are 3, but their count says 4"),
        ("<count>5</count>", "<count>6</count>", "poses are 5, but their count says 6"),
        ("<h>1.5</h>", "<h>-1.5</h>", "above 0 and below 200 m"),
        ("<h>1.5</h>", "<h>nan</h>", "finite"),
        ("<objectType>car0</objectType>", "<objectType> </objectType>", "no objectType"),
        ("<first_frame>0</first_frame>", "<first_frame>-3</first_frame>", "from 0 on, got -3"),
        ("<rx>0</rx>", "<rx>1.2</rx>", "upright"),
        ("<tx>", "<tx>9999", "within 1000 m"),
        ("tracklets>", "other>", "missing"),
    ],
)
def test_tracklets(tmp_path, tracks, old, new, words):
    path = tmp_path / "tracklets.xml"
    write_tracklets(path, sensor_boxes(tracks))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new) if old == "tracklets>" else text.replace(old, new, 1))
    with pytest.raises(DataError, match=rf"(?s){words}.*tracklets\.xml"):
        read_tracklets(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda line: f"{line} 0.5 0.5", "got 19"),
        (lambda line: " ".join(line.split()[:16]), "got 16"),
        (lambda line: f"{line} 0.5", "expected 17 fields as in the first line, got 18"),
        (lambda line: f"{line}\n{line}", "Line 3: track 0 is twice in frame 0"),
        (lambda line: line.replace("car0", "van"), "track 0 was a van before, here a car0"),
        (lambda line: re.sub(r"^(\d+) \d+", r"\1 -1", line), "which object is it"),
        (lambda line: re.sub(r"^\d+", "1.5", line), "Line 2"),
        (lambda line: _field(line, 10, "-1.5"), "height"),
        (lambda line: _field(line, 10, "0"), "with a size"),
        (lambda line: _field(line, 13, "nan"), "x: expected finite"),
        (lambda line: _field(line, 16, "90"), "rotation_y: expected radians"),
    ],
)
def test_tracking_labels(tmp_path, tracks, change, words):
    write_tracking(tmp_path, tracks)
    path = tmp_path / "training" / "label_02" / "0003.txt"
    lines = path.read_text().splitlines()
    lines[1] = change(lines[1])
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"(?s){words}.*0003\.txt"):
        kitti.tracking_drives(tmp_path)


def _field(line, place, value):
    words = line.split()
    words[place] = value
    return " ".join(words)


def test_levels_of_truncation_of_the_tracking_benchmark_are_read(tmp_path, tracks):
    write_tracking(tmp_path, tracks)
    path = tmp_path / "training" / "label_02" / "0003.txt"
    lines = path.read_text().splitlines()
    path.write_text("\r\n".join([*lines[:1], _field(lines[1], 3, "2"), *lines[2:]]))
    assert len(kitti.tracking_drives(tmp_path)[0].tracks) == 3
    path.write_text("")
    with pytest.raises(DataError, match="empty"):
        kitti.tracking_drives(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [*rows[:2], "\n", *rows[2:]], "Line 3: expected 6 numbers"),
        (lambda rows: rows[:2] + rows[3:], "for each frame from 0 to 4, got 4"),
        (lambda rows: [rows[0].replace("49.0", "490.0"), *rows[1:]], "latitude.*within 85"),
        (lambda rows: [*rows[:4], rows[4].replace("8.4", "9.4")], "number 5 is .* m from the one"),
        (lambda rows: [rows[0].replace("0.01", "nan"), *rows[1:]], "Line 1"),
    ],
)
def test_packets(tmp_path, tracks, change, words):
    write_tracking(tmp_path, tracks)
    path = tmp_path / "training" / "oxts" / "0003.txt"
    path.write_text("".join(change([packet(number) for number in range(5)])))
    with pytest.raises(DataError, match=rf"(?s){words}.*0003\.txt"):
        kitti.tracking_drives(tmp_path)


def test_a_raw_drive(tmp_path, tracks):
    folder = write_raw(tmp_path / "day", tracks)
    (folder / "oxts" / "data" / "._0000000000.txt").write_bytes(b"\0\5\x16\7")
    (folder / "velodyne_points" / "data" / "._0000000000.bin").write_bytes(b"\0\5\x16\7")
    bank = make_bank(kitti.KittiSource([kitti.raw_drive(folder)]).read(folder.name), BankOptions())
    assert len(bank) == 3
    (folder / "oxts" / "data" / "0000000003.txt").write_text(packet(3) + packet(4))
    with pytest.raises(DataError, match=r"(?s)one line.*0000000003\.txt"):
        kitti.raw_drive(folder)
    (folder / "oxts" / "data" / "0000000003.txt").write_text(packet(3))
    calibration = tmp_path / "day" / "calib_imu_to_velo.txt"
    calibration.write_text("R: 1 0 0 0 1 0 0 0 2\nT: 0 0 0\n")
    with pytest.raises(DataError, match="expected a rotation"):
        kitti.raw_drive(folder)


def test_boxes_of_frames_without_scans(tmp_path, tracks):
    """Frame numbers that do not fit: said where some do, refused where none does."""
    write_tracklets(tmp_path / "t.xml", sensor_boxes(tracks))
    found = read_tracklets(tmp_path / "t.xml")
    write_scans(tmp_path / "a", tracks, "{:04d}.bin")
    (tmp_path / "a" / "0004.bin").unlink()
    drive = kitti.pattern_drive("a", str(tmp_path / "a" / "{frame}.bin"), found)
    assert (
        "3 of 15 boxes are of frames without scan" in kitti.KittiSource([drive]).read("a").notes[1]
    )
    write_scans(tmp_path / "b", tracks, "9{:04d}.bin")
    drive = kitti.pattern_drive("b", str(tmp_path / "b" / "{frame}.bin"), found)
    with pytest.raises(DataError, match=r"None of 15 boxes .* 90000 to 90004"):
        kitti.KittiSource([drive]).read("b")
    write_scans(tmp_path / "c", tracks, "{:04d}.bin")
    write_scans(tmp_path / "c", tracks, "{}.bin")
    with pytest.raises(DataError, match="of one frame"):
        kitti.pattern_drive("c", str(tmp_path / "c" / "{frame}.bin"), found)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("box", lambda a: a * [1, 1, 1, -1, 1, 1, 1], "above 0"),
        ("box", lambda a: a.astype("U9"), "no numbers"),
        ("box", lambda a: a * 1e6, "below 200 m"),
        ("world_from_sensor", lambda a: a * 2, "world_from_sensor of frame 0"),
        ("name", lambda a: np.r_[["bus"], a[1:]], "is a bus and a car0"),
        ("name", lambda a: np.r_[[""], a[1:]], "empty"),
    ],
)
def test_arrays(tmp_path, tracks, name, change, words):
    scene = tmp_path / "arrays" / "one"
    write_arrays(scene, tracks)
    with np.load(scene / "boxes.npz") as archive:
        arrays = dict(archive)
    np.savez(scene / "boxes.npz", **{**arrays, name: change(arrays[name])})
    with pytest.raises(DataError, match=words):
        ArraySource(tmp_path / "arrays").read("one")


def test_clouds_are_in_the_order_of_their_numbers(tmp_path):
    """Without leading zeros 10.bin would come before 2.bin."""
    tracks = make_scene(tmp_path / "made", keys=12, sweeps=False)
    scene = tmp_path / "arrays" / "one"
    write_scans(scene / "points", tracks, "cloud_{}.bin")
    write_poses(tmp_path / "poses.txt", tracks)
    poses = [frame.world_from_sensor for frame in tracks.frames]
    np.savez(scene / "boxes.npz", **box_arrays(tracks), world_from_sensor=poses)
    plain = BankOptions.plain()
    bank = make_bank(ArraySource(tmp_path / "arrays").read("one"), plain)
    np.testing.assert_array_equal(bank.offsets, make_bank(tracks, plain).offsets)
    (scene / "points" / "cloud_007.bin").touch()
    with pytest.raises(DataError, match=r"cloud_007\.bin and cloud_7\.bin"):
        ArraySource(tmp_path / "arrays").read("one")


def test_instance_labels_that_are_not_defined(tmp_path):
    root = write_fake_semantic_kitti(tmp_path / "semantic")
    path = root / "sequences" / "00" / "labels" / "000001.label"
    data = path.read_bytes()
    path.write_bytes((np.frombuffer(data, "<u4") & 0xFFFF0000 | 7).tobytes())
    source = SemanticKittiSource(root, ["00"])
    with pytest.raises(DataError, match=r"(?s)does not define: 7\..*000001\.label"):
        source.read("00")
    path.write_bytes(data + b"\0")
    with pytest.raises(DataError, match="4-byte label"):
        source.read("00")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("sensor_from_box", lambda a: a * 2, "sensor_from_box: expected a rotation"),
        ("box_frame", lambda a: a[None], r"box_frame is \(1, \d+\), expected"),
        ("source", lambda a: a[::-1].copy(), "order of their frames"),
        ("source", lambda a: a.astype(np.int64), "expected uint16"),
        ("frame_seconds", lambda a: a * 0, "follow one another"),
        ("intensity_max", lambda a: a * np.nan, "intensity"),
        ("sizes", lambda a: a * np.inf, "has no size"),
        ("box_sizes", lambda a: a * 1e30, "box_sizes goes to"),
        ("report", lambda a: np.array(["[]"]), "report"),
    ],
)
def test_banks(tmp_path, tracks, name, change, words):
    bank = make_bank(tracks, BankOptions())
    setattr(bank, name, change(getattr(bank, name)))
    write_bank(tmp_path / "scene.npz", bank)
    with pytest.raises(DataError, match=words):
        read_bank(tmp_path / "scene.npz")
