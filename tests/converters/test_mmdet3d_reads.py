# SPDX-License-Identifier: Apache-2.0
"""mmdet3d's own datasets and pipelines read what the converters write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidistill.compat import apply
from lidistill.converters.infos import NUSCENES_CLASSES, load_infos
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.converters.semantic_kitti.convert import convert_semantic_kitti
from tests.converters.fake_kitti import write_fake_kitti
from tests.converters.fake_nuscenes import SIZE, write_fake_nuscenes
from tests.converters.fake_semantic_kitti import write_fake_semantic_kitti

apply()
from mmdet3d.datasets import KittiDataset, NuScenesDataset, Seg3DDataset  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT")
PREFIX = {
    "pts": "samples/LIDAR_TOP",
    "sweeps": "sweeps/LIDAR_TOP",
    **{name: f"samples/{name}" for name in (*CAMERAS, "CAM_BACK_RIGHT")},
}
ANNOTATIONS = {"type": "LoadAnnotations3D", "with_bbox_3d": True, "with_label_3d": True}
PACK = {"type": "Pack3DDetInputs", "keys": ["points", "gt_bboxes_3d", "gt_labels_3d"]}


@pytest.fixture(autouse=True)
def _scope() -> Iterator[None]:
    """Transforms named by strings are mmdet3d's."""
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        yield


def _points(dimensions: int) -> dict[str, Any]:
    size = {"load_dim": dimensions, "use_dim": dimensions}
    return {"type": "LoadPointsFromFile", "coord_type": "LIDAR", **size}


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_fake_nuscenes(tmp_path_factory.mktemp("fake"), ["a", "b"], "v1.0-fake")
    splits = {"fake_train": ["a"], "fake_val": ["b"]}
    (root / "v1.0-fake" / "splits.json").write_text(json.dumps(splits))
    convert_nuscenes(root, "v1.0-fake")
    return root


@pytest.fixture(scope="module")
def fake_kitti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_fake_kitti(tmp_path_factory.mktemp("kitti"), training=4, testing=1)
    convert_kitti(root, with_plane=True)
    return root


def _nuscenes(root: Path, ann_file: str, **options: Any) -> NuScenesDataset:
    arguments = {"modality": {"use_lidar": True, "use_camera": True}, "data_prefix": dict(PREFIX)}
    return NuScenesDataset(str(root), ann_file, **{**arguments, **options})


def test_nuscenes_points_sweeps_and_boxes(fake: Path) -> None:
    sweeps = {"type": "LoadPointsFromMultiSweeps", "sweeps_num": 10, "use_dim": [0, 1, 2, 3, 4]}
    dataset = _nuscenes(
        fake, "lidistill_infos_train.pkl", pipeline=[_points(5), sweeps, ANNOTATIONS, PACK]
    )
    frames = load_infos(fake / "lidistill_infos_train.pkl").frames
    assert len(dataset) == len(frames) == 3
    for index, frame in enumerate(frames):
        files = [fake / PREFIX["pts"] / frame["lidar_points"]["lidar_path"]]
        files += [fake / s["lidar_points"]["lidar_path"] for s in frame["lidar_sweeps"]]
        sample = dataset.prepare_data(index)
        if sample is None:  # mmdet3d drops frames without a box that has points
            assert not any(i["num_lidar_pts"] > 0 for i in frame["instances"])
            continue
        points = sample["inputs"]["points"]
        assert len(points) == sum(path.stat().st_size for path in files) // 20
        lags = np.unique(points[:, 4].numpy().round(3))
        expected = [0.0, *(frame["timestamp"] - s["timestamp"] for s in frame["lidar_sweeps"])]
        np.testing.assert_allclose(lags, expected, atol=1e-3)
        kept = [i for i in frame["instances"] if i["num_lidar_pts"] > 0]
        boxes = sample["data_samples"].gt_instances_3d.bboxes_3d
        centers = [i["bbox_3d"][:3] for i in kept]
        np.testing.assert_allclose(boxes.gravity_center.numpy(), centers, rtol=1e-5)
        velocity = np.nan_to_num([i["velocity"] for i in kept])
        np.testing.assert_allclose(boxes.tensor[:, 7:9].numpy(), velocity, rtol=1e-5)
        labels = sample["data_samples"].gt_instances_3d.labels_3d.tolist()
        assert labels == [i["bbox_label_3d"] for i in kept]


def test_nuscenes_images(fake: Path) -> None:
    pipeline = [
        {"type": "LoadMultiViewImageFromFiles", "num_views": 2},
        {"type": "Pack3DDetInputs", "keys": ["img"], "meta_keys": ["lidar2cam", "cam2img"]},
    ]
    dataset = _nuscenes(
        fake, "lidistill_infos_val.pkl", pipeline=pipeline, test_mode=True, load_eval_anns=False
    )
    sample = dataset.prepare_data(1)
    assert tuple(sample["inputs"]["img"].shape) == (2, 3, SIZE[1], SIZE[0])
    images = load_infos(fake / "lidistill_infos_val.pkl").frames[1]["images"]
    meta = sample["data_samples"].metainfo
    for index, image in enumerate(images.values()):
        np.testing.assert_allclose(meta["lidar2cam"][index], image["lidar2cam"])


def test_nuscenes_files_elsewhere(fake: Path, tmp_path: Path) -> None:
    """Key frames of every sensor in two folders of blobs: empty prefixes read them all."""
    root = Path(shutil.copytree(fake, tmp_path / "copy"))
    table = root / "v1.0-fake" / "sample_data.json"
    rows = json.loads(table.read_text())
    for number, row in enumerate(rows):
        if row["filename"].startswith("samples/") and "RADAR" not in row["filename"]:
            name = f"blob{number % 2}/{row['filename']}"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / row["filename"]).rename(root / name)
            row["filename"] = name.replace("/", "\\")
    table.write_text(json.dumps(rows))
    convert_nuscenes(root, "v1.0-fake")
    pipeline = [
        _points(5),
        {"type": "LoadMultiViewImageFromFiles", "num_views": 2},
        {"type": "Pack3DDetInputs", "keys": ["points", "img"]},
    ]
    options = {"pipeline": pipeline, "test_mode": True, "load_eval_anns": False}
    prefix = {"pts": "", "sweeps": "sweeps/LIDAR_TOP", "CAM_FRONT": "", "CAM_BACK": ""}
    there = _nuscenes(root, "lidistill_infos_train.pkl", data_prefix=prefix, **options)
    before = _nuscenes(fake, "lidistill_infos_train.pkl", **options)
    for index in range(3):
        one, two = before.prepare_data(index)["inputs"], there.prepare_data(index)["inputs"]
        assert one["points"].equal(two["points"])
        assert one["img"].equal(two["img"])
    sweeps = [
        [s["lidar_points"]["lidar_path"] for s in dataset.get_data_info(2)["lidar_sweeps"]]
        for dataset in (before, there)
    ]
    swept = [[Path(p).name for p in paths if "/sweeps/" in p] for paths in sweeps]
    assert swept[0] == swept[1]
    assert len(swept[0]) > 3


@pytest.mark.parametrize("valid_flag", [True, False])
def test_nuscenes_monocular(fake: Path, valid_flag: bool) -> None:
    """One sample a camera; mmdet3d's own infos serve only use_valid_flag=True here."""
    dataset = _nuscenes(
        fake,
        "lidistill_infos_train.pkl",
        pipeline=[],
        load_type="mv_image_based",
        box_type_3d="Camera",
        modality={"use_camera": True, "use_lidar": False},
        use_valid_flag=valid_flag,
    )
    frames = load_infos(fake / "lidistill_infos_train.pkl").frames
    instances = [i for frame in frames for i in frame["cam_instances"].values()]
    assert len(dataset) == len(instances) == 6
    boxes = 0
    for index, expected in enumerate(instances):
        found = dataset.get_data_info(index)["ann_info"]
        if not valid_flag:
            expected = [i for i in expected if i["num_lidar_pts"] > 0]  # noqa: PLW2901
        assert len(found["gt_bboxes_3d"]) == len(expected)
        boxes += len(expected)
        if expected:
            np.testing.assert_allclose(found["gt_bboxes"], [i["bbox"] for i in expected], rtol=1e-5)
            assert found["attr_labels"].tolist() == [i["attr_label"] for i in expected]
    assert boxes


class _LidarSeg(Seg3DDataset):
    METAINFO = {  # noqa: RUF012
        "classes": ("car", "person"),
        "palette": [[0, 0, 0], [1, 1, 1]],
        "seg_valid_class_ids": (0, 1),
        "seg_all_class_ids": (0, 1, 2, 3),
    }


def test_nuscenes_lidarseg(fake: Path) -> None:
    """mmdet3d 1.4 has no nuScenes segmentation set of its own: its base class reads the paths."""
    labels = {
        "type": "LoadAnnotations3D",
        "with_bbox_3d": False,
        "with_label_3d": False,
        "with_seg_3d": True,
        "seg_3d_dtype": "np.uint8",
    }
    dataset = _LidarSeg(
        str(fake),
        "lidistill_infos_train.pkl",
        metainfo={"classes": _LidarSeg.METAINFO["classes"]},
        data_prefix={"pts": PREFIX["pts"], "pts_semantic_mask": "lidarseg/v1.0-fake"},
        pipeline=[_points(5), labels, {"type": "PointSegClassMapping"}],
    )
    assert len(dataset) == 3
    for index in range(3):
        sample = dataset[index]
        assert len(sample["pts_semantic_mask"]) == len(sample["points"]) > 0


def _kitti(root: Path, ann_file: Path, points: str, **options: Any) -> KittiDataset:
    arguments = {
        "modality": {"use_lidar": True, "use_camera": True},
        "data_prefix": {"pts": f"training/{points}", "img": "training/image_2"},
        "pipeline": [_points(4), ANNOTATIONS, PACK],
        "filter_empty_gt": False,
    }
    return KittiDataset(str(root), str(ann_file), **{**arguments, **options})


def _check_kitti(dataset: KittiDataset, infos: Path) -> int:
    """Frames whose every object lies where its points are; returns the number of boxes."""
    boxes_seen = 0
    frames = load_infos(infos).frames
    assert len(dataset) == len(frames)
    for index, frame in enumerate(frames):
        sample = dataset.prepare_data(index)
        kept = [i for i in frame["instances"] if i["bbox_label_3d"] >= 0]
        truth = sample["data_samples"].gt_instances_3d
        assert truth.labels_3d.tolist() == [i["bbox_label_3d"] for i in kept]
        if not kept:
            continue
        camera = np.array([[*i["bbox_3d"][:3], 1.0] for i in kept])
        lidar = camera @ np.linalg.inv(frame["images"]["CAM2"]["lidar2cam"]).T
        bottom = truth.bboxes_3d.bottom_center.numpy()
        np.testing.assert_allclose(bottom, lidar[:, :3], atol=1e-4)
        boxes_seen += len(kept)
    return boxes_seen


@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_kitti(fake_kitti: Path, split: str) -> None:
    infos = fake_kitti / f"kitti_infos_{split}.pkl"
    dataset = _kitti(fake_kitti, infos, "velodyne")
    assert _check_kitti(dataset, infos) == {"train": 10, "val": 5, "trainval": 15}[split]
    info = dataset.get_data_info(0)
    assert Path(info["images"]["CAM2"]["img_path"]).is_file()
    assert np.isfinite(info["plane"]).all()


def test_kitti_test_split_and_monocular(fake_kitti: Path) -> None:
    prefix = {"pts": "testing/velodyne", "img": "testing/image_2"}
    infos = fake_kitti / "kitti_infos_test.pkl"
    # Without load_eval_anns=False mmdet3d stumbles over a frame without labels (image based only).
    common = {"test_mode": True, "load_eval_anns": False, "pipeline": [], "data_prefix": prefix}
    for load_type in ("frame_based", "fov_image_based"):
        dataset = _kitti(fake_kitti, infos, "velodyne", load_type=load_type, **common)
        assert len(dataset) == 1
        assert Path(dataset.get_data_info(0)["lidar_points"]["lidar_path"]).is_file()
    dataset = _kitti(
        fake_kitti,
        fake_kitti / "kitti_infos_train.pkl",
        "velodyne",
        load_type="fov_image_based",
        box_type_3d="Camera",
        pipeline=[],
    )
    frames = load_infos(fake_kitti / "kitti_infos_train.pkl").frames
    for index, frame in enumerate(frames):
        found = dataset.get_data_info(index)["ann_info"]["gt_bboxes"]
        assert len(found) == sum(i["bbox_label"] >= 0 for i in frame["cam_instances"]["CAM2"])


def test_real_nuscenes(realdata_dir: Path, tmp_path: Path) -> None:
    root = realdata_dir / "nuscenes"
    written = convert_nuscenes(root, "v1.0-trainval", tmp_path, jobs=1)
    assert {s: len(load_infos(p).frames) for s, p in written.items()} == {"train": 1, "val": 1}
    for split, expected in (("train", 69), ("val", 37)):
        dataset = _nuscenes(
            root,
            str(written[split]),
            metainfo={"classes": NUSCENES_CLASSES},
            pipeline=[_points(5), ANNOTATIONS, PACK],
        )
        frame = load_infos(written[split]).frames[0]
        assert len(frame["instances"]) == expected
        sample = dataset.prepare_data(0)
        points = sample["inputs"]["points"].numpy()
        boxes = sample["data_samples"].gt_instances_3d.bboxes_3d
        # The tables' point counts come from the dataset: boxes in the wrong place would not agree.
        inside = _points_in(points, boxes.tensor.numpy())
        counts = np.array([i["num_lidar_pts"] for i in frame["instances"]])
        counts = counts[counts > 0]
        assert np.corrcoef(inside, counts)[0, 1] > 0.99
        dense = counts >= 20
        np.testing.assert_allclose(inside[dense], counts[dense], rtol=0.1, atol=3)


def _points_in(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Points in boxes (x, y, z bottom, l, w, h, yaw), one box at a time."""
    counts = []
    for x, y, z, length, width, height, yaw in boxes[:, :7]:
        delta = points[:, :3] - [x, y, z]
        along = delta[:, 0] * np.cos(yaw) + delta[:, 1] * np.sin(yaw)
        across = delta[:, 1] * np.cos(yaw) - delta[:, 0] * np.sin(yaw)
        mask = (abs(along) <= length / 2) & (abs(across) <= width / 2)
        counts.append((mask & (delta[:, 2] >= 0) & (delta[:, 2] <= height)).sum())
    return np.array(counts)


def test_real_kitti(realdata_dir: Path, tmp_path: Path) -> None:
    root = realdata_dir / "kitti"
    written = convert_kitti(root, tmp_path, points="velodyne_reduced")
    assert {s: len(load_infos(p).frames) for s, p in written.items()} == {
        "train": 5,
        "val": 5,
        "trainval": 10,
        "test": 1,
    }
    dataset = _kitti(root, written["trainval"], "velodyne_reduced")
    assert _check_kitti(dataset, written["trainval"]) == sum(
        i["bbox_label_3d"] >= 0
        for f in load_infos(written["trainval"]).frames
        for i in f["instances"]
    )
    for index, frame in enumerate(load_infos(written["trainval"]).frames):
        sample = dataset.prepare_data(index)
        boxes = sample["data_samples"].gt_instances_3d.bboxes_3d.tensor.numpy()
        inside = _points_in(sample["inputs"]["points"].numpy(), boxes)
        counts = [i["num_lidar_pts"] for i in frame["instances"] if i["bbox_label_3d"] >= 0]
        np.testing.assert_allclose(inside, counts, atol=2)


def test_semantic_kitti(tmp_path: Path) -> None:
    root = write_fake_semantic_kitti(tmp_path / "kitti")
    convert_semantic_kitti(root)
    dataset = _LidarSeg(
        str(root),
        "semantickitti_infos_train.pkl",
        metainfo={"classes": _LidarSeg.METAINFO["classes"]},
        data_prefix={"pts": "", "pts_semantic_mask": ""},
        pipeline=[_points(4)],
    )
    info = dataset.get_data_info(4)
    assert info["pts_semantic_mask_path"] == str(root / "sequences/02/labels/000001.label")
    points = np.fromfile(root / "sequences/02/velodyne/000001.bin", dtype=np.float32)
    np.testing.assert_array_equal(dataset[4]["points"].tensor.numpy().ravel(), points)
