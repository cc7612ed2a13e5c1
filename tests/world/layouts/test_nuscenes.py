# SPDX-License-Identifier: Apache-2.0
"""The nuScenes layout, read and judged by the unmodified nuscenes-devkit."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from nuscenes import NuScenes
from nuscenes.eval.detection.config import config_factory
from nuscenes.eval.detection.evaluate import DetectionEval
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.eval.lidarseg.evaluate import LidarSegEval
from nuscenes.eval.lidarseg.utils import LidarsegClassMapper
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import view_points
from nuscenes.utils.splits import create_splits_scenes, get_scenes_of_split
from pyquaternion import Quaternion

from lidistill.world import generate
from lidistill.world.layouts.nuscenes import quaternion
from lidistill.world.presets import MINI_TRAIN, MINI_VAL, PRESETS
from lidistill.world.scene.blueprint import Blueprint
from lidistill.world.sensing.sensors import rotation
from tests.world import nano

SPLITS = {"mini_train": MINI_TRAIN, "mini_val": MINI_VAL}


@pytest.fixture(scope="module")
def root(tiny_world: Path) -> Path:
    return tiny_world / "nuscenes"


@pytest.fixture(scope="module")
def nusc(root: Path) -> NuScenes:
    return NuScenes("v1.0-mini", str(root), verbose=False)


def truth(nusc: NuScenes, names: tuple[str, ...]) -> dict:
    """All boxes with a point, as a submission."""
    attributes = {a["token"]: a["name"] for a in nusc.attribute}
    results = {}
    for sample in nusc.sample:
        if nusc.get("scene", sample["scene_token"])["name"] not in names:
            continue
        boxes = []
        for key in sample["anns"]:
            record = nusc.get("sample_annotation", key)
            name = category_to_detection_name(record["category_name"])
            if name is None or record["num_lidar_pts"] == 0:
                continue
            tokens = record["attribute_tokens"]
            boxes.append(
                {
                    "sample_token": sample["token"],
                    **{k: record[k] for k in ("translation", "size", "rotation")},
                    "velocity": np.nan_to_num(nusc.box_velocity(key)[:2]).tolist(),
                    "detection_name": name,
                    "detection_score": 1.0,
                    "attribute_name": attributes[tokens[0]] if tokens else "",
                }
            )
        assert len(boxes) <= 500  # the evaluation's limit
        results[sample["token"]] = boxes
    meta = dict.fromkeys(("use_camera", "use_lidar", "use_radar", "use_map", "use_external"), False)
    return {"meta": meta, "results": results}


def detection_metrics(nusc: NuScenes, split: str, names: tuple[str, ...], folder: Path):
    path = folder / "truth.json"
    path.write_text(json.dumps(truth(nusc, names)))
    config = config_factory("detection_cvpr_2019")
    return DetectionEval(nusc, config, str(path), split, str(folder), verbose=False).evaluate()[0]


@pytest.mark.parametrize("split", SPLITS)
def test_detection_truth_scores_one_for_every_class(nusc, split, tmp_path):
    metrics = detection_metrics(nusc, split, SPLITS[split], tmp_path)
    assert len(metrics.mean_dist_aps) == 10
    for name, value in metrics.mean_dist_aps.items():
        assert value == pytest.approx(1.0), name
    assert metrics.nd_score == pytest.approx(1.0)


@pytest.mark.parametrize("split", SPLITS)
def test_lidarseg_truth_scores_one_for_every_class(nusc, root, split, tmp_path):
    mapper = LidarsegClassMapper(nusc)
    folder = tmp_path / "lidarseg" / split
    folder.mkdir(parents=True)
    for sample in nusc.sample:
        if nusc.get("scene", sample["scene_token"])["name"] in SPLITS[split]:
            key = sample["data"]["LIDAR_TOP"]
            labels = np.fromfile(root / nusc.get("lidarseg", key)["filename"], np.uint8)
            coarse = mapper.convert_label(labels)
            np.where(coarse == 0, 1, coarse).astype(np.uint8).tofile(folder / f"{key}_lidarseg.bin")
    (tmp_path / split).mkdir()
    (tmp_path / split / "submission.json").write_text('{"meta": {}}')
    result = LidarSegEval(nusc, str(tmp_path), split, verbose=False).evaluate()
    classes = {k: v for k, v in result["iou_per_class"].items() if k != "ignore"}
    assert len(classes) == 16
    for name, value in classes.items():
        assert value == pytest.approx(1.0), name


def global_points(nusc: NuScenes, key: str) -> np.ndarray:
    data = nusc.get("sample_data", key)
    points = LidarPointCloud.from_file(nusc.get_sample_data_path(key)).points[:3].astype(float).T
    for table, token in (
        ("calibrated_sensor", data["calibrated_sensor_token"]),
        ("ego_pose", data["ego_pose_token"]),
    ):
        record = nusc.get(table, token)
        points = points @ Quaternion(record["rotation"]).rotation_matrix.T + record["translation"]
    return points


def test_num_lidar_pts_is_the_number_of_points_in_the_box(nusc):
    total = 0
    for sample in nusc.sample[::3]:
        key = sample["data"]["LIDAR_TOP"]
        points = global_points(nusc, key)
        for box in nusc.get_boxes(key):
            local = (points - box.center) @ box.rotation_matrix
            width, length, height = box.wlh
            inside = (np.abs(local) <= [length / 2, width / 2, height / 2]).all(axis=1).sum()
            assert inside == nusc.get("sample_annotation", box.token)["num_lidar_pts"]
            total += inside
    assert total > 5000


def test_labels_agree_with_boxes(nusc, root):
    """Points in a box carry the box's category."""
    names = {c["index"]: c["name"] for c in nusc.category}
    sample = nusc.sample[0]
    key = sample["data"]["LIDAR_TOP"]
    labels = np.fromfile(root / nusc.get("lidarseg", key)["filename"], np.uint8)
    points = global_points(nusc, key)
    assert len(labels) == len(points)
    for box in nusc.get_boxes(key):
        local = np.abs((points - box.center) @ box.rotation_matrix)
        width, length, height = box.wlh
        inside = (local <= [length / 2, width / 2, height / 2]).all(axis=1)
        assert {names[k] for k in labels[inside]} <= {box.name}


def test_chains_of_time(nusc):
    size = PRESETS["tiny"].nuscenes
    for scene in nusc.scene:
        first = nusc.get("sample", scene["first_sample_token"])
        times, data = [], nusc.get("sample_data", first["data"]["LIDAR_TOP"])
        while data["prev"]:
            data = nusc.get("sample_data", data["prev"])
        while True:
            times.append((data["timestamp"], data["is_key_frame"]))
            if not data["next"]:
                break
            assert nusc.get("sample_data", data["next"])["prev"] == data["token"]
            data = nusc.get("sample_data", data["next"])
        assert len(times) == size.keyframes * (1 + size.sweeps)
        assert all(b[0] > a[0] for a, b in pairwise(times))
        assert [k for _, k in times] == ([False] * size.sweeps + [True]) * size.keyframes


def test_sweeps_of_the_first_keyframe(nusc):
    sample = nusc.get("sample", nusc.scene[0]["first_sample_token"])
    cloud, lags = LidarPointCloud.from_file_multisweep(nusc, sample, "LIDAR_TOP", "LIDAR_TOP", 2)
    assert sorted(np.unique(lags.round(4))) == [0.0, 0.25]
    still = np.abs(cloud.points[2] + 1.84) < 0.03  # both sweeps see one road, in one frame
    assert len(np.unique(lags[0, still])) == 2


def test_instances(nusc):
    for instance in nusc.instance:
        key, count = instance["first_annotation_token"], 0
        before = ""
        while key:
            record = nusc.get("sample_annotation", key)
            assert record["prev"] == before
            assert record["instance_token"] == instance["token"]
            before, key, count = key, record["next"], count + 1
        assert count == instance["nbr_annotations"]
        assert before == instance["last_annotation_token"]
    moving = [a for a in nusc.sample_annotation if "moving" in str(_attributes(nusc, a))]
    speeds = [np.linalg.norm(nusc.box_velocity(a["token"])[:2]) for a in moving]
    assert np.nanmin(speeds) > 0.5


def _attributes(nusc: NuScenes, record: dict) -> list[str]:
    return [nusc.get("attribute", key)["name"] for key in record["attribute_tokens"]]


def test_visibility_has_all_levels(nusc):
    levels = [record["visibility_token"] for record in nusc.sample_annotation]
    assert set(levels) == {"1", "2", "3", "4"}
    assert 0.1 < levels.count("4") / len(levels) < 0.9


@pytest.mark.parametrize("channel", ["CAM_FRONT", "CAM_BACK", "CAM_FRONT_LEFT"])
def test_points_of_a_vehicle_fall_on_its_pixels(nusc, channel):
    """LiDAR to image through both ego poses: the way every user projects."""
    total = good = 0
    for sample in nusc.sample[:6]:
        lidar, camera = sample["data"]["LIDAR_TOP"], sample["data"][channel]
        points = global_points(nusc, lidar)
        data = nusc.get("sample_data", camera)
        for table in ("ego_pose", "calibrated_sensor"):
            record = nusc.get(table, data[f"{table}_token"])
            points = (points - record["translation"]) @ Quaternion(
                record["rotation"]
            ).rotation_matrix
        pixels = view_points(points.T, np.array(record["camera_intrinsic"]), normalize=True)[:2].T
        ahead = (points[:, 2] > 1) & (pixels >= 0).all(axis=1)
        ahead &= (pixels < [data["width"] - 1, data["height"] - 1]).all(axis=1)
        _, boxes, intrinsics = nusc.get_sample_data(camera)
        everywhere = global_points(nusc, lidar)
        for box in boxes:
            record = nusc.get("sample_annotation", box.token)
            local = np.abs(
                (everywhere - record["translation"])
                @ Quaternion(record["rotation"]).rotation_matrix
            )
            w, length, h = record["size"]
            inside = ahead & (local <= [length / 2, w / 2, h / 2]).all(axis=1)
            corners = view_points(box.corners(), intrinsics, normalize=True)[:2]
            low, high = corners.min(axis=1) - 4, corners.max(axis=1) + 4  # things move for 35 ms
            if box.corners()[2].min() > 0.5:
                fits = ((pixels[inside] >= low) & (pixels[inside] <= high)).all(axis=1)
                total, good = total + len(fits), good + fits.sum()
    assert total > 100
    assert good / total > 0.98


def test_scene_names_and_splits(nusc):
    assert {scene["name"] for scene in nusc.scene} == set(MINI_TRAIN) | set(MINI_VAL)
    assert set(create_splits_scenes()["mini_train"]) == set(MINI_TRAIN)
    for scene in nusc.scene:
        assert scene["description"].startswith("synthetic")
    assert all(log["vehicle"] == "n000" for log in nusc.log)


@pytest.mark.parametrize("seed", range(20))
def test_quaternions_equal_pyquaternions(seed):
    rng = np.random.default_rng(seed)
    matrix = rotation(*rng.uniform(-np.pi, np.pi, 3))
    np.testing.assert_allclose(Quaternion(quaternion(matrix)).rotation_matrix, matrix, atol=1e-12)


def test_half_turns_have_quaternions():
    for angles in ((np.pi, 0, 0), (0, np.pi, 0), (0, 0, np.pi), (0, 0, 0)):
        matrix = rotation(*angles)
        np.testing.assert_allclose(
            Quaternion(quaternion(matrix)).rotation_matrix, matrix, atol=1e-12
        )


def test_a_version_with_its_own_splits(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "nano", nano.NANO)
    generate(tmp_path, "nuscenes", "nano", 1)
    own = NuScenes("v1.0-nano", str(tmp_path / "nuscenes"), verbose=False)
    names = tuple(get_scenes_of_split("nano_val", own))
    assert names == nano.NANO.nuscenes.val
    metrics = detection_metrics(own, "nano_val", names, tmp_path)
    assert metrics.mean_dist_aps["car"] == pytest.approx(1.0)


def test_the_gap_between_surface_and_box_is_known():
    """What makes the counts exact: boxes are wider than the noise."""
    plan = Blueprint("car", np.random.default_rng(0))
    plan.box((0, 0, 0.5), (1.0, 0.5, 0.5), "ego", np.ones(3))
    assert plan.finish().size == pytest.approx((2.1, 1.1, 1.08))
