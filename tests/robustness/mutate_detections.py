# SPDX-License-Identifier: Apache-2.0
"""Trials of what detectors train on: info files that mmdet3d's own data sets read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lidistill import compat
from lidistill.converters.kitti.convert import convert_kitti
from lidistill.converters.nuscenes.convert import convert_nuscenes
from lidistill.datasets.bev.paste import PasteObjects
from lidistill.datasets.detections import SeededDetections, seeded
from lidistill.datasets.point_files import LoadCheckedPoints, LoadCheckedSweeps
from lidistill.io import dump_pickle
from tests.converters.fake_kitti import write_fake_kitti
from tests.robustness.mutate_form import OPTIONAL, RAW, ROWS, WORDS, Format, why
from tests.robustness.mutate_kinds import ANY, PICKLE, points
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


def objects(root: Path) -> None:
    """What PasteObjects pastes: two cars of 40 points, beside a pedestrian."""
    rng = np.random.default_rng(0)
    (root / "database").mkdir()
    content: dict[str, list[dict[str, Any]]] = {"car": [], "pedestrian": []}
    for number, (name, size) in enumerate(
        [("car", (4.0, 2.0, 1.5)), ("car", (3.5, 1.8, 1.4)), ("pedestrian", (0.6, 0.6, 1.8))]
    ):
        cloud = np.c_[rng.uniform(-0.5, 0.5, (40, 3)) * size, rng.random((40, 1)) * 255]
        cloud[:, 2] += size[2] / 2
        path = root / "database" / f"{number}.bin"
        cloud.astype("<f4").tofile(path)
        box = [5.0 + 10 * number, 3.0, -1.5, *size, 0.0]
        record = {"name": name, "path": f"database/{path.name}", "box3d_lidar": box}
        content[name].append({**record, "num_points_in_gt": 40, "difficulty": 0})
    dump_pickle(root / "database.pkl", content)


def read_objects(root: Path) -> Any:
    compat.apply()
    from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints

    counts = {"car": 2, "pedestrian": 1}
    paste = PasteObjects(root / "database.pkl", CLASSES, counts, 4, (0, 1, 2, 3))
    frame = {
        "points": LiDARPoints(torch.full((5, 4), 30.0), points_dim=4),
        "gt_bboxes_3d": LiDARInstance3DBoxes(torch.zeros(0, 7)),
        "gt_labels_3d": np.zeros(0, np.int64),
    }
    with seeded(0):
        done = paste(frame)
    boxes, cloud = done["gt_bboxes_3d"].tensor, done["points"].tensor
    return {"boxes": boxes.numpy(), "points": cloud.numpy(), "labels": done["gt_labels_3d"]}


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
        "objects.pkl",
        objects,
        "database.pkl",
        read_objects,
        ANY | PICKLE,
        why(RAW, "flipped bits", "absurd value", "wrong type")
        | why(ROWS, "missing key", "entry twice", "null", "list for a record", "wrong root"),
        {"": "other objects, other frames"},
    ),
    Format(
        "objects.bin",
        objects,
        "database/*.bin",
        read_objects,
        ANY | points(4),
        why(RAW, "flipped bits", "cut", "zeros", "longer"),
        {"": "other points"},
    ),
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
