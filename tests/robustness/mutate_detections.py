# SPDX-License-Identifier: Apache-2.0
"""Trials of what detectors train on: info files that mmdet3d's own data sets read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lidistill import compat
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.datasets.detections import SeededDetections
from lidistill.datasets.point_files import LoadCheckedPoints, LoadCheckedSweeps
from tests.converters.fake_kitti import write_fake_kitti
from tests.robustness.mutate_form import OPTIONAL, RAW, WORDS, Format, why
from tests.robustness.mutate_kinds import ANY, PICKLE
from tests.robustness.mutate_nuscenes import nuscenes

CLASSES = ("car", "pedestrian", "barrier")


def detections_nuscenes(root: Path) -> None:
    nuscenes(root)
    convert_nuscenes(root, "v1.0-fake", root)


def detections_kitti(root: Path) -> None:
    write_fake_kitti(root, training=3, testing=1)
    for cloud in root.glob("*/velodyne/*.bin"):
        cloud.write_bytes(cloud.read_bytes()[: 16 * 300])
    convert_kitti(root, root)


def _samples(data: SeededDetections) -> list[Any]:
    found = []
    for index in range(len(data)):
        sample = data[index]
        truth = sample["data_samples"].gt_instances_3d
        found.append(
            {
                "points": sample["inputs"]["points"].numpy(),
                "boxes": truth.bboxes_3d.tensor.numpy(),
                "classes": truth.labels_3d,
            }
        )
    return found


def _data(kind: str, root: Path, name: str, classes: tuple[str, ...], width: int, **options: Any):
    compat.apply()
    pipeline = [
        dict(type=LoadCheckedPoints, load_dim=width, use_dim=width),
        *([dict(type=LoadCheckedSweeps, sweeps_num=2, test_mode=True)] if width == 5 else []),
        dict(type="LoadAnnotations3D", with_bbox_3d=True, with_label_3d=True),
        dict(type="Pack3DDetInputs", keys=["points", "gt_bboxes_3d", "gt_labels_3d"]),
    ]
    frames = dict(
        type=kind, data_root=str(root), ann_file=name, pipeline=pipeline, filter_empty_gt=False,
        metainfo={"classes": list(classes)}, modality={"use_lidar": True}, **options,
    )  # fmt: skip
    return _samples(SeededDetections(frames))


def read_nuscenes(root: Path) -> Any:
    prefix = {"pts": "samples/LIDAR_TOP", "sweeps": "sweeps/LIDAR_TOP"}
    name = "lidistill_infos_train.pkl"
    return _data("NuScenesDataset", root, name, CLASSES, 5, data_prefix=prefix)


def read_kitti(root: Path) -> Any:
    name, classes = "kitti_infos_trainval.pkl", ("Pedestrian", "Cyclist", "Car")
    return _data("KittiDataset", root, name, classes, 4, data_prefix={"pts": "training/velodyne"})


_KINDS = (
    why(RAW, "flipped bits", "absurd value")
    | why(WORDS, "wrong type")
    | why(OPTIONAL, "missing key", "null", "entry twice", "list for a record", "wrong root")
)
_FREE = {
    r"^\[\]$": "any number of frames",
    r"boxes|classes": "any number of boxes; a class may be one that is not taught",
    r"points": "sweeps may be left out",
}
DETECTIONS = (
    Format(
        "detections.nuscenes.pkl",
        detections_nuscenes,
        "lidistill_infos_train.pkl",
        read_nuscenes,
        ANY | PICKLE,
        _KINDS,
        _FREE,
    ),
    Format(
        "detections.kitti.pkl",
        detections_kitti,
        "kitti_infos_trainval.pkl",
        read_kitti,
        ANY | PICKLE,
        _KINDS,
        _FREE,
    ),
)
