# SPDX-License-Identifier: Apache-2.0
"""The KITTI layout: object, tracking, raw and odometry files agree with each other."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest

from lidistill.world.layouts.kitti import EARTH_RADIUS, LATITUDE, link
from lidistill.world.layouts.kitti_labels import Label, Track, tracklets_xml, wrap
from lidistill.world.presets import PRESETS

TYPES = {
    "Car",
    "Van",
    "Truck",
    "Pedestrian",
    "Person_sitting",
    "Cyclist",
    "Tram",
    "Misc",
    "DontCare",
}
SIZE = PRESETS["tiny"].kitti
FRAMES = [f"{k:06d}" for k in range((SIZE.train + SIZE.val) * SIZE.frames)]


@pytest.fixture(scope="module")
def root(tiny_world: Path) -> Path:
    return tiny_world / "kitti"


def calibration(path: Path) -> dict[str, np.ndarray]:
    rows = [line.split(":") for line in path.read_text().splitlines() if ":" in line]
    found = {name: np.array(values.split(), dtype=float) for name, values in rows}
    result = {}
    for name, values in found.items():
        matrix = np.eye(4)
        if len(values) == 9:
            matrix[:3, :3] = values.reshape(3, 3)
        else:
            matrix[:3] = values.reshape(3, 4)
        result[name] = matrix
    return result


def frame(root: Path, name: str, split: str = "training"):
    folder = root / split
    points = np.fromfile(folder / "velodyne" / f"{name}.bin", np.float32).reshape(-1, 4)
    calib = calibration(folder / "calib" / f"{name}.txt")
    rect = np.c_[points[:, :3].astype(float), np.ones(len(points))]
    rect = rect @ (calib["R0_rect"] @ calib["Tr_velo_to_cam"]).T
    pixels = rect @ calib["P2"].T
    return points, rect[:, :3], pixels[:, :2] / pixels[:, 2:3], calib


def labels(root: Path, name: str) -> list[list[str]]:
    path = root / "training" / "label_2" / f"{name}.txt"
    return [line.split() for line in path.read_text().splitlines()]


def in_box(rect: np.ndarray, words: list[str]) -> np.ndarray:
    height, width, length, x, y, z, turn = map(float, words[8:15])
    d = rect - [x, y, z]
    c, s = math.cos(turn), math.sin(turn)
    along, across = c * d[:, 0] - s * d[:, 2], s * d[:, 0] + c * d[:, 2]
    inside = (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)
    return inside & (d[:, 1] <= 0) & (d[:, 1] >= -height)


def test_image_sets(root):
    sets = {p.stem: p.read_text().split() for p in (root / "ImageSets").glob("*.txt")}
    assert sets["train"] + sets["val"] == sets["trainval"] == FRAMES
    assert not set(sets["train"]) & set(sets["val"])
    assert len(sets["test"]) >= 1
    for name in sets["trainval"]:
        for part in ("velodyne/{}.bin", "image_2/{}.png", "calib/{}.txt", "label_2/{}.txt"):
            assert (root / "training" / part.format(name)).exists()
    for name in sets["test"]:
        assert (root / "testing" / "velodyne" / f"{name}.bin").exists()
    assert not (root / "testing" / "label_2").exists()


def test_pictures_and_scans(root):
    for name in FRAMES:
        image = cv2.imread(str(root / "training" / "image_2" / f"{name}.png"))
        assert image.shape == (375, 1242, 3)
        points = frame(root, name)[0]
        assert np.isfinite(points).all()
        assert points[:, 3].min() >= 0
        assert points[:, 3].max() <= 1
        assert np.linalg.norm(points[:, :3], axis=1).min() > 1.0  # only real returns


def test_scan_is_stored_beam_by_beam_from_the_top(root):
    points = frame(root, FRAMES[0])[0].astype(float)
    elevation = np.degrees(np.arcsin(points[:, 2] / np.linalg.norm(points[:, :3], axis=1)))
    assert (np.diff(np.round(elevation, 1)) <= 0.15).all()
    first = np.degrees(np.arctan2(points[:40, 1], points[:40, 0]))
    assert (np.diff(first) > 0).all()


@pytest.mark.parametrize("name", FRAMES)
def test_label_lines(root, name):
    rows = labels(root, name)
    assert any(words[0] == "Car" for words in rows)
    kinds = [words[0] for words in rows]
    assert set(kinds) <= TYPES
    assert kinds == [k for k in kinds if k != "DontCare"] + [k for k in kinds if k == "DontCare"]
    for words in rows:
        assert len(words) == 15
        left, top, right, bottom = map(float, words[4:8])
        assert 0 <= left < right <= 1241
        assert 0 <= top < bottom <= 374
        if words[0] == "DontCare":
            assert words[1:3] == ["-1", "-1"]
            assert set(map(float, words[11:14])) == {-1000.0}
            continue
        alpha, turn, x, z = float(words[3]), float(words[14]), float(words[11]), float(words[13])
        assert abs(wrap(alpha - (turn - math.atan2(x, z)))) < 0.02
        assert 0 <= float(words[1]) <= 1
        assert words[2] in "0123"


@pytest.mark.parametrize("name", FRAMES)
def test_points_in_a_box_project_into_its_window(root, name):
    _, rect, pixels, _ = frame(root, name)
    in_image = (rect[:, 2] > 0) & (pixels > 0).all(axis=1) & (pixels < [1241, 374]).all(axis=1)
    total = good = 0
    for words in labels(root, name):
        if words[0] == "DontCare":
            continue
        window = np.array(words[4:8], dtype=float)
        inside = pixels[in_box(rect, words) & in_image]
        total += len(inside)
        good += ((inside >= window[:2] - 1) & (inside <= window[2:] + 1)).all(axis=1).sum()
    assert total > 200
    assert good / total > 0.995


def test_visible_objects_have_points(root):
    """Near, unoccluded objects were hit by the scanner."""
    near = hit = 0
    for name in FRAMES:
        _, rect, _, _ = frame(root, name)
        for words in labels(root, name):
            if words[0] in ("Car", "Truck", "Van") and words[2] == "0" and float(words[13]) < 40:
                near += 1
                hit += in_box(rect, words).sum() > 5
    assert near > 5
    assert hit / near > 0.95


def test_ground_plane(root):
    name = FRAMES[0]
    points, rect, _, _ = frame(root, name)
    lines = (root / "training" / "planes" / f"{name}.txt").read_text().splitlines()
    assert lines[:3] == ["# Plane", "Width 4", "Height 1"]
    plane = np.array(lines[3].split(), dtype=float)
    road = (np.abs(points[:, 2] + 1.73) < 0.04) & (np.abs(points[:, 1]) < 3)
    distance = rect[road] @ plane[:3] + plane[3]
    assert road.sum() > 100
    assert np.abs(distance).max() < 0.05
    assert plane[1] < -0.99  # up, in camera axes


def test_tracking_labels_match_object_labels(root):
    for number in range(SIZE.train + SIZE.val):
        text = (root / "tracking" / "training" / "label_02" / f"{number:04d}.txt").read_text()
        rows = [line.split() for line in text.splitlines()]
        for k in range(SIZE.frames):
            mine = [row for row in rows if int(row[0]) == k]
            other = labels(root, f"{number * SIZE.frames + k:06d}")
            assert [row[2] for row in mine] == [words[0] for words in other]
            for row, words in zip(mine, other, strict=True):
                np.testing.assert_allclose(
                    np.array(row[5:], dtype=float), np.array(words[3:], dtype=float), atol=0.006
                )
        tracks = {(row[0], row[1]) for row in rows if row[2] != "DontCare"}
        assert len(tracks) == sum(row[2] != "DontCare" for row in rows)  # one box a track and frame
        assert all(row[1] == "-1" for row in rows if row[2] == "DontCare")


def drives(root: Path) -> list[Path]:
    return sorted((root / "raw" / "2011_09_26").glob("*_sync"))


def test_tracklets_hold_the_labelled_boxes(root):
    drive = drives(root)[0]
    tree = ElementTree.fromstring((drive / "tracklet_labels.xml").read_text())
    items = tree.find("tracklets").findall("item")
    assert int(tree.find("tracklets/count").text) == len(items) > 10
    calib = calibration(root / "training" / "calib" / f"{FRAMES[0]}.txt")
    boxes = []
    for item in items:
        poses = item.find("poses").findall("item")
        assert int(item.find("poses/count").text) == len(poses)
        if int(item.find("first_frame").text) == 0:
            spot = [float(poses[0].find(key).text) for key in ("tx", "ty", "tz")]
            size = [float(item.find(key).text) for key in ("h", "w", "l")]
            boxes.append(
                (item.find("objectType").text, spot, size, float(poses[0].find("rz").text))
            )
    velo_to_rect = calib["R0_rect"] @ calib["Tr_velo_to_cam"]
    for words in labels(root, FRAMES[0]):
        if words[0] == "DontCare" or float(words[13]) > 60:
            continue
        gaps = []
        for kind, spot, size, turn in boxes:
            rect = (velo_to_rect @ [*spot, 1.0])[:3]
            same = kind == words[0] and np.allclose(
                size, [float(v) for v in words[8:11]], atol=0.006
            )
            same = same and abs(wrap(-turn - math.pi / 2 - float(words[14]))) < 0.01
            gaps.append(np.linalg.norm(rect - np.array(words[11:14], dtype=float)) if same else 99)
        assert min(gaps) < 0.02, words


def test_tracklet_boxes_hold_points_all_round(root):
    """Tracks cover the whole turn of the scanner, not only the camera's view."""
    drive = drives(root)[0]
    items = ElementTree.fromstring((drive / "tracklet_labels.xml").read_text()).find("tracklets")
    behind = [item for item in items.findall("item") if float(item.find("poses/item/tx").text) < -3]
    assert len(behind) > 3
    assert {int(item.find("poses/item/truncation").text) for item in behind} == {99}


def test_raw_files_are_the_object_files(root):
    mapping = (root / "devkit" / "mapping" / "train_mapping.txt").read_text().splitlines()
    order = (root / "devkit" / "mapping" / "train_rand.txt").read_text().strip().split(",")
    assert len(mapping) == len(order) == len(FRAMES)
    for k, name in enumerate(FRAMES):
        date, drive, number = mapping[int(order[k]) - 1].split()
        folder = root / "raw" / date / drive
        for raw, kept in (
            ("velodyne_points/data/{}.bin", "velodyne/{}.bin"),
            ("image_02/data/{}.png", "image_2/{}.png"),
        ):
            assert (folder / raw.format(number)).samefile(root / "training" / kept.format(name))


def test_links_fall_back_to_copies(tmp_path, monkeypatch):
    source = tmp_path / "a"
    source.write_bytes(b"xyz")

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    link(source, tmp_path / "b" / "c")
    link(source, tmp_path / "b" / "c")
    assert (tmp_path / "b" / "c").read_bytes() == b"xyz"


def test_poses_and_oxts_agree(root):
    """Camera poses from OXTS, by KITTI's own recipe, equal the odometry file."""
    calib = calibration(root / "training" / "calib" / f"{FRAMES[0]}.txt")
    velo_to_rect = calib["R0_rect"] @ calib["Tr_velo_to_cam"]
    rows = np.loadtxt(root / "odometry" / "poses" / "00.txt").reshape(-1, 3, 4)
    assert len(rows) == SIZE.frames
    np.testing.assert_allclose(rows[0], np.eye(4)[:3], atol=1e-9)
    assert 0.3 < np.linalg.norm(rows[1][:, 3]) < 1.2  # 5 to 9 m/s at 10 Hz
    poses = []
    for path in sorted((drives(root)[0] / "oxts" / "data").glob("*.txt")):
        values = np.array(path.read_text().split(), dtype=float)
        assert len(values) == 30
        lat, lon, alt, roll, pitch, yaw = values[:6]
        scale = math.cos(math.radians(LATITUDE))
        x = scale * math.radians(lon) * EARTH_RADIUS
        y = scale * EARTH_RADIUS * math.log(math.tan(math.radians(90 + lat) / 2))
        cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (math.cos, math.sin))
        about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = about_z @ about_y @ about_x, (x, y, alt)
        poses.append(pose @ np.linalg.inv(velo_to_rect @ calib["Tr_imu_to_velo"]))
    for pose, row in zip(poses, rows, strict=True):
        np.testing.assert_allclose((np.linalg.inv(poses[0]) @ pose)[:3], row, atol=2e-4)


def test_static_points_line_up_across_frames(root):
    """Scans brought together by the poses: the world stands still."""
    first, second = (frame(root, name) for name in FRAMES[:2])
    rows = np.loadtxt(root / "odometry" / "poses" / "00.txt").reshape(-1, 3, 4)
    moved = second[1] @ rows[1][:, :3].T + rows[1][:, 3]
    walls = (first[0][:, 2] > -0.8) & (np.linalg.norm(first[1], axis=1) < 40)
    from scipy.spatial import cKDTree

    gap, _ = cKDTree(moved).query(first[1][walls])
    unmoved, _ = cKDTree(second[1]).query(first[1][walls])
    # most points have a neighbour on the same wall either way; the far tail tells motion
    assert np.percentile(gap, 90) < 0.5 * np.percentile(unmoved, 90)


def test_label_text_and_xml_of_known_values():
    box = np.array([5.0, 1.0, -1.7, 4.0, 1.8, 1.5, 0.1])
    window = (1.0, 2.0, 3.0, 4.0)
    label = Label(3, "Car", 0.25, 1, 0.5, window, (1.5, 1.8, 4.0), (0.1, 1.6, 9.0), -1.67, box)
    assert label.line() == "Car 0.25 1 0.50 1.00 2.00 3.00 4.00 1.50 1.80 4.00 0.10 1.60 9.00 -1.67"
    text = tracklets_xml([Track("Car", 2, [box, box], [0, 1], [0, 2])])
    item = ElementTree.fromstring(text).find("tracklets/item")
    assert item.find("first_frame").text == "2"
    assert [p.find("truncation").text for p in item.find("poses").findall("item")] == ["0", "2"]
    assert float(item.find("l").text) == 4.0


def test_wrap():
    np.testing.assert_allclose(
        [wrap(a) for a in (0.1, 3.5, -3.5, 7.0)],
        [0.1, 3.5 - 2 * math.pi, 2 * math.pi - 3.5, 7 - 2 * math.pi],
    )
