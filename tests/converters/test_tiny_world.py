# SPDX-License-Identifier: Apache-2.0
"""The embedded world through the converters, against mmdet3d's own converter's functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidistill.compat import apply
from lidistill.converters.infos import NUSCENES_CLASSES, load_infos
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.geometry.boxes import kitti_to_lidar_boxes, points_in_boxes

apply()
from mmdet3d.datasets import convert_utils  # noqa: E402
from nuscenes.nuscenes import NuScenes  # noqa: E402


@pytest.fixture(scope="module")
def nuscenes_infos(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return convert_nuscenes(tiny_world / "nuscenes", "v1.0-mini", tmp_path_factory.mktemp("n"))


@pytest.fixture(scope="module")
def kitti_infos(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return convert_kitti(tiny_world / "kitti", tmp_path_factory.mktemp("k"))


def test_every_sample_of_the_tables(tiny_world: Path, nuscenes_infos: dict[str, Path]) -> None:
    devkit = NuScenes("v1.0-mini", str(tiny_world / "nuscenes"), verbose=False)
    frames = [frame for path in nuscenes_infos.values() for frame in load_infos(path).frames]
    assert sorted(frame["token"] for frame in frames) == sorted(s["token"] for s in devkit.sample)
    labels = {i["bbox_label_3d"] for frame in frames for i in frame["instances"]}
    assert labels >= set(range(len(NUSCENES_CLASSES)))
    for frame in frames:
        assert len(frame["images"]) == 6
        assert frame["lidar_sweeps"]
        assert frame["pts_semantic_mask_path"]


def test_counts_of_points_are_those_in_the_boxes(
    tiny_world: Path, nuscenes_infos: dict[str, Path]
) -> None:
    """The world counts by cast ids: a box in a wrong place or turned would hold other points."""
    counted, expected = [], []
    for frame in load_infos(nuscenes_infos["train"]).frames[:6]:
        path = tiny_world / "nuscenes/samples/LIDAR_TOP" / frame["lidar_points"]["lidar_path"]
        points = np.fromfile(path, "<f4").reshape(-1, 5)
        boxes = np.array([i["bbox_3d"] for i in frame["instances"]])
        counted += points_in_boxes(points[:, :3], boxes).sum(axis=0).tolist()
        expected += [i["num_lidar_pts"] for i in frame["instances"]]
    assert np.corrcoef(counted, expected)[0, 1] > 0.99


def test_camera_instances_are_mmdet3ds(
    tiny_world: Path, nuscenes_infos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal to mmdet3d's, once its fixed 1600 x 900 canvas is the images' real size."""
    devkit = NuScenes("v1.0-mini", str(tiny_world / "nuscenes"), verbose=False)
    compared = 0
    for frame in load_infos(nuscenes_infos["val"]).frames[:2]:
        for name, image in frame["images"].items():
            size = (image["width"], image["height"])
            assert size != (1600, 900)
            monkeypatch.setattr(convert_utils.post_process_coords, "__defaults__", (size,))
            expected = convert_utils.get_nuscenes_2d_boxes(
                devkit, image["sample_data_token"], ["", "1", "2", "3", "4"]
            )
            found = frame["cam_instances"][name]
            _assert_contains(found, expected)
            compared += len(expected)
    assert compared > 50


def _assert_contains(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for key, value in theirs.items():
            np.testing.assert_allclose(ours[key], value, rtol=1e-4, atol=2e-4, err_msg=key)


def test_kitti_camera_instances_are_mmdet3ds(kitti_infos: dict[str, Path]) -> None:
    compared = 0
    for frame in load_infos(kitti_infos["trainval"]).frames:
        annotations = _v1_annotations(frame)
        image = frame["images"]["CAM2"]
        info = {
            "image": {"image_idx": 0, "image_shape": (image["height"], image["width"])},
            "calib": {"P2": np.array(image["cam2img"])},
        }
        expected = convert_utils.get_kitti_style_2d_boxes(
            info, occluded=(0, 1, 2, 3), annos=annotations
        )
        _assert_contains(frame["cam_instances"]["CAM2"], expected)
        compared += len(expected)
    assert compared > 10


def _v1_annotations(frame: dict[str, Any]) -> dict[str, np.ndarray]:
    """The instances in the arrays that mmdet3d's function takes."""
    names = [*convert_utils.kitti_categories, "DontCare"]
    boxes = np.array([i["bbox_3d"] for i in frame["instances"]]).reshape(-1, 7)
    return {
        "name": np.array([names[i["bbox_label"]] for i in frame["instances"]]),
        "occluded": np.array([i["occluded"] for i in frame["instances"]]),
        "location": boxes[:, :3],
        "dimensions": boxes[:, 3:6],
        "rotation_y": boxes[:, 6],
    }


def test_kitti_tracks_and_counts(tiny_world: Path, kitti_infos: dict[str, Path]) -> None:
    frames = load_infos(kitti_infos["trainval"]).frames
    places: dict[tuple[str, int], list[np.ndarray]] = {}
    for frame in frames:
        lidar_from_camera = np.linalg.inv(frame["images"]["CAM2"]["lidar2cam"])
        path = tiny_world / "kitti/training/velodyne" / frame["lidar_points"]["lidar_path"]
        points = np.fromfile(path, "<f4").reshape(-1, 4)
        for instance in frame["instances"]:
            real = instance["bbox_label_3d"] >= 0
            assert (instance["track_id"] >= 0) == (instance["num_lidar_pts"] >= 0)
            if not real:
                continue
            x, y, z, length, height, width, turn = instance["bbox_3d"]
            row = np.array([[height, width, length, x, y, z, turn]])
            box = kitti_to_lidar_boxes(row, lidar_from_camera)
            inside = int(points_in_boxes(points[:, :3], box).sum())
            assert instance["num_lidar_pts"] <= inside  # the count keeps what camera 2 can see
            key = (frame["raw_drive"], instance["track_id"])
            places.setdefault(key, []).append(np.array([length, width, height]))
    assert any(len(sizes) > 1 for sizes in places.values())
    for sizes in places.values():  # one track is one object: its size does not change
        np.testing.assert_allclose(sizes, np.broadcast_to(sizes[0], (len(sizes), 3)), atol=0.011)
