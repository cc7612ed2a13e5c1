# SPDX-License-Identifier: Apache-2.0
"""Info files: canonical bytes, and errors for everything that is not one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidistill.converters.info_paths import InfoPaths
from lidistill.converters.infos import load_infos, write_infos
from lidistill.io import DataError, dump_pickle, read_manifest

META = {"dataset": "nuscenes", "info_version": "1.1", "categories": {"car": 0}}


def _frame(token: str) -> dict[str, Any]:
    cloud = {"lidar_path": "a.bin", "num_pts_feats": 5}
    return {"token": token, "lidar_points": cloud, "numbers": (1, 2.5)}


def test_round_trip_with_manifest(tmp_path: Path) -> None:
    path = tmp_path / "infos.pkl"
    write_infos(path, META, [_frame("a"), _frame("b")], {"version": "v"}, "here")
    infos = load_infos(path, "nuscenes")
    assert infos.metainfo == META
    assert [frame["token"] for frame in infos.frames] == ["a", "b"]
    assert infos.frames[0]["numbers"] == [1, 2.5]
    manifest = read_manifest(path)
    assert (manifest["count"], manifest["parameters"]) == (2, {"version": "v"})


def test_equal_values_give_equal_bytes(tmp_path: Path) -> None:
    shared = "".join(["shar", "ed"])
    once = [{"token": shared, "scene": shared}]
    twice = [{"token": "".join(["sha", "red"]), "scene": "".join(["s", "hared"])}]
    assert pickle.dumps(once) != pickle.dumps(twice)
    for name, frames in (("a", once), ("b", twice)):
        write_infos(tmp_path / name, META, frames, {}, "")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image": {}}], "bare list"),
        ({"infos": [], "metadata": {}}, r"mmdet3d 0\.x"),
        ({"metainfo": META}, "without metainfo and data_list"),
        ({"metainfo": {**META, "info_version": "2.0"}, "data_list": []}, "info_version '2.0'"),
        ({"metainfo": {**META, "dataset": "kitti"}, "data_list": []}, "got one of 'kitti'"),
        ({"metainfo": META, "data_list": [1]}, "not dictionaries"),
        ("text", "got str"),
    ],
)
def test_another_schema(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "infos.pkl"
    dump_pickle(path, content)
    with pytest.raises(DataError, match=f"(?s){message}.*infos.pkl.*lidistill create_data nus"):
        load_infos(path, "nuscenes")


def test_frame_without_a_needed_key(tmp_path: Path) -> None:
    path = tmp_path / "infos.pkl"
    dump_pickle(path, {"metainfo": META, "data_list": [_frame("a"), {"token": "b"}]})
    with pytest.raises(DataError, match=r"(?s)lacks lidar_points.*sample: b.*create_data"):
        load_infos(path)
    with pytest.raises(DataError, match=r"(?s)lacks images.*sample: a"):
        load_infos(path, need=("images",))


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_info_file_that_runs_code(tmp_path: Path) -> None:
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps({"metainfo": META, "data_list": [_Evil(tmp_path / "ran")]}))
    with pytest.raises(DataError, match=r"(?s)Refused.*mkdir.*infos\.pkl.*create_data"):
        load_infos(path)
    assert not (tmp_path / "ran").exists()


def test_missing_info_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)not found.*no\.pkl.*lidistill create_data kitti"):
        load_infos(tmp_path / "no.pkl", "kitti")


def test_no_frames(tmp_path: Path) -> None:
    dump_pickle(tmp_path / "infos.pkl", {"metainfo": META, "data_list": []})
    with pytest.raises(DataError, match=r"(?s)0 frames.*infos\.pkl.*lidistill create_data"):
        load_infos(tmp_path / "infos.pkl")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"lidar_points": None}, "lidar_points"),
        ({"lidar_points": {"lidar_path": None}}, r"lidar_points\.lidar_path"),
        ({"lidar_points": {"lidar_path": 7}}, r"lidar_points\.lidar_path"),
        ({"lidar_points": {"num_pts_feats": 0}}, r"lidar_points\.num_pts_feats"),
        ({"lidar_points": {"num_pts_feats": "5"}}, r"lidar_points\.num_pts_feats"),
        ({"lidar_points": {"num_pts_feats": -1}}, r"lidar_points\.num_pts_feats"),
        ({"images": None}, "images"),
        ({"images": {"CAM": {"height": None}}}, r"images\.CAM\.height"),
        ({"images": {"CAM": {"lidar2cam": [[1, 2], [3]]}}}, r"images\.CAM\.lidar2cam"),
        ({"images": {"CAM": {"cam2img": [[float("nan")] * 3] * 3}}}, r"images\.CAM\.cam2img"),
        ({"images": {"CAM": {"lidar2img": [[1.0] * 4] * 2}}}, r"images\.CAM\.lidar2img"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"ego2global": [[float("nan")] * 4] * 4}, "ego2global"),
        ({"first_from_lidar": [[1.0] * 4] * 3}, "first_from_lidar"),
        ({"lidar_points": {"lidar2ego": None}}, r"lidar_points\.lidar2ego"),
    ],
)
def test_fields_that_are_null_or_text_are_named(
    tmp_path: Path, change: dict[str, Any], key: str
) -> None:
    frames = [_frame("a"), {**_frame("b"), **change}]
    dump_pickle(tmp_path / "infos.pkl", {"metainfo": META, "data_list": frames})
    with pytest.raises(DataError, match=rf"(?s)'{key}'.*infos\.pkl.*sample: b.*create_data"):
        load_infos(tmp_path / "infos.pkl")


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("lidar2cam", lambda m: m * [[2.0], [1], [1], [1]], r"images\.CAM\.lidar2cam: .*rotation"),
        ("lidar2cam", lambda m: m * [1.0, 1, -1, 1], r"images\.CAM\.lidar2cam: .*mirrors"),
        ("lidar2cam", lambda m: m + 5000.0 * np.eye(4, k=3), "within 1000 m"),
        ("cam2img", lambda m: m * [[-1.0], [1], [1], [1]], r"images\.CAM\.cam2img: .*focal"),
        ("cam2img", lambda m: m + 1e-9 * np.eye(4, k=-2), r"images\.CAM\.cam2img: .*0 0 1"),
    ],
)
def test_cameras_that_cannot_be(tmp_path, key, change, words):
    """A script of one's own wrote them: points would meet other pixels in silence."""
    image = {"img_path": "a.png", "lidar2cam": np.eye(4), "cam2img": np.diag([50.0, 50, 1, 1])}
    frames = [{"token": f"t{n}", "images": {"CAM": dict(image)}} for n in range(3)]
    frames[1]["images"]["CAM"][key] = change(image[key])
    for frame in frames:
        frame["images"]["CAM"] = {
            k: v.tolist() if isinstance(v, np.ndarray) else v
            for k, v in frame["images"]["CAM"].items()
        }
        frame["lidar_points"] = {"lidar_path": "a.bin", "num_pts_feats": 4}
    write_infos(tmp_path / "i.pkl", {"dataset": "own", "info_version": "1.1"}, frames, {}, "made")
    with pytest.raises(DataError, match=rf"(?s){words}.*i\.pkl.*sample: t1"):
        load_infos(tmp_path / "i.pkl")


@pytest.mark.parametrize("key", ["ego2global", "first_from_lidar", "lidar2ego"])
def test_poses_that_are_none(tmp_path: Path, key: str) -> None:
    frames = [_frame("a"), _frame("b")]
    for frame, pose in zip(frames, (np.eye(4), 2 * np.eye(4)), strict=True):
        home = frame["lidar_points"] if key == "lidar2ego" else frame
        home[key] = pose.tolist()
    dump_pickle(tmp_path / "infos.pkl", {"metainfo": META, "data_list": frames})
    with pytest.raises(DataError, match=rf"(?s){key}: expected a rotation.*infos\.pkl.*sample: b"):
        load_infos(tmp_path / "infos.pkl")


BOX = {"bbox_3d": [9.0, 2, -1, 4, 2, 1.5, 0.1], "bbox_label_3d": 0}
MATRIX = np.diag([1.0, 1, 1, 1]).tolist()
SWEEP = {"lidar_points": {"lidar_path": "b.bin", "lidar2sensor": MATRIX}, "timestamp": 1.0}


def _with(record: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    return {**record, key: value}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"instances": {}}, "'instances'"),
        ({"instances": [BOX, None]}, r"instances\[1\]: expected a record"),
        ({"instances": [_with(BOX, "bbox_label_3d", "car")]}, "bbox_label_3d: expected -1 or a"),
        ({"instances": [_with(BOX, "bbox_label_3d", 7)]}, r"categories \{'car': 0\}, got 7"),
        ({"instances": [_with(BOX, "bbox_3d", [1, 2])]}, "expected 7 finite numbers"),
        ({"instances": [_with(BOX, "bbox_3d", [float("nan"), *BOX["bbox_3d"][1:]])]}, "finite"),
        ({"instances": [_with(BOX, "bbox_3d", [*BOX["bbox_3d"][:6], 90.0])]}, "radians, got 90"),
        ({"instances": [_with(BOX, "bbox_3d", [1, 1, 1, 0, 1, 1, 0])]}, "sizes above 0"),
        ({"instances": [_with(BOX, "bbox_3d", [1e30, 1, 1, 1, 1, 1, 0])]}, "within 1000 m"),
        ({"cam_instances": {"CAM": [_with(BOX, "bbox_3d", "words")]}}, r"cam_instances\.CAM\[0\]"),
        ({"instances": [_with(BOX, "velocity", [float("nan"), 1.0])]}, "NaN throughout"),
        ({"instances": [_with(BOX, "velocity", [1e30, 1.0])]}, "metres a second"),
        ({"instances": [_with(BOX, "velocity", None)]}, r"instances\[0\]\.velocity"),
        ({"instances": [_with(BOX, "num_lidar_pts", float("nan"))]}, r"num_lidar_pts: .*got nan"),
        ({"cam_instances": {"CAM": None}}, r"cam_instances\.CAM"),
        ({"lidar_sweeps": [{}]}, r"lidar_sweeps\[0\]\.lidar_points"),
        ({"lidar_sweeps": [_with(SWEEP, "timestamp", None)]}, r"lidar_sweeps\[0\]\.timestamp"),
        (  # microseconds: the network was told a time of fifty thousand seconds
            {"timestamp": 1.5e15, "lidar_sweeps": [_with(SWEEP, "timestamp", 1.5e15 - 5e4)]},
            r"lidar_sweeps\[0\]\.timestamp: .* 60 s of the frame's, got 50000 s",
        ),
        (
            {"lidar_sweeps": [_with(SWEEP, "lidar_points", {"lidar_path": "b", "lidar2ego": [1]})]},
            r"lidar_sweeps\[0\]\.lidar_points\.lidar2ego",
        ),
    ],
)
def test_boxes_and_sweeps_that_cannot_be(tmp_path: Path, change: Any, words: str) -> None:
    """mmdet3d's data sets would take them, and train another detector."""
    from lidistill import compat

    compat.apply()
    from mmengine.dataset import BaseDataset

    numpys = _with(_with(BOX, "bbox_label_3d", np.int64(0)), "bbox_3d", np.ones(7, np.float32))
    whole = {**_frame("a"), "instances": [BOX, _with(BOX, "bbox_label_3d", -1), numpys]}
    whole["instances"].append(_with(BOX, "velocity", [float("nan")] * 2))
    content = {"metainfo": {**META, "categories": {"car": 0}}, "data_list": [whole, whole]}
    dump_pickle(tmp_path / "infos.pkl", content)
    assert len(load_infos(tmp_path / "infos.pkl").frames) == 2
    assert len(BaseDataset(str(tmp_path / "infos.pkl"), data_prefix={})) == 2
    content["data_list"][1] = {**whole, "token": "b", **change}
    dump_pickle(tmp_path / "infos.pkl", content)
    for read in (load_infos, lambda path: BaseDataset(str(path), data_prefix={})):
        with pytest.raises(DataError, match=rf"(?s){words}.*infos\.pkl.*sample: b"):
            read(tmp_path / "infos.pkl")


def test_one_token_of_two_frames_is_refused(tmp_path: Path) -> None:
    """Files joined by a script: scores and maps of one frame would be the other's."""
    twice = [_frame("a"), _frame("a")]  # repeated for balance: the same frame
    write_infos(tmp_path / "infos.pkl", META, twice, {}, "here")
    assert len(load_infos(tmp_path / "infos.pkl").frames) == 2
    twice[1]["lidar_points"] = {"lidar_path": "b.bin", "num_pts_feats": 5}
    write_infos(tmp_path / "infos.pkl", META, twice, {}, "here")
    with pytest.raises(DataError, match=r"(?s)have this token: a.bin and b.bin.*sample: a"):
        load_infos(tmp_path / "infos.pkl")


def test_mmdet3ds_file_of_kittis_test_frames_leads_to_testing(tmp_path: Path) -> None:
    """It does not say so, and ``training`` has frames of the same names."""
    meta = {"dataset": "kitti", "info_version": "1.1", "categories": {"Car": 2}}
    frame = {"sample_idx": 7, "instances": [], "cam_instances": {}}
    frame["lidar_points"] = {"lidar_path": "000007.bin", "num_pts_feats": 4}
    path = tmp_path / "kitti_infos_test.pkl"

    def place() -> str:
        dump_pickle(path, {"metainfo": meta, "data_list": [frame]})
        locate = InfoPaths(tmp_path, load_infos(path).metainfo)
        return locate("000007.bin", "pts").relative_to(tmp_path).as_posix()

    assert place() == "testing/velodyne/000007.bin"
    frame["instances"] = [{"bbox_3d": [1.0, 1, 9, 4, 2, 2, 0], "bbox_label_3d": 2}]
    assert place() == "training/velodyne/000007.bin"
    del frame["instances"]  # a script's frames for pretraining
    assert place() == "training/velodyne/000007.bin"


def test_labels_in_an_order_of_ones_own_are_refused(tmp_path: Path) -> None:
    """mmdet3d takes 0 for a car, whatever the file's categories say."""
    from lidistill import compat

    compat.apply()
    from mmengine.dataset import BaseDataset

    path = tmp_path / "infos.pkl"
    for name, label, fine in (("car", 0, True), ("bicycle", -1, True), ("pedestrian", 0, False)):
        meta = {**META, "categories": {name: label, "horse": 10}}
        dump_pickle(path, {"metainfo": meta, "data_list": [_frame("a")]})
        for read in (load_infos, lambda file: BaseDataset(str(file), data_prefix={})):
            if fine:
                read(path)
                continue
            with pytest.raises(DataError, match="expected pedestrian to have label 7"):
                read(path)
