# SPDX-License-Identifier: Apache-2.0
"""The code of docs/tutorials/own_vehicle.md runs, and describes the embedded world rightly."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lidistill.converters.infos import load_infos
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.converters.superpixels.make import make_superpixels
from lidistill.engine.train import train
from lidistill.io import DataError

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
sys.path.insert(0, str(TUTORIALS))

import check_rig  # noqa: E402
import own_vehicle  # noqa: E402
import record_world  # noqa: E402

INFOS = "lidistill_infos_train.pkl"


@pytest.fixture(scope="module")
def recording(tiny_world, tmp_path_factory) -> Path:
    """Two drives of the embedded world as a vehicle records them, described. Read only."""
    out = tmp_path_factory.mktemp("own") / "recording"
    record_world.main(tiny_world / "nuscenes", out, drives=2)
    own_vehicle.main(out)
    return out


def test_the_dataset_has_at_most_sixty_lines_and_is_on_the_page():
    assert len((TUTORIALS / "own_vehicle.py").read_text().splitlines()) <= 60
    page = (TUTORIALS / "own_vehicle.md").read_text()
    for name in ("own_vehicle.py", "check_rig.py"):
        assert f"{{literalinclude}} {name}" in page


def test_describes_what_create_data_describes(recording, tiny_world, tmp_path):
    files = convert_nuscenes(tiny_world / "nuscenes", "v1.0-mini", out_dir=tmp_path)
    theirs = {}
    for path in files.values():
        for info in load_infos(path).frames:
            theirs[info["scene_name"], round(info["timestamp"] * 1e6)] = info
    ours = load_infos(recording / INFOS, need=("images", "lidar_points")).frames
    assert len(ours) == 4
    for info in ours:
        drive, time = info["token"].rsplit("_", 1)
        expected = theirs[drive, int(time)]
        assert info["lidar_points"]["num_pts_feats"] == 5
        assert set(info["images"]) == set(expected["images"])
        for name, image in info["images"].items():
            wanted = expected["images"][name]
            np.testing.assert_allclose(image["lidar2cam"], wanted["lidar2cam"], atol=1e-6)
            np.testing.assert_allclose(image["cam2img"], wanted["cam2img"])
            assert (image["height"], image["width"]) == (wanted["height"], wanted["width"])
            copied = (recording / image["img_path"]).read_bytes()
            source = tiny_world / "nuscenes/samples" / name / wanted["img_path"]
            assert copied == source.read_bytes()


def test_an_image_too_far_in_time_is_left_out(recording, tmp_path):
    root = Path(shutil.copytree(recording, tmp_path / "copy"))
    drive = sorted(root.glob("*/calibration.json"))[0].parent
    image = sorted((drive / "CAM_FRONT").iterdir())[0]
    image.unlink()  # the next one is half a second away
    own_vehicle.main(root)
    first, second, *_ = load_infos(root / INFOS, need=("images",)).frames
    assert "CAM_FRONT" not in first["images"]
    assert len(first["images"]) == 5
    assert "CAM_FRONT" in second["images"]


def test_poses_are_interpolated():
    half = np.sqrt(0.5)  # a quarter turn about z
    poses = np.array([[0, 0, 0, 0, 0, 0, 0, 1], [10, 4, 2, 0, 0, 0, half, half]], dtype=float)
    pose = own_vehicle.pose_at(5, poses)
    np.testing.assert_allclose(pose[:3, 3], [2, 1, 0])
    np.testing.assert_allclose(pose[:3, :3] @ [1, 0, 0], [half, half, 0], atol=1e-12)
    with pytest.raises(ValueError, match="range"):
        own_vehicle.pose_at(11, poses)


def test_picture_of_the_pairs(recording, tmp_path):
    picture = tmp_path / "rig.png"
    counts = check_rig.main(recording, picture, 1)
    rig = json.loads(sorted(recording.glob("*/calibration.json"))[0].read_text())
    assert set(counts) == set(rig["cameras"])
    assert min(counts.values()) > 200
    assert cv2.imread(str(picture)).shape == (908, 2416, 3)


def test_slidr_trains_on_it(recording, tmp_path):
    make_superpixels(
        recording / INFOS, recording, recording / "superpixels/slic_150", sigma=1, scale=0.5
    )
    checkpoint = train(
        ROOT / "configs/slidr/demo_pretrain.py",
        tmp_path / "work",
        data_root=str(recording),
        options={"iters": 1, "model.teacher.checkpoint": "random"},
        quiet=True,
    )
    assert checkpoint.name == "iter_1.pth"


@pytest.fixture
def drive(recording, tmp_path) -> Path:
    """A drive that a test may change."""
    root = Path(shutil.copytree(recording, tmp_path / "copy"))
    return sorted(root.glob("*/calibration.json"))[0].parent


def test_a_byte_order_mark_and_stray_files_change_nothing(recording, drive):
    for name in ("calibration.json", "poses.csv"):
        path = drive / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    (drive / "CAM_FRONT" / ".DS_Store").write_text("x")
    (drive / "lidar" / "Thumbs.db").write_text("x")
    own_vehicle.main(drive.parent)
    assert (drive.parent / INFOS).read_bytes() == (recording / INFOS).read_bytes()


FAR = np.diag([1.0, 1, 1, 1])
FAR[0, 3] = 99999999999
FAULTS = [
    (("lidar", "columns"), 4, r"(?s)columns.*|\.bin"),
    (("lidar", "columns"), "5", "'columns': expected a whole number from 3, got '5'"),
    (("lidar", "vehicle_from_lidar"), FAR.tolist(), "within 1000 m"),
    (("lidar", "vehicle_from_lidar"), (2 * np.eye(4)).tolist(), "rotation"),
    (("cameras", "CAM_BACK", "vehicle_from_camera"), np.eye(3).tolist(), "4 x 4"),
    (("cameras", "CAM_BACK", "intrinsics"), np.diag([0.0, 1, 1]).tolist(), "focal lengths"),
    (("cameras", "CAM_BACK", "size"), [7, 5], "of CAM_BACK of 7 x 5 pixels"),
    (("cameras", "CAM_BACK", "size"), None, "'size': expected two whole numbers"),
    (("lidar",), [], "'lidar': expected a dictionary"),
]


@pytest.mark.parametrize(("place", "value", "words"), FAULTS)
def test_a_rig_that_cannot_be_is_named(drive, place, value, words):
    rig = json.loads((drive / "calibration.json").read_text())
    part = rig
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    (drive / "calibration.json").write_text(json.dumps(rig))
    with pytest.raises(DataError, match=words) as caught:
        own_vehicle.main(drive.parent)
    assert str(drive) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[:1], "two or more rows"),
        (lambda rows: ["time,x,y", *rows], "Expected rows of numbers"),
        (lambda rows: [rows[1], rows[0], *rows[2:]], "in the order of time, but row 2"),
        (lambda rows: [rows[0], *rows], "in the order of time, but row 2"),
        (lambda rows: [row.rpartition(",")[0] for row in rows], "two or more rows"),
        (lambda rows: [rows[0].rpartition(",")[0] + ",nan", *rows[1:]], "Row 1"),
        (lambda rows: [rows[0].split(",")[0] + ",0,0,0,0,0,0,0", *rows[1:]], "Row 1: .*length 1"),
        (lambda rows: [rows[0].split(",")[0] + ",99999,0,0,0,0,0,1", *rows[1:]], "Row 2 is"),
        (lambda rows: ["-5" + rows[0][rows[0].index(",") :], *rows[1:]], "Row 1: .*from 0, got -5"),
        (lambda rows: rows[len(rows) // 2 :], "poses.csv has the range"),
    ],
)
def test_poses_that_cannot_be_are_named(drive, change, words):
    path = drive / "poses.csv"
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(ValueError, match=words) as caught:
        own_vehicle.main(drive.parent)
    assert "poses.csv" in str(caught.value)


def test_points_show_and_cameras_keep_their_shape():
    """A wide image and a tall one in cells of one size; a point is a disc, not one pixel."""
    for shape in ((900, 1600, 3), (1600, 900, 3), (400, 1600, 3)):
        image = np.full(shape, 90, np.uint8)
        middle = np.array([[shape[1] / 2 - 0.5, shape[0] / 2 - 0.5]])
        cell = check_rig.fit(image, middle, np.array([[255, 0, 0]], np.uint8))
        assert cell.shape == (450, 800, 3)
        scale = min(450 / shape[0], 800 / shape[1])
        filled = cell.any(axis=2)
        assert filled.any(axis=1).sum() == round(shape[0] * scale)
        assert filled.any(axis=0).sum() == round(shape[1] * scale)
        red = np.argwhere(cell[..., 0] > 200)
        assert len(red) >= 9
        expected = np.array([shape[0], shape[1]]) * scale / 2 - 0.5
        np.testing.assert_allclose(red.mean(axis=0), expected, atol=0.6)


def test_a_folder_without_drives_leaves_nothing(tmp_path):
    with pytest.raises(SystemExit, match=r"calibration\.json"):
        own_vehicle.main(tmp_path / "recordingz")
    assert not (tmp_path / "recordingz").exists()


def test_a_drive_without_pictures_of_a_camera_is_named(recording, tmp_path):
    root = Path(shutil.copytree(recording, tmp_path / "copy"))
    drive = sorted(root.glob("*/calibration.json"))[0].parent
    shutil.rmtree(drive / "CAM_BACK")
    with pytest.raises(SystemExit, match=rf"{drive.name}.*CAM_BACK"):
        own_vehicle.main(root)
