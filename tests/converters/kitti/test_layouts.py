# SPDX-License-Identifier: Apache-2.0
"""KITTI's layout as others have it: other images or none, own classes, names, columns, damage."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lidistill import cli
from lidistill.converters.contents import Contents
from lidistill.converters.infos import load_infos
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.io import DataError, read_manifest
from tests.converters.fake_kitti import write_fake_kitti


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_kitti(tmp_path_factory.mktemp("kitti"), training=2, testing=1)


@pytest.fixture
def copy(fake: Path, tmp_path: Path) -> Path:
    shutil.copytree(fake, tmp_path / "copy")
    return tmp_path / "copy"


def frames_of(path: Path) -> list[dict[str, Any]]:
    return load_infos(path, "kitti").frames


def relabel(root: Path, old: str, new: str, frame: str = "000000") -> None:
    path = root / "training" / "label_2" / f"{frame}.txt"
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_images_of_another_kind(copy: Path, suffix: str) -> None:
    for path in copy.glob("t*ing/image_2/*.png"):
        Image.open(path).save(path.with_suffix(suffix), format="JPEG")
        path.unlink()
    written = convert_kitti(copy)
    assert frames_of(written["train"])[0]["images"]["CAM2"]["img_path"] == f"000000{suffix}"
    assert frames_of(written["test"])[0]["images"]["CAM2"]["img_path"] == f"000000{suffix}"


def test_two_images_of_one_frame(copy: Path) -> None:
    shutil.copy(copy / "training/image_2/000001.png", copy / "training/image_2/000001.jpg")
    with pytest.raises(DataError, match=r"(?s)one image.*000001\.png and 000001\.jpg.*000001"):
        convert_kitti(copy)


def test_lidar_alone(copy: Path, fake: Path, tmp_path: Path, caplog) -> None:
    with_images = frames_of(convert_kitti(fake, tmp_path / "o")["train"])[0]
    for part in ("training", "testing"):
        shutil.rmtree(copy / part / "image_2")
    for path in copy.glob("t*ing/calib/*.txt"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("P")]
        path.write_text("\n".join(lines))
    frame = frames_of(convert_kitti(copy)["train"])[0]
    assert "LiDAR alone is converted" in caplog.text
    assert set(frame["images"]) == {"CAM2", "R0_rect"}
    assert set(frame["images"]["CAM2"]) == {"lidar2cam"}
    for instance, whole in zip(frame["instances"], with_images["instances"], strict=True):
        assert instance["bbox_3d"] == whole["bbox_3d"]
        assert instance["category"] == whole["category"]
        assert not {"bbox", "bbox_label", "center_2d"} & set(instance)
        assert instance["difficulty"] == -1
        assert instance["num_lidar_pts"] >= whole["num_lidar_pts"]  # the camera sees a part
    assert frame["cam_instances"] == {"CAM2": []}


def test_names_that_are_no_numbers(copy: Path) -> None:
    for path in list(copy.glob("training/*/000000.*")):
        path.rename(path.with_name(f"frame-A1{path.suffix}"))
    (copy / "ImageSets/train.txt").write_text("frame-A1\n")
    written = convert_kitti(copy)
    frame = frames_of(written["train"])[0]
    assert (frame["token"], frame["sample_idx"]) == ("training_frame-A1", 1)
    assert frame["lidar_points"]["lidar_path"] == "frame-A1.bin"
    assert [f["token"] for f in frames_of(written["trainval"])][1] == "training_000001"


def test_own_classes_are_named_and_can_be_taught(copy: Path, tmp_path: Path, caplog) -> None:
    relabel(copy, "Car ", "forklift ")
    relabel(copy, "Van ", "VAN ")
    relabel(copy, "DontCare ", "dontcare ")
    written = convert_kitti(copy, tmp_path / "a")
    assert "classes that are not taught: forklift 1; to teach them: --classes" in caplog.text
    labels = {
        i["category"]: i["bbox_label_3d"] for i in frames_of(written["train"])[0]["instances"]
    }
    assert labels == {
        "forklift": -1, "Pedestrian": 0, "Cyclist": 1, "Van": 3, "Misc": 7, "DontCare": -1,
    }  # fmt: skip
    caplog.clear()
    written = convert_kitti(copy, tmp_path / "b", classes=["Forklift", "Car"])
    assert "forklift" not in caplog.text
    infos = load_infos(written["train"], "kitti")
    labels = {i["category"]: i["bbox_label_3d"] for i in infos.frames[0]["instances"]}
    assert labels == {
        "Forklift": 8, "Pedestrian": -1, "Cyclist": -1, "Van": -1, "Misc": -1, "DontCare": -1,
    }  # fmt: skip
    assert infos.metainfo["taught"] == ["Forklift", "Car"]
    assert infos.metainfo["categories"]["Forklift"] == 8
    assert "train: no box of class Car" in caplog.text


def test_contents_stand_in_metainfo_and_manifest(fake: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = ["create_data", "kitti", "--root", str(fake), "--out-dir", str(tmp_path)]
    assert cli.main([*words, "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "What is in your data" in said
    assert "reflectance" in said
    infos = load_infos(tmp_path / "kitti_infos_train.pkl")
    found = Contents.from_dict(infos.metainfo["contents"])
    assert read_manifest(infos.path)["contents"] == infos.metainfo["contents"]
    assert (found.frames, found.clouds, found.per_frame) == (1, 1, (30_000, 30_000))
    instances = [i for i in infos.frames[0]["instances"] if i["category"] != "DontCare"]
    assert sum(entry["boxes"] for entry in found.boxes.values()) == len(instances)
    empty = sum(entry["without_points"] for entry in found.boxes.values())
    assert empty == sum(i["num_lidar_pts"] == 0 for i in instances)
    path = fake / "training/velodyne/000000.bin"
    points = np.fromfile(path, "<f4").reshape(-1, 4)
    assert found.columns["x"] == (points[:, 0].min(), points[:, 0].max())
    assert 0 < found.cameras["CAM2"]["inside"] < found.cameras["CAM2"]["in_front"] < 30_000
    both = Contents.from_dict(read_manifest(tmp_path / "kitti_infos_trainval.pkl")["contents"])
    assert both.frames == 2


def test_an_inverted_transform_is_warned_of(copy: Path, caplog) -> None:
    for path in copy.glob("training/calib/*.txt"):
        lines = path.read_text().splitlines()
        index = next(i for i, line in enumerate(lines) if line.startswith("Tr_velo_to_cam"))
        matrix = np.vstack([np.array(lines[index].split()[1:], float).reshape(3, 4), [0, 0, 0, 1]])
        inverse = np.linalg.inv(matrix)[:3].ravel()
        lines[index] = "Tr_velo_to_cam: " + " ".join(map(repr, inverse.tolist()))
        path.write_text("\n".join(lines))
    convert_kitti(copy)
    assert "points in front of this camera fall into its image" in caplog.text
    assert "most of these hold no point" in caplog.text


def test_more_columns(copy: Path, tmp_path: Path) -> None:
    expected = frames_of(convert_kitti(copy, tmp_path / "a")["train"])[0]["instances"]
    for path in copy.glob("t*ing/velodyne/*.bin"):
        points = np.fromfile(path, "<f4").reshape(-1, 4)
        np.c_[points, np.arange(len(points)) % 64].astype("<f4").tofile(path)
    written = convert_kitti(copy, tmp_path / "b", columns=5)
    frame = frames_of(written["train"])[0]
    assert frame["lidar_points"]["num_pts_feats"] == 5
    assert frame["instances"] == expected
    contents = read_manifest(written["train"])["contents"]
    assert contents["columns"]["value 5"] == [0, 63]
    with pytest.raises(ValueError, match="4 or more"):
        convert_kitti(copy, columns=3)


def test_points_that_are_not_finite(copy: Path) -> None:
    path = copy / "training/velodyne/000001.bin"
    points = np.fromfile(path, "<f4").reshape(-1, 4)
    points[17, 3] = np.nan
    points.tofile(path)
    with pytest.raises(DataError, match=r"(?s)NaN.*000001\.bin.*training_000001"):
        convert_kitti(copy)


def test_tracking_labels_that_are_none(copy: Path) -> None:
    folder = copy / "devkit/mapping"
    folder.mkdir(parents=True)
    (folder / "train_mapping.txt").write_text("d drive 0\nd drive 1\n")
    (folder / "train_rand.txt").write_text("1,0")
    with pytest.raises(DataError, match=r"(?s)each of the 2 lines once.*train_mapping\.txt"):
        convert_kitti(copy)
    (folder / "train_rand.txt").write_bytes(b"\xef\xbb\xbf1,2")
    (copy / "SYNTHETIC").touch()
    tracking = copy / "tracking/training/label_02"
    tracking.mkdir(parents=True)
    (tracking / "0000.txt").write_text("0 1 Car 0\n0 nan Car 0\n")
    with pytest.raises(DataError, match=r"(?s)Line 2: expected frame, track.*0000\.txt"):
        convert_kitti(copy)
