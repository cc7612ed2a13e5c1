# SPDX-License-Identifier: Apache-2.0
"""nuScenes converter: values against nuscenes-devkit, splits, damage, kill -9."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import view_points
from pyquaternion import Quaternion

from lidistill.converters.infos import NUSCENES_CLASS_OF, NUSCENES_CLASSES, load_infos
from lidistill.converters.nuscenes.convert import WORK_FOLDER, convert_nuscenes
from lidistill.io import DataError, read_manifest
from tests.converters.fake_nuscenes import CAMERAS, SIZE, write_fake_nuscenes

VERSION = "v1.0-fake"
SCENES = [f"scene-{i}" for i in range(4)]
SPLITS = {"fake_train": [SCENES[2], SCENES[0], "scene-elsewhere"], "fake_val": [SCENES[3]]}


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_fake_nuscenes(tmp_path_factory.mktemp("fake"), SCENES, VERSION, keyframes=5)
    (root / VERSION / "splits.json").write_text(json.dumps(SPLITS))
    return root


@pytest.fixture(scope="module")
def devkit(fake: Path) -> NuScenes:
    return NuScenes(VERSION, str(fake), verbose=False)


@pytest.fixture(scope="module")
def out(fake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    written = convert_nuscenes(fake, VERSION, folder)
    assert written == {
        "train": folder / "lidistill_infos_train.pkl",
        "val": folder / "lidistill_infos_val.pkl",
    }
    return folder


@pytest.fixture(scope="module")
def frames(out: Path) -> list[dict[str, Any]]:
    return load_infos(out / "lidistill_infos_train.pkl", "nuscenes").frames


@pytest.fixture
def copy(fake: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(fake, tmp_path / "copy")
    return tmp_path / "copy"


def _matrix(record: dict[str, Any]) -> np.ndarray:
    result = Quaternion(record["rotation"]).transformation_matrix
    result[:3, 3] = record["translation"]
    return result


def _lidar_from(devkit: NuScenes, token: str, other: str) -> np.ndarray:
    """sensor `other` from sensor `token`, composed with pyquaternion and a general inverse."""
    result = np.eye(4)
    for name, invert in ((token, False), (other, True)):
        data = devkit.get("sample_data", name)
        pose = _matrix(devkit.get("ego_pose", data["ego_pose_token"]))
        sensor = _matrix(devkit.get("calibrated_sensor", data["calibrated_sensor_token"]))
        chain = pose @ sensor
        result = np.linalg.inv(chain) @ result if invert else chain @ result
    return result


def test_frames_in_order_of_scene_and_time(frames: list[dict], devkit: NuScenes) -> None:
    assert [frame["sample_idx"] for frame in frames] == list(range(10))
    assert [frame["scene_name"] for frame in frames] == [SCENES[0]] * 5 + [SCENES[2]] * 5
    for frame in frames:
        sample = devkit.get("sample", frame["token"])
        assert frame["timestamp"] == sample["timestamp"] / 1e6
        assert devkit.get("scene", frame["scene_token"])["name"] == frame["scene_name"]
    assert frames[0]["timestamp"] < frames[4]["timestamp"]


def test_metainfo_and_manifest(out: Path) -> None:
    path = out / "lidistill_infos_val.pkl"
    metainfo = load_infos(path).metainfo
    expected = {name: i for i, name in enumerate(NUSCENES_CLASSES)}
    assert metainfo["categories"] == {**expected, "animal": -1}
    assert (metainfo["dataset"], metainfo["version"]) == ("nuscenes", VERSION)
    assert (metainfo["info_version"], metainfo["split"]) == ("1.1", "fake_val")
    manifest = read_manifest(path)
    assert manifest["count"] == 5
    assert manifest["parameters"]["max_sweeps"] == 10
    assert not (out / WORK_FOLDER).exists()


def test_transforms(frames: list[dict], devkit: NuScenes, fake: Path) -> None:
    for frame in frames:
        sample = devkit.get("sample", frame["token"])
        lidar = devkit.get("sample_data", sample["data"]["LIDAR_TOP"])
        pose = _matrix(devkit.get("ego_pose", lidar["ego_pose_token"]))
        sensor = _matrix(devkit.get("calibrated_sensor", lidar["calibrated_sensor_token"]))
        np.testing.assert_allclose(frame["ego2global"], pose, atol=1e-12)
        np.testing.assert_allclose(frame["lidar_points"]["lidar2ego"], sensor, atol=1e-12)
        assert list(frame["images"]) == list(CAMERAS)
        for name, image in frame["images"].items():
            token = sample["data"][name]
            expected = _lidar_from(devkit, lidar["token"], token)
            np.testing.assert_allclose(image["lidar2cam"], expected, atol=1e-9)
            data = devkit.get("sample_data", token)
            sensor = devkit.get("calibrated_sensor", data["calibrated_sensor_token"])
            assert image["cam2img"] == sensor["camera_intrinsic"]
            np.testing.assert_allclose(image["cam2ego"], _matrix(sensor), atol=1e-12)
            assert (image["width"], image["height"]) == SIZE
            assert image["sample_data_token"] == token
            assert image["superpixels_path"] == f"{token}.png"
            assert (fake / "samples" / name / image["img_path"]).is_file()
            assert image["timestamp"] == data["timestamp"] / 1e6


def test_instances_are_the_devkits_boxes(frames: list[dict], devkit: NuScenes) -> None:
    lone = 0
    for frame in frames:
        sample = devkit.get("sample", frame["token"])
        lidar = sample["data"]["LIDAR_TOP"]
        _, boxes, _ = devkit.get_sample_data(lidar)
        data = devkit.get("sample_data", lidar)
        chain = _matrix(devkit.get("ego_pose", data["ego_pose_token"])) @ _matrix(
            devkit.get("calibrated_sensor", data["calibrated_sensor_token"])
        )
        assert [box.token for box in boxes] == [i["annotation_token"] for i in frame["instances"]]
        for box, instance in zip(boxes, frame["instances"], strict=True):
            annotation = devkit.get("sample_annotation", box.token)
            yaw = box.orientation.yaw_pitch_roll[0]
            expected = [*box.center, *box.wlh[[1, 0, 2]], yaw]
            np.testing.assert_allclose(instance["bbox_3d"], expected, atol=1e-9)
            velocity = devkit.box_velocity(box.token)
            turned = np.linalg.inv(chain)[:3, :3] @ [velocity[0], velocity[1], 0.0]
            np.testing.assert_allclose(instance["velocity"], turned[:2], atol=1e-6)
            lone += bool(np.isnan(velocity).any())
            name = NUSCENES_CLASS_OF.get(box.name)
            label = NUSCENES_CLASSES.index(name) if name else -1
            assert instance["bbox_label_3d"] == instance["bbox_label"] == label
            assert instance["instance_token"] == annotation["instance_token"]
            assert instance["num_lidar_pts"] == annotation["num_lidar_pts"]
            assert instance["bbox_3d_isvalid"] == (annotation["num_lidar_pts"] > 0)
            names = [devkit.get("attribute", t)["name"] for t in annotation["attribute_tokens"]]
            assert instance["attr_label"] == (5 if names == ["vehicle.moving"] else 8)
    assert lone


def test_camera_instances(frames: list[dict], devkit: NuScenes) -> None:
    """2-D boxes by the devkit's own projection, cut to the table's image size."""
    count = 0
    for frame in frames:
        sample = devkit.get("sample", frame["token"])
        for name, instances in frame["cam_instances"].items():
            _, boxes, matrix = devkit.get_sample_data(sample["data"][name])
            by_token = {box.token: box for box in boxes}
            for instance in instances:
                count += 1
                box = by_token[instance["annotation_token"]]
                x, y, z = box.center
                np.testing.assert_allclose(
                    instance["bbox_3d"],
                    [x, y, z, *box.wlh[[1, 2, 0]], -box.orientation.yaw_pitch_roll[0]],
                    atol=1e-9,
                )
                pixel = view_points(box.center[:, None], matrix, normalize=True)[:2, 0]
                np.testing.assert_allclose(instance["center_2d"], pixel, atol=1e-7)
                assert instance["depth"] == pytest.approx(z)
                x1, y1, x2, y2 = instance["bbox"]
                assert 0 <= x1 < x2 <= SIZE[0]
                assert 0 <= y1 < y2 <= SIZE[1]
                corners = box.corners()
                if (corners[2] > 0).all():
                    u, v, _ = view_points(corners, matrix, normalize=True)
                    inside = (u > 0) & (u < SIZE[0]) & (v > 0) & (v < SIZE[1])
                    if inside.all():
                        bounds = [u.min(), v.min(), u.max(), v.max()]
                        np.testing.assert_allclose(instance["bbox"], bounds, atol=1e-7)
    assert count > 5


def test_sweeps_align_as_the_devkits(frames: list[dict], devkit: NuScenes, fake: Path) -> None:
    frame = frames[3]
    sample = devkit.get("sample", frame["token"])
    assert len(frame["lidar_sweeps"]) == 10
    assert len(frames[0]["lidar_sweeps"]) == 2
    cloud, times = LidarPointCloud.from_file_multisweep(
        devkit, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=11, min_distance=0.0
    )
    moved, lags = [], []
    for sweep in [None, *frame["lidar_sweeps"]]:
        if sweep is None:
            path, transform = fake / "samples/LIDAR_TOP" / frame["lidar_points"]["lidar_path"], None
            lag = 0.0
        else:
            path = fake / sweep["lidar_points"]["lidar_path"]
            transform = np.linalg.inv(sweep["lidar_points"]["lidar2sensor"])
            lag = frame["timestamp"] - sweep["timestamp"]
        xyz = np.fromfile(path, "<f4").reshape(-1, 5)[:, :3].astype(float)
        moved.append(xyz if transform is None else xyz @ transform[:3, :3].T + transform[:3, 3])
        lags.append(np.full(len(xyz), lag))
    np.testing.assert_allclose(np.concatenate(moved), cloud.points[:3].T, atol=1e-4)
    np.testing.assert_allclose(np.concatenate(lags), times[0], atol=1e-6)


def test_lidarseg_paths(frames: list[dict], devkit: NuScenes, fake: Path) -> None:
    for frame in frames:
        path = fake / "lidarseg" / VERSION / frame["pts_semantic_mask_path"]
        assert path.is_file()
        token = devkit.get("sample", frame["token"])["data"]["LIDAR_TOP"]
        assert path.name == f"{token}_lidarseg.bin"


def test_max_sweeps(fake: Path, tmp_path: Path) -> None:
    written = convert_nuscenes(fake, VERSION, tmp_path, max_sweeps=0)
    frames = load_infos(written["train"]).frames
    assert not any("lidar_sweeps" in frame for frame in frames)
    with pytest.raises(ValueError, match="0 or more"):
        convert_nuscenes(fake, VERSION, tmp_path, max_sweeps=-1)


def test_jobs_do_not_change_the_bytes(fake: Path, out: Path, tmp_path: Path) -> None:
    convert_nuscenes(fake, VERSION, tmp_path, jobs=2)
    _assert_same(tmp_path, out)


def _assert_same(folder: Path, reference: Path) -> None:
    names = sorted(path.name for path in reference.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), name


KILLED = """
import os, signal, sys
import lidistill.converters.nuscenes.convert as module
real, done = module.scene_infos, []
def dying(records, options):
    if len(done) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(records)
    return real(records, options)
module.scene_infos = dying
module.convert_nuscenes(sys.argv[1], "v1.0-fake", sys.argv[2])
"""


def test_what_is_converted_stays_until_the_data_or_the_wish_changes(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    real = sys.modules["lidistill.converters.nuscenes.convert"]._convert_scenes
    monkeypatch.setattr(
        "lidistill.converters.nuscenes.convert._convert_scenes",
        lambda *a: runs.append(1) or real(*a),
    )

    def converts(**options: Any) -> bool:
        runs.clear()
        written = convert_nuscenes(copy, VERSION, tmp_path / "o", **options)
        assert all(path.is_file() for path in written.values())
        return bool(runs)

    assert converts()
    assert not converts()
    assert converts(restart=True)
    assert converts(max_sweeps=2)
    assert not converts(max_sweeps=2)
    table = copy / VERSION / "scene.json"
    os.utime(table, (1, 1))
    assert converts(max_sweeps=2)
    (tmp_path / "o" / "lidistill_infos_val.pkl").write_bytes(b"cut off")
    assert converts(max_sweeps=2)
    assert converts(max_sweeps=2, skip_incomplete=True)
    assert converts(max_sweeps=2, skip_incomplete=True)  # the missing files may be there by now


@pytest.mark.parametrize("after", [0, 1, 2])
def test_kill_between_scenes(fake: Path, out: Path, tmp_path: Path, after: int) -> None:
    command = [sys.executable, "-c", KILLED, str(fake), str(tmp_path), str(after)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    parts = list((tmp_path / WORK_FOLDER).glob("*.pkl"))
    assert len(parts) == after
    assert not list(tmp_path.glob("*.pkl"))
    stamps = {path: path.stat().st_mtime_ns for path in parts}
    kept: list[bool] = []

    def finish(*args: Any) -> None:
        kept.extend(path.stat().st_mtime_ns == stamps[path] for path in parts)
        shutil.rmtree(args[0].folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lidistill.converters.parts.PartStore.finish", finish)
        convert_nuscenes(fake, VERSION, tmp_path)
    assert kept == [True] * after  # finished scenes were not done again
    _assert_same(tmp_path, out)


def test_a_test_split_has_the_boxes_that_its_tables_have(copy: Path, tmp_path: Path) -> None:
    """Its scenes may be in another split besides, which has them, too."""
    splits = {"fake_test": [SCENES[0]], "all": SCENES[:2]}
    (copy / VERSION / "splits.json").write_text(json.dumps(splits))
    written = convert_nuscenes(copy, VERSION, tmp_path / "o")
    test, every = (load_infos(written[name]).frames for name in ("test", "all"))
    boxes, same = (
        [[box["bbox_3d"] for box in frame["instances"]] for frame in frames]
        for frames in (test, every[: len(test)])
    )
    assert boxes == same
    assert sum(map(len, boxes)) > 0


def test_a_scene_left_out_before_a_kill_is_looked_at_again(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    victim = sorted(copy.glob("samples/LIDAR_TOP/scene-0_*"))[0]
    victim.rename(tmp_path / "aside")
    with monkeypatch.context() as patch:
        patch.setattr("lidistill.converters.nuscenes.convert._merge", killed)
        with pytest.raises(KeyboardInterrupt):
            convert_nuscenes(copy, VERSION, tmp_path / "o", skip_incomplete=True)
    (tmp_path / "aside").rename(victim)
    written = convert_nuscenes(copy, VERSION, tmp_path / "o", skip_incomplete=True)
    names = {frame["scene_name"] for frame in load_infos(written["train"]).frames}
    assert names == {SCENES[0], SCENES[2]}


def test_kill_of_the_whole_group_at_any_time(fake: Path, out: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from lidistill.converters.nuscenes.convert import convert_nuscenes;"
        "convert_nuscenes(sys.argv[1], 'v1.0-fake', sys.argv[2], jobs=2)"
    )
    command = [sys.executable, "-c", code, str(fake), str(tmp_path)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if list((tmp_path / WORK_FOLDER).glob("*.pkl")):
            break
        time.sleep(0.002)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    convert_nuscenes(fake, VERSION, tmp_path)
    _assert_same(tmp_path, out)


def test_changed_tables_throw_old_parts_away(copy: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(copy), str(tmp_path / "o"), "1"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    path = copy / VERSION / "scene.json"
    path.write_text(path.read_text().replace('"name": "scene-', '"name":  "scene-'))
    table = copy / VERSION / "sample_annotation.json"
    rows = json.loads(table.read_text())
    for row in rows:
        row["num_lidar_pts"] = 77
    table.write_text(json.dumps(rows))
    written = convert_nuscenes(copy, VERSION, tmp_path / "o")
    points = [
        i["num_lidar_pts"] for f in load_infos(written["train"]).frames for i in f["instances"]
    ]
    assert set(points) == {77}


def test_unknown_version_lists_those_there(fake: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"versions found: v1\.0-fake.*"):
        convert_nuscenes(fake, "v1.0-mini", tmp_path)
    with pytest.raises(DataError, match=r"(?s)no version was found.*lidistill world"):
        convert_nuscenes(tmp_path, "v1.0-mini", tmp_path)


def test_missing_and_broken_table(copy: Path, tmp_path: Path) -> None:
    path = copy / VERSION / "ego_pose.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(rows[1:]))
    with pytest.raises(DataError, match=r"ego_pose\.json has no record of token 'ego_pose-0'"):
        convert_nuscenes(copy, VERSION, tmp_path / "o")
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError, match=r"(?s)does not parse.*ego_pose\.json.*extract the tables"):
        convert_nuscenes(copy, VERSION, tmp_path / "o")
    path.unlink()
    with pytest.raises(DataError, match=r"(?s)not found.*ego_pose\.json.*extract the tables"):
        convert_nuscenes(copy, VERSION, tmp_path / "o")


@pytest.mark.parametrize("kind", ["samples/LIDAR_TOP", "sweeps/LIDAR_TOP", "samples/CAM_BACK"])
def test_missing_file(copy: Path, tmp_path: Path, kind: str) -> None:
    victim = sorted((copy / kind).glob("scene-0_*"))[1]
    victim.unlink()
    with pytest.raises(
        DataError, match=r"(?s)not found.*sample: sample-.*--skip-incomplete"
    ) as error:
        convert_nuscenes(copy, VERSION, tmp_path / "o")
    assert victim.name in str(error.value)
    assert not list((tmp_path / "o").glob("*.pkl"))
    written = convert_nuscenes(copy, VERSION, tmp_path / "o", skip_incomplete=True)
    names = {frame["scene_name"] for frame in load_infos(written["train"]).frames}
    assert names == {SCENES[2]}


@pytest.mark.parametrize(
    ("pattern", "size", "message"),
    [
        ("samples/LIDAR_TOP/scene-0_*", 139, "5 float32 values per point"),
        ("samples/LIDAR_TOP/scene-0_*", 0, "5 float32 values per point"),
        ("sweeps/LIDAR_TOP/scene-0_*", 21, "5 float32 values per point"),
        ("lidarseg/*/sample_data-2_*", 3, r"one label byte per point \(7\), got 3"),
    ],
)
def test_cut_file(copy: Path, tmp_path: Path, pattern: str, size: int, message: str) -> None:
    victim = sorted(copy.glob(pattern))[0]
    os.truncate(victim, size)
    with pytest.raises(DataError, match=rf"(?s){message}.*sample: sample-") as error:
        convert_nuscenes(copy, VERSION, tmp_path / "o")
    assert victim.name in str(error.value)


def test_image_size_from_the_file_when_the_table_has_none(copy: Path, tmp_path: Path) -> None:
    path = copy / VERSION / "sample_data.json"
    rows = json.loads(path.read_text())
    for row in rows:
        row["width"] = row["height"] = 0
    path.write_text(json.dumps(rows))
    written = convert_nuscenes(copy, VERSION, tmp_path / "o")
    image = load_infos(written["train"]).frames[0]["images"]["CAM_FRONT"]
    assert (image["width"], image["height"]) == SIZE
