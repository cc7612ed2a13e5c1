# SPDX-License-Identifier: Apache-2.0
"""KITTI's data set with classes of one's own, against the label files line by line."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from lidistill import compat
from lidistill.converters.info_paths import frame_token
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.datasets.detections import SeededDetections, kitti_frames
from lidistill.io import DataError, dump_pickle, load_pickle
from tests.converters.fake_kitti import write_fake_kitti

compat.apply()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_fake_kitti(tmp_path_factory.mktemp("kitti"), training=2, testing=1)
    for path in root.glob("training/label_2/*.txt"):
        path.write_text(path.read_text().replace("Van ", "Forklift "))
    convert_kitti(root, classes=["Car", "Forklift"])
    return root


def frames(root: Path, *classes: str):
    return kitti_frames(
        ann_file="kitti_infos_train.pkl",
        data_root=str(root),
        data_prefix={"pts": "training/velodyne"},
        metainfo={"classes": classes},
        pipeline=[],
    )


@pytest.mark.parametrize("classes", [("Car", "Forklift"), ("Forklift", "Car"), ("Forklift",)])
def test_labels_are_places_in_the_detectors_list(root: Path, classes: tuple[str, ...]) -> None:
    dataset = frames(root, *classes)
    words = (root / "training/label_2/000000.txt").read_text().splitlines()
    names = [line.split()[0] for line in words]
    expected = [classes.index(name) for name in names if name in classes]
    found = dataset.get_data_info(0)["ann_info"]["gt_labels_3d"].tolist()
    assert [label for label in found if label >= 0] == expected
    assert len(expected) == len(classes)
    assert dataset.metainfo["classes"] == classes
    again = pickle.loads(pickle.dumps(dataset))  # as a worker process gets it
    assert again.get_data_info(0)["ann_info"]["gt_labels_3d"].tolist() == found


def test_a_frame_has_one_name_in_its_file_and_in_the_data_set(root: Path) -> None:
    content = load_pickle(root / "kitti_infos_train.pkl")
    for frame in content["data_list"]:  # as mmdet3d's own converter writes them
        del frame["token"]
        frame["sample_idx"] = 7
        frame["lidar_points"]["lidar_path"] = "000007.bin"
    dump_pickle(root / "theirs.pkl", content)
    options = {"data_root": str(root), "metainfo": {"classes": ("Car",)}, "pipeline": []}
    dataset = kitti_frames(
        ann_file="theirs.pkl", data_prefix={"pts": "training/velodyne"}, **options
    )
    assert dataset.get_data_info(0)["sample_idx"] == 0  # mmengine's own
    assert frame_token(dataset.get_data_info(0)) == frame_token(content["data_list"][0]) == "000007"
    assert SeededDetections(dataset, labelled=["000007"]).labelled == [True]


def test_a_class_that_is_not_taught(root: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)Car, Forklift.*got Pedestrian.*--classes Car"):
        frames(root, "Car", "Pedestrian")
