# SPDX-License-Identifier: Apache-2.0
"""SemanticKITTI converter: values against naive code, splits, damage, resuming."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from lidistill import cli
from lidistill.converters.infos import load_infos
from lidistill.converters.semantic_kitti import convert as semantic_kitti
from lidistill.converters.semantic_kitti.convert import WORK_FOLDER, convert_semantic_kitti
from lidistill.converters.semantic_kitti.labels import (
    SEMANTIC_KITTI_CLASSES,
    SEQUENCES,
    STORED_LABELS,
    UNKNOWN,
    semantic_kitti_label_table,
)
from lidistill.converters.semantic_kitti.poses import lidar_poses
from lidistill.converters.semantic_kitti.splits import find_sequences
from lidistill.io import DataError, read_manifest
from tests.converters.fake_semantic_kitti import TURN, write_fake_semantic_kitti


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_semantic_kitti(tmp_path_factory.mktemp("semantickitti"))


@pytest.fixture
def copy(fake: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(fake, tmp_path / "copy")
    return tmp_path / "copy"


def test_frames_name_scans_and_labels_in_order(fake: Path, tmp_path: Path) -> None:
    written = convert_semantic_kitti(fake, tmp_path)
    assert list(written) == ["train", "val", "test"]
    infos = load_infos(written["train"], "semantickitti")
    assert infos.metainfo["categories"]["traffic-sign"] == 19
    expected = [(name, i) for name in ("00", "02") for i in range(3)]
    for index, (frame, (name, i)) in enumerate(zip(infos.frames, expected, strict=True)):
        assert (frame["sample_idx"], frame["token"]) == (index, f"{name}_{i:06d}")
        assert frame["scene_name"] == name
        assert frame["lidar_points"]["lidar_path"] == f"sequences/{name}/velodyne/{i:06d}.bin"
        assert frame["pts_semantic_mask_path"] == f"sequences/{name}/labels/{i:06d}.label"
        assert ("first_from_lidar" in frame) == (name == "00")
    test = load_infos(written["test"]).frames
    assert len(test) == 3
    assert "pts_semantic_mask_path" not in test[0]
    manifest = read_manifest(written["val"])
    assert (manifest["count"], manifest["parameters"]["sequences"]) == (3, ["08"])
    assert not (tmp_path / WORK_FOLDER).exists()


def test_parts_of_other_files_are_thrown_away(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(semantic_kitti, "_merge", killed)
        with pytest.raises(KeyboardInterrupt):
            convert_semantic_kitti(copy, tmp_path / "o")
    assert list((tmp_path / "o" / WORK_FOLDER).glob("*.pkl"))
    labels = copy / "sequences" / "00" / "labels"
    labels.rename(labels.with_name("labels_before"))  # which keeps the folder's time
    with pytest.raises(DataError, match="Labels"):
        convert_semantic_kitti(copy, tmp_path / "o")


def test_poses_are_of_the_lidar(fake: Path) -> None:
    """Camera 0 moves one metre forward (its z) and 0.1 m to its right a scan."""
    poses = lidar_poses(fake / "sequences/00", 3)
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-9)
    point = np.array([10.0, 2.0, -1.0, 1.0])
    camera = np.vstack([TURN, [0, 0, 0, 1]])
    for i in range(3):
        moved = np.eye(4)
        moved[:3, 3] = [0.1 * i, 0, 1.0 * i]
        expected = np.linalg.solve(camera, moved @ (camera @ point))
        np.testing.assert_allclose(poses[i] @ point, expected, atol=1e-9)
    np.testing.assert_allclose(poses[2] @ [0, 0, 0, 1], [2.0, -0.2, 0, 1], atol=1e-9)
    assert lidar_poses(fake / "sequences/02", 3) is None


def test_label_table_is_the_benchmarks() -> None:
    """Numbers as printed in ``semantic-kitti.yaml``, ``learning_map``."""
    expected = {
        0: 0, 1: 0, 10: 1, 11: 2, 13: 5, 15: 3, 16: 5, 18: 4, 20: 5, 30: 6, 31: 7, 32: 8, 40: 9,
        44: 10, 48: 11, 49: 12, 50: 13, 51: 14, 52: 0, 60: 9, 70: 15, 71: 16, 72: 17, 80: 18,
        81: 19, 99: 0, 252: 1, 253: 7, 254: 6, 255: 8, 256: 5, 257: 5, 258: 4, 259: 5,
    }  # fmt: skip
    table = semantic_kitti_label_table()
    assert {stored: int(table[stored]) for stored in STORED_LABELS} == expected
    assert (table == UNKNOWN).sum() == 260 - len(expected)
    assert len(SEMANTIC_KITTI_CLASSES) == 20
    assert sum(map(len, SEQUENCES.values())) == 22


def test_same_bytes_after_an_interruption(fake: Path, tmp_path: Path, monkeypatch) -> None:
    whole = convert_semantic_kitti(fake, tmp_path / "whole")
    original = semantic_kitti._convert_sequence
    done = []

    def stops(sequence, **options):
        if sequence.name == "08" and len(done) < 10:
            raise KeyboardInterrupt
        done.append(sequence.name)
        original(sequence, **options)

    monkeypatch.setattr(semantic_kitti, "_convert_sequence", stops)
    with pytest.raises(KeyboardInterrupt):
        convert_semantic_kitti(fake, tmp_path / "cut")
    assert done == ["00", "02"]
    assert not list((tmp_path / "cut").glob("*.pkl"))
    monkeypatch.setattr(semantic_kitti, "_convert_sequence", original)
    again = convert_semantic_kitti(fake, tmp_path / "cut")
    assert [path.read_bytes() for path in again.values()] == [
        path.read_bytes() for path in whole.values()
    ]


def test_the_folder_dataset_may_stand_between(tmp_path: Path) -> None:
    root = write_fake_semantic_kitti(tmp_path / "kitti", scans=1, inside="dataset")
    frame = load_infos(convert_semantic_kitti(root)["val"]).frames[0]
    assert frame["lidar_points"]["lidar_path"] == "dataset/sequences/08/velodyne/000000.bin"


def test_cut_and_missing_files_are_named(copy: Path, tmp_path: Path) -> None:
    labels = copy / "sequences/08/labels/000001.label"
    labels.write_bytes(labels.read_bytes()[:-4])
    with pytest.raises(DataError, match="a 4-byte label for each of") as error:
        convert_semantic_kitti(copy, tmp_path / "out")
    assert (error.value.path, error.value.token) == (labels, "08_000001")
    labels.unlink()
    with pytest.raises(DataError, match=r"(?s)Labels not found.*data_odometry_labels\.zip"):
        convert_semantic_kitti(copy, tmp_path / "out")
    written = convert_semantic_kitti(copy, tmp_path / "out", skip_incomplete=True)
    assert [f["token"] for f in load_infos(written["val"]).frames] == ["08_000000", "08_000002"]
    scan = copy / "sequences/00/velodyne/000000.bin"
    scan.write_bytes(b"123")
    with pytest.raises(DataError, match="Expected a point cloud of 4 float32"):
        convert_semantic_kitti(copy, tmp_path / "out", skip_incomplete=True)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("poses.txt", "1 0 0 0\n" * 3, "Line 1: expected twelve numbers"),
        ("poses.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n", "one pose for each of 3 scans, got 1"),
        ("calib.txt", "P0: 1\n", "Expected one line 'Tr: ...'"),
    ],
)
def test_damaged_poses_are_named(copy: Path, file: str, text: str, message: str) -> None:
    (copy / "sequences/00" / file).write_text(text)
    with pytest.raises(DataError, match=message) as error:
        lidar_poses(copy / "sequences/00", 3)
    assert error.value.path == copy / "sequences/00" / file


def test_missing_sequences_are_an_error_or_left_out(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "sequences/02")
    with pytest.raises(DataError, match=r"(?s)sequences 02 have no velodyne.*--skip-incomplete"):
        find_sequences(copy)
    assert [s.name for s in find_sequences(copy, skip_missing=True)["train"]] == ["00"]
    (copy / "splits.json").write_text('{"train": "00"}')
    with pytest.raises(DataError, match=r"(?s)Expected.*mend this file"):
        find_sequences(copy)
    (copy / "splits.json").unlink()
    with pytest.raises(DataError, match=r"(?s)sequences 01, 02, 03.*no velodyne folder"):
        find_sequences(copy)
    with pytest.raises(DataError, match=r"(?s)Expected SemanticKITTI.*--root"):
        find_sequences(tmp_path)


def test_command(fake: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    words = ["create_data", "semantickitti", "--root", str(fake), "--out-dir", str(tmp_path)]
    assert cli.main([*words, "--jobs", "1"]) == 0
    assert "semantickitti_infos_train" in capsys.readouterr().out
    assert cli.main([*words[:3], str(tmp_path / "none")]) == 1
    assert "--root" in capsys.readouterr().err


def test_marks_and_encodings(copy: Path, tmp_path: Path) -> None:
    expected = lidar_poses(copy / "sequences/00", 3)
    for name in ("sequences/00/poses.txt", "sequences/00/calib.txt", "splits.json"):
        path = copy / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"P0:", b"Tr:", 0))
    np.testing.assert_array_equal(lidar_poses(copy / "sequences/00", 3), expected)
    assert list(find_sequences(copy)) == ["train", "val", "test"]
    path = copy / "sequences/00/poses.txt"
    path.write_bytes(path.read_bytes() + b"\xe4")
    with pytest.raises(DataError, match=r"(?s)UTF-8.*poses\.txt"):
        lidar_poses(copy / "sequences/00", 3)


@pytest.mark.parametrize("file", ["poses.txt", "calib.txt"])
def test_a_folder_in_place_of_a_text_file(copy: Path, file: str) -> None:
    (copy / "sequences/00" / file).unlink()
    (copy / "sequences/00" / file).mkdir()
    with pytest.raises(DataError, match=rf"(?s)got a folder.*{file}"):
        lidar_poses(copy / "sequences/00", 3)


@pytest.mark.parametrize("file", ["poses.txt", "calib.txt"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1 0 0 nan 0 1 0 0 0 0 1 0", "finite"),
        ("1 0 0 0 0 1 0 0 0 0 2 0", "expected a rotation"),
        ("1 0 0 0 0 1 0 0 0 0 -1 0", "mirrors"),
        ("1 0 0 0 0 1 0 0 0 0 1 99999999999", "m, got"),
        ("1 0 0 0 0 1 0 0 0 0 1 5000", "within 1000 m"),
        ("1 0 0 0 0 1 0 0 0 0 1 0,5", "twelve numbers"),
    ],
)
def test_poses_that_are_none(copy: Path, file: str, row: str, message: str) -> None:
    path = copy / "sequences/00" / file
    lines = path.read_text().splitlines()
    lines[1] = f"Tr: {row}" if file == "calib.txt" else row
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"(?s)Line 2: .*{message}.*{file}"):
        lidar_poses(copy / "sequences/00", 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"../x": ["00"]}', "split or sequence"),
        ('{"/tmp/x": ["00"]}', "split or sequence"),
        ('{"train": ["../00"]}', "split or sequence"),
        ('{"train": ["00"], "val": ["08", "00"]}', "'00' is in 'train' and 'val'"),
        ('{"train": ["00"], "val": []}', r"none in \['val'\]"),
        ("{}", "a sequence or more"),
    ],
)
def test_splits_that_cannot_be(copy: Path, text: str, message: str) -> None:
    (copy / "splits.json").write_text(text)
    with pytest.raises(DataError, match=rf"(?s){message}.*splits\.json.*mend this file"):
        convert_semantic_kitti(copy)


def test_a_sequence_twice_is_one(copy: Path, caplog) -> None:
    (copy / "splits.json").write_text('{"train": ["00", "00"], "val": ["08"]}')
    assert [s.name for s in find_sequences(copy)["train"]] == ["00"]
    assert "taken once" in caplog.text


def test_contents_and_unknown_labels(copy: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(semantic_kitti, "MAX_READ", 2)
    path = copy / "sequences/08/labels/000000.label"
    labels = np.fromfile(path, "<u4")
    labels[:7] = 300
    labels[7:] = 40 | (9 << 16)
    labels.tofile(path)
    written = convert_semantic_kitti(copy, tmp_path / "out")
    found = load_infos(written["val"]).metainfo["contents"]
    assert (found["frames"], found["clouds"]) == (3, 2)
    assert found["point_labels"]["300, unknown"] == {"class": None, "points": 7}
    third = np.fromfile(copy / "sequences/08/labels/000002.label", "<u4") & 0xFFFF
    road = len(labels) - 7 + int((third == 40).sum())
    assert found["point_labels"]["road"] == {"class": "road", "points": road}
    assert "label values that SemanticKITTI does not define: 300, unknown (7 points)" in caplog.text
    assert read_manifest(written["test"])["contents"]["point_labels"] == {}


def test_points_of_another_width_and_labels_of_another_type(copy: Path, tmp_path: Path) -> None:
    label = copy / "sequences/00/labels/000000.label"
    np.fromfile(label, "<u4").astype("<u2").tofile(label)
    with pytest.raises(DataError, match=r"(?s)which is 2 a point.*unsigned integers of 32 bits"):
        convert_semantic_kitti(copy, tmp_path / "out")
    np.fromfile(label, "<u2").astype("<u4").tofile(label)
    for path in copy.glob("sequences/*/velodyne/*.bin"):
        points = np.fromfile(path, "<f4").reshape(-1, 4)
        np.c_[points, np.arange(len(points)) % 64].astype("<f4").tofile(path)
    written = convert_semantic_kitti(copy, tmp_path / "out", columns=5)
    assert load_infos(written["val"]).frames[0]["lidar_points"]["num_pts_feats"] == 5
    with pytest.raises(ValueError, match="4 or more"):
        convert_semantic_kitti(copy, columns=2)


def test_a_label_file_without_scan_tells_that_a_scan_is_lost(copy: Path, tmp_path: Path) -> None:
    scan = copy / "sequences/02/velodyne/000001.bin"  # a sequence without poses to count
    scan.unlink()
    with pytest.raises(DataError, match="Scan of a label file not found") as error:
        convert_semantic_kitti(copy, tmp_path / "out")
    assert error.value.path == scan
    assert convert_semantic_kitti(copy, tmp_path / "out", skip_incomplete=True)


def test_splits_and_sequences_whose_names_join_alike(copy: Path, tmp_path: Path) -> None:
    """``train`` of ``a_00`` and ``train_a`` of ``00``: one had the other's scans."""
    folder = copy / "sequences"
    shutil.copytree(folder / "02", folder / "a_00")
    (copy / "splits.json").write_text('{"train": ["a_00"], "train_a": ["00"]}', encoding="utf-8")
    written = convert_semantic_kitti(copy, tmp_path / "o")
    for split, name in (("train", "a_00"), ("train_a", "00")):
        assert {f["scene_name"] for f in load_infos(written[split]).frames} == {name}
