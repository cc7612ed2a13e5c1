# SPDX-License-Identifier: Apache-2.0
"""KITTI converter: values against naive code, splits, damage, kill -9."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidistill.converters.infos import KITTI_CLASSES, load_infos
from lidistill.converters.kitti.convert import WORK_FOLDER, convert_kitti
from lidistill.converters.kitti.instances import difficulty
from lidistill.converters.kitti.splits import find_frames
from lidistill.io import DataError, read_manifest
from tests.converters.fake_kitti import P2, SIZE, TURN, write_fake_kitti


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_kitti(tmp_path_factory.mktemp("kitti"))


@pytest.fixture(scope="module")
def out(fake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    written = convert_kitti(fake, folder)
    assert list(written) == ["train", "val", "trainval", "test"]
    return folder


@pytest.fixture(scope="module")
def frames(out: Path) -> list[dict[str, Any]]:
    return load_infos(out / "kitti_infos_trainval.pkl", "kitti").frames


@pytest.fixture
def copy(fake: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(fake, tmp_path / "copy")
    return tmp_path / "copy"


def _lines(fake: Path, frame: dict[str, Any]) -> list[list[str]]:
    path = fake / "training" / "label_2" / f"{frame['sample_idx']:06d}.txt"
    return [line.split() for line in path.read_text().splitlines()]


def test_splits_and_order(out: Path) -> None:
    found = {
        split: [f["sample_idx"] for f in load_infos(out / f"kitti_infos_{split}.pkl").frames]
        for split in ("train", "val", "trainval", "test")
    }
    assert found == {
        "train": [0, 2, 4],
        "val": [1, 3, 5],
        "trainval": [0, 2, 4, 1, 3, 5],
        "test": [0, 1],
    }
    assert read_manifest(out / "kitti_infos_val.pkl")["parameters"]["splits_from"] == "ImageSets"
    assert not (out / WORK_FOLDER).exists()


def test_images_and_transforms(frames: list[dict], fake: Path) -> None:
    for frame in frames:
        number = frame["sample_idx"]
        image = frame["images"]["CAM2"]
        assert (image["width"], image["height"]) == (SIZE[0] + number, SIZE[1])
        assert image["img_path"] == f"{number:06d}.png"
        assert frame["token"] == image["sample_data_token"] == f"training_{number:06d}"
        text = (fake / "training" / "calib" / f"{number:06d}.txt").read_text().split("R0_rect: ")[1]
        rectification = np.eye(4)
        rectification[:3, :3] = np.array(text.split()[:9], float).reshape(3, 3)
        turn = np.vstack([TURN, [0, 0, 0, 1]])
        projection = np.vstack([P2, [0, 0, 0, 1]])
        np.testing.assert_allclose(image["lidar2cam"], rectification @ turn, atol=1e-10)
        np.testing.assert_allclose(image["cam2img"], projection, atol=1e-10)
        expected = projection @ rectification @ turn
        np.testing.assert_allclose(image["lidar2img"], expected, atol=1e-8)
        np.testing.assert_allclose(frame["images"]["R0_rect"], rectification, atol=1e-10)
        assert set(frame["images"]) == {"CAM0", "CAM1", "CAM2", "CAM3", "R0_rect"}
        np.testing.assert_allclose(frame["lidar_points"]["Tr_velo_to_cam"], turn, atol=1e-10)


def test_instances_line_by_line(frames: list[dict], fake: Path) -> None:
    seen = 0
    for frame in frames:
        lines = _lines(fake, frame)
        assert len(lines) == len(frame["instances"])
        for i, (line, instance) in enumerate(zip(lines, frame["instances"], strict=True)):
            values = [float(value) for value in line[1:]]
            assert instance["truncated"] == values[0]
            assert instance["occluded"] == int(values[1])
            assert instance["alpha"] == values[2]
            assert instance["bbox"] == values[3:7]
            height, width, length = values[7:10]
            assert instance["bbox_3d"] == [*values[10:13], length, height, width, values[13]]
            label = KITTI_CLASSES.index(line[0]) if line[0] in KITTI_CLASSES else -1
            assert instance["bbox_label"] == instance["bbox_label_3d"] == label
            assert instance["group_id"] == i
            assert instance["index"] == (-1 if line[0] == "DontCare" else i)
            assert instance["score"] == 0.0
            center = np.array([values[10], values[11] - height / 2, values[12], 1.0])
            u, v, depth = P2 @ center
            assert instance["depth"] == pytest.approx(depth)
            assert instance["center_2d"] == pytest.approx([u / depth, v / depth])
            seen += 1
    assert seen == 30


def _count_naively(points: np.ndarray, frame: dict[str, Any], instance: dict[str, Any]) -> int:
    """Point by point: in the image, within 100 m, and in the upright box of the LiDAR frame."""
    image = frame["images"]["CAM2"]
    lidar_from_camera = np.linalg.inv(image["lidar2cam"])
    x, y, z, length, height, width, turn = instance["bbox_3d"]
    bottom = lidar_from_camera @ [x, y, z, 1.0]
    yaw = -turn - np.pi / 2
    count = 0
    for point in points[:, :3].astype(float):
        u, v, depth = (np.array(image["lidar2img"]) @ [*point, 1.0])[:3]
        if not (0.001 < depth < 100 and 0 < u / depth < image["width"]):
            continue
        if not 0 < v / depth < image["height"]:
            continue
        dx, dy, dz = point - bottom[:3]
        along = np.cos(yaw) * dx + np.sin(yaw) * dy
        across = np.cos(yaw) * dy - np.sin(yaw) * dx
        count += abs(along) <= length / 2 and abs(across) <= width / 2 and 0 <= dz <= height
    return int(count)


def test_point_counts_against_a_naive_loop(frames: list[dict], fake: Path) -> None:
    frame = frames[0]
    path = fake / "training" / "velodyne" / frame["lidar_points"]["lidar_path"]
    points = np.fromfile(path, "<f4").reshape(-1, 4)
    counts = [instance["num_lidar_pts"] for instance in frame["instances"]]
    assert sum(counts[:-1]) > 10
    assert counts[-1] == -1  # DontCare
    for count, instance in zip(counts[:-1], frame["instances"], strict=False):
        x, _, z = instance["bbox_3d"][:3]  # only points around the box, for the test's time
        near = np.hypot(points[:, 0] - z, points[:, 1] + x) < 8
        assert count == _count_naively(points[near], frame, instance)


def test_difficulty_against_the_benchmarks_rules() -> None:
    rng = np.random.default_rng(0)
    heights = rng.choice([20.0, 25.0, 25.1, 40.0, 40.1], 500)
    occluded, truncated = rng.integers(-1, 4, 500), rng.choice([0.0, 0.15, 0.3, 0.5, 0.6, -1], 500)

    def naive(h: float, o: int, t: float) -> int:
        if h > 40 and o <= 0 and t <= 0.15:
            return 0
        if h > 25 and o <= 1 and t <= 0.3:
            return 1
        return 2 if h > 25 and o <= 2 and t <= 0.5 else -1

    expected = list(map(naive, heights, occluded, truncated))
    assert set(expected) == {-1, 0, 1, 2}
    assert difficulty(heights, occluded, truncated).tolist() == expected


def test_camera_instances(frames: list[dict], fake: Path) -> None:
    count = 0
    for frame in frames:
        by_center = {tuple(i["center_2d"]): i for i in frame["instances"]}
        for instance in frame["cam_instances"]["CAM2"]:
            original = by_center[tuple(instance["center_2d"])]
            assert instance["bbox_3d"] == original["bbox_3d"]
            assert instance["velocity"] == -1
            x, y, z, length, height, width, turn = instance["bbox_3d"]
            pixels = []
            for a in (-length / 2, length / 2):
                for b in (-height, 0):
                    for c in (-width / 2, width / 2):
                        corner = [
                            x + np.cos(turn) * a + np.sin(turn) * c,
                            y + b,
                            z - np.sin(turn) * a + np.cos(turn) * c,
                            1,
                        ]
                        u, v, depth = P2 @ corner
                        pixels.append([u / depth, v / depth])
            low, high = np.min(pixels, axis=0), np.max(pixels, axis=0)
            size = np.array([frame["images"]["CAM2"]["width"], frame["images"]["CAM2"]["height"]])
            if (low >= 0).all() and (high <= size).all():
                np.testing.assert_allclose(instance["bbox"], [*low, *high], atol=1e-8)
                count += 1
    assert count > 3


def test_test_frames_have_no_instances(out: Path) -> None:
    for frame in load_infos(out / "kitti_infos_test.pkl", "kitti").frames:
        assert frame["token"].startswith("testing_")
        assert frame["instances"] == []
        assert frame["cam_instances"] == {"CAM2": []}


def test_planes(fake: Path, tmp_path: Path) -> None:
    written = convert_kitti(fake, tmp_path, with_plane=True)
    for frame in load_infos(written["train"]).frames:
        assert frame["plane"] == [-0.01, -1.0, 0.02, 1.65]
    assert "plane" not in load_infos(written["test"]).frames[0]


def test_jobs_do_not_change_the_bytes(
    fake: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lidistill.converters.kitti.convert.SHARD", 2)
    convert_kitti(fake, tmp_path, jobs=2)
    _assert_same(tmp_path, out)


def _assert_same(folder: Path, reference: Path) -> None:
    names = sorted(path.name for path in reference.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), name


KILLED = """
import os, signal, sys
import lidistill.converters.kitti.convert as module
module.SHARD = 2
real, done = module.frame_info, []
def dying(frame, *others):
    if len(done) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(frame)
    return real(frame, *others)
module.frame_info = dying
module.convert_kitti(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("after", [1, 5])
def test_kill_between_frames(
    fake: Path, out: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", KILLED, str(fake), str(tmp_path), str(after)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(list((tmp_path / WORK_FOLDER).glob("*.pkl"))) == after // 2
    assert not list(tmp_path.glob("*.pkl"))
    monkeypatch.setattr("lidistill.converters.kitti.convert.SHARD", 2)
    done: list[str] = []
    real = sys.modules["lidistill.converters.kitti.convert"]._convert_shard
    monkeypatch.setattr(
        "lidistill.converters.kitti.convert._convert_shard",
        lambda item, **keywords: (done.append(item[0]), real(item, **keywords)),
    )
    convert_kitti(fake, tmp_path)
    assert len(done) == 4 - after // 2  # the others were done before the kill
    _assert_same(tmp_path, out)


def test_labels_written_in_their_place_are_converted_again(copy: Path) -> None:
    def first() -> list[float]:
        return load_infos(convert_kitti(copy)["train"]).frames[0]["instances"][0]["bbox_3d"]

    before = first()
    path = copy / "training" / "label_2" / "000000.txt"
    time = path.parent.stat().st_mtime_ns
    words = path.read_text().split(" ")
    words[12] = "1.50"
    path.write_text(" ".join(words))
    assert path.parent.stat().st_mtime_ns == time
    assert before[1] != 1.5
    assert first()[1] == 1.5


def test_splits_from_files(copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(copy / "ImageSets")
    written = convert_kitti(copy, tmp_path / "o")
    assert "splits derived from the files: train 3, val 3, test 2" in caplog.text
    numbers = [frame["sample_idx"] for frame in load_infos(written["val"]).frames]
    assert numbers == [1, 3, 5]
    assert read_manifest(written["val"])["parameters"]["splits_from"] == "files"


def test_some_lists_only(copy: Path) -> None:
    for name in ("train", "val", "test"):
        (copy / "ImageSets" / f"{name}.txt").unlink()
    (copy / "ImageSets" / "trainval.txt").write_text("000004\n3\n")
    assert find_frames(copy) == ({"trainval": ["000004", "000003"]}, "ImageSets")


def test_not_kitti_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)KITTI's object benchmark.*--root.*lidistill world"):
        convert_kitti(tmp_path)


@pytest.mark.parametrize("folder", ["velodyne", "image_2", "calib", "label_2"])
def test_missing_file(copy: Path, tmp_path: Path, folder: str) -> None:
    next((copy / "training" / folder).glob("000002.*")).unlink()
    pattern = rf"(?s)not found.*{folder}.000002.*sample: training_000002.*--skip-incomplete"
    with pytest.raises(DataError, match=pattern):
        convert_kitti(copy, tmp_path / "o")
    assert not list((tmp_path / "o").glob("*.pkl"))
    written = convert_kitti(copy, tmp_path / "o", skip_incomplete=True)
    assert [frame["sample_idx"] for frame in load_infos(written["train"]).frames] == [0, 4]


def test_reduced_points(copy: Path, tmp_path: Path) -> None:
    (copy / "training" / "velodyne").rename(copy / "training" / "velodyne_reduced")
    with pytest.raises(DataError, match=r"(?s)not found.*--points velodyne_reduced"):
        convert_kitti(copy, tmp_path / "o")
    written = convert_kitti(copy, tmp_path / "o", points="velodyne_reduced")
    folders = {s: load_infos(p).metainfo["points_folder"] for s, p in written.items()}
    assert folders == {
        "train": "velodyne_reduced",
        "val": "velodyne_reduced",
        "trainval": "velodyne_reduced",
        "test": "velodyne",  # there are no reduced ones
    }
    with pytest.raises(ValueError, match="velodyne, velodyne_reduced"):
        convert_kitti(copy, tmp_path / "o", points="lidar")


@pytest.mark.parametrize(
    ("path", "size", "message"),
    [
        ("training/velodyne/000001.bin", 33, "cut"),
        ("testing/velodyne/000001.bin", 33, "cut"),
        ("training/image_2/000001.png", 5, "does not open"),
        ("training/calib/000001.txt", 0, "is missing"),
        ("training/calib/000001.txt", 250, "P1: expected 12 values, got"),
        ("training/label_2/000001.txt", 100, "Line 2: expected 15 fields"),
    ],
)
def test_cut_file(copy: Path, tmp_path: Path, path: str, size: int, message: str) -> None:
    os.truncate(copy / path, size)
    token = f"{path.partition('/')[0]}_000001"
    with pytest.raises(DataError, match=rf"(?s){message}.*{path}.*{token}.*extract"):
        convert_kitti(copy, tmp_path / "o")
