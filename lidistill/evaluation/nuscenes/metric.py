# SPDX-License-Identifier: Apache-2.0
"""nuScenes detection scores (mAP, NDS) by the unmodified devkit, on any version and split.

mmdet3d's own metric knows two versions. This one takes version and split from the info file, so
data in nuScenes' layout with a ``splits.json`` (the embedded world's preset ``bench``) is scored by
the same code, and a detector that finds nothing gets 0 where the devkit fails.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from numpy.typing import NDArray

from lidistill.converters.infos import NUSCENES_CLASSES, InfoFile, load_infos
from lidistill.converters.nuscenes.results import box_fault, speed_fault
from lidistill.evaluation.detections import boxes_of_sample, check_finite, frame_of, frames_by_file
from lidistill.evaluation.nuscenes.breakdown import Boxes, Group, by_points, by_range
from lidistill.io import write_json
from lidistill.registry import METRICS

CONFIG = "detection_cvpr_2019"
ERRORS = {
    "trans_err": "mATE",
    "scale_err": "mASE",
    "orient_err": "mAOE",
    "vel_err": "mAVE",
    "attr_err": "mAAE",
}
MOVING_SPEED = 0.2  # m/s; above, mmdet3d calls a vehicle moving and a cycle ridden
_VEHICLES = ("car", "construction_vehicle", "bus", "truck", "trailer")
_ATTRIBUTE_AT_REST = {
    "car": "vehicle.parked",
    "truck": "vehicle.parked",
    "trailer": "vehicle.parked",
    "construction_vehicle": "vehicle.parked",
    "bus": "vehicle.stopped",
    "bicycle": "cycle.without_rider",
    "motorcycle": "cycle.without_rider",
    "pedestrian": "pedestrian.standing",
}


@dataclass(frozen=True)
class DetectionScores:
    """Detection scores of one split.

    Attributes:
        map: mean average precision, 0..1; the mean over all ten classes.
        nds: nuScenes detection score, 0..1.
        ap: average precision of each class; NaN for one without a true box that counts, which the
            devkit's mean counts as 0.
        errors: mATE (m), mASE, mAOE (rad), mAVE (m/s), mAAE; lower is better, 1 where unknown.
        boxes: true boxes that counted: in range and with at least one point.
        predicted: predicted boxes that counted.
        frames: keyframes.
        protocol: in words, with what could not be scored; print it beside the numbers.
        objects: class -> true boxes that counted.
        groups: AP by distance and by points in the box.
    """

    map: float
    nds: float
    ap: dict[str, float]
    errors: dict[str, float] = field(default_factory=dict)
    boxes: int = 0
    predicted: int = 0
    frames: int = 0
    protocol: str = ""
    objects: dict[str, int] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """Name -> number, as an mmengine metric returns them."""
        per_class = {f"AP/{name}": value for name, value in self.ap.items()}
        return {"mAP": self.map, "NDS": self.nds, **self.errors, **per_class}


def attribute_of(name: str, speed: float) -> str:
    """The attribute that a detector without an attribute head is given.

    Args:
        name: detection class.
        speed: m/s.

    Source: mmdet3d, ``NuScenesMetric``.
    """
    if speed > MOVING_SPEED:
        if name in _VEHICLES:
            return "vehicle.moving"
        if name in ("bicycle", "motorcycle"):
            return "cycle.with_rider"
        if name == "pedestrian":
            return "pedestrian.moving"
    return _ATTRIBUTE_AT_REST.get(name, "")


def to_global(
    info: Mapping[str, Any],
    boxes: NDArray,
    scores: NDArray,
    labels: NDArray,
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """Boxes of one keyframe as entries of nuScenes' result file.

    Boxes beyond their class's range of evaluation are left out, those of classes that nuScenes does
    not score, and of the others all but the 500 best, which is as many as the devkit takes.

    Args:
        info: the keyframe's entry of the info file.
        boxes: (M, 7) or (M, 9) in the LiDAR frame, centre origin, metres, radians, m/s.
        scores: (M,).
        labels: (M,) indices into ``classes``.
        classes: class names in the detector's order.

    Raises:
        ValueError: a score or a value of a box is no number; names the keyframe.
    """
    from nuscenes.eval.common.config import config_factory
    from pyquaternion import Quaternion

    config = config_factory(CONFIG)
    ego_from_lidar = np.asarray(info["lidar_points"]["lidar2ego"], dtype=np.float64)
    global_from_ego = np.asarray(info["ego2global"], dtype=np.float64)
    global_from_lidar = global_from_ego @ ego_from_lidar
    turn = Quaternion(matrix=global_from_ego, rtol=1e-5, atol=1e-7) * Quaternion(
        matrix=ego_from_lidar, rtol=1e-5, atol=1e-7
    )
    boxes = np.asarray(boxes, dtype=np.float64)
    check_finite(boxes, np.asarray(scores), str(info["token"]))
    velocity = np.zeros((len(boxes), 3))
    if boxes.shape[1] >= 9:
        velocity[:, :2] = boxes[:, 7:9]
    velocity = velocity @ global_from_lidar[:3, :3].T
    centres = boxes[:, :3] @ global_from_lidar[:3, :3].T + global_from_lidar[:3, 3]
    in_ego = boxes[:, :3] @ ego_from_lidar[:3, :3].T + ego_from_lidar[:3, 3]
    entries = []
    for row in np.argsort(-np.asarray(scores), kind="stable"):
        name = classes[int(labels[row])]
        if np.hypot(*in_ego[row, :2]) > config.class_range.get(name, -1.0):
            continue
        heading = turn * Quaternion(axis=[0, 0, 1], radians=float(boxes[row, 6]))
        length, width, height = boxes[row, 3:6].tolist()
        entries.append(
            {
                "sample_token": info["token"],
                "translation": centres[row].tolist(),
                "size": [width, length, height],
                "rotation": heading.elements.tolist(),
                "velocity": velocity[row, :2].tolist(),
                "detection_name": name,
                "detection_score": float(scores[row]),
                "attribute_name": attribute_of(name, float(np.hypot(*velocity[row, :2]))),
            }
        )
    return entries[: config.max_boxes_per_sample]


def evaluate_nuscenes(
    root: str | Path, version: str, split: str, results: Mapping[str, list[dict[str, Any]]]
) -> DetectionScores:
    """Score a split with nuscenes-devkit's ``DetectionEval``.

    Args:
        root: data root.
        version: the tables' folder; a version of your own names its splits in ``splits.json``.
        split: as the devkit knows it: ``mini_val``, ``val``, or a name of ``splits.json``.
        results: sample token -> entries as :func:`to_global` makes them; one for every sample of
            the split, empty where nothing was found.

    Returns:
        The scores; with no box at all every AP and NDS is 0 and every error 1 (the devkit fails).

    Raises:
        ValueError: the split holds no annotated box, results lack a sample, or an entry holds NaN.
    """
    from nuscenes import NuScenes
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    config = config_factory(CONFIG)
    _check_entries(results, config.class_names)
    empty = not any(results.values())
    stand_in = _stand_in(next(iter(results), "")) if empty else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        content = {"meta": {"use_lidar": True}, "results": {**results, **stand_in}}
        path.write_text(json.dumps(content), encoding="utf-8")
        tables = NuScenes(version, str(root), verbose=False)
        try:
            evaluation = DetectionEval(tables, config, str(path), split, folder, verbose=False)
        except (AssertionError, KeyError) as error:
            raise ValueError(
                f"{root} {version}, split {split}, {len(results)} keyframes of results: the devkit "
                f"says {error!r}; give one entry (maybe empty) for every keyframe of the split"
            ) from error
        if not any(evaluation.gt_boxes.boxes.values()):
            raise ValueError(f"split {split} of {root} {version} has no box with points in range")
        metrics, _ = evaluation.evaluate()
    summary = metrics.serialize()
    counts = Counter(b.detection_name for bs in evaluation.gt_boxes.boxes.values() for b in bs)
    objects = {name: counts[name] for name in config.class_names}
    ap = {name: float(summary["mean_dist_aps"][name]) for name in config.class_names}
    names = list(config.class_names)
    truth = Boxes.of(evaluation.gt_boxes, names)
    found = Boxes.of(evaluation.pred_boxes, names)
    return DetectionScores(
        map=float(summary["mean_ap"]),
        nds=float(summary["nd_score"]),
        ap={name: ap[name] if objects[name] else math.nan for name in ap},
        errors={short: float(summary["tp_errors"][name]) for name, short in ERRORS.items()},
        boxes=sum(objects.values()),
        predicted=sum(map(len, evaluation.pred_boxes.boxes.values())),
        frames=len(evaluation.sample_tokens),
        protocol=(
            f"nuScenes detection ({CONFIG}), nuscenes-devkit's DetectionEval, split {split} of "
            f"{version}; true boxes without a point do not count"
            + ("; the detector found nothing" if empty else "")
            + _absent(objects)
        ),
        objects=objects,
        groups=by_range(truth, found, names) + by_points(truth, found, names),
    )


def _absent(objects: Mapping[str, int]) -> str:
    absent = [name for name, count in objects.items() if count == 0]
    if not absent:
        return ""
    return (
        f"; no true box counts of {', '.join(absent)}: their AP is NaN here, and 0 in the devkit's "
        "mean over all ten"
    )


def _check_entries(results: Mapping[str, list[dict[str, Any]]], classes: Sequence[str]) -> None:
    """The devkit asserts on the first entry that it cannot take, and does not say which."""
    for token, entries in results.items():
        for number, entry in enumerate(entries):
            values = [entry[key] for key in ("translation", "size", "rotation", "velocity")]
            numbers = np.array([*np.concatenate(values), entry["detection_score"]], dtype=float)
            if not np.isfinite(numbers).all():
                raise ValueError(
                    f"keyframe {token}: detection {number} holds NaN or infinity: score "
                    f"{entry['detection_score']}, centre {entry['translation']}"
                )
            fault = box_fault(entry) or speed_fault(entry)
            if fault:
                raise ValueError(f"keyframe {token}: detection {number}: {fault}")
            if entry["detection_name"] not in classes:
                raise ValueError(
                    f"keyframe {token}: detection {number} is of class "
                    f"{entry['detection_name']!r}; nuScenes scores {', '.join(classes)}"
                )


def _stand_in(token: str) -> dict[str, list[dict[str, Any]]]:
    """One box beyond every class's range, so it never counts: without any the devkit fails."""
    entry = {
        "sample_token": token,
        "translation": [1e6, 1e6, 0.0],
        "size": [1.0, 1.0, 1.0],
        "rotation": [1.0, 0.0, 0.0, 0.0],
        "velocity": [0.0, 0.0],
        "detection_name": "car",
        "detection_score": 0.0,
        "attribute_name": "",
    }
    return {token: [entry]}


@METRICS.register_module()
class NuScenesDetection(BaseMetric):
    """mAP and NDS of an mmdet3d detector, as an mmengine metric.

    Args:
        ann_file: info file of the split, made by ``lidistill create_data nuscenes``; it names
            version and split.
        data_root: where the tables' folder lies.
        prefix: before the names of the numbers.
    """

    default_prefix = "nuscenes"

    def __init__(self, ann_file: str, data_root: str, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self.ann_file, self.data_root = ann_file, data_root
        self.scores: DetectionScores | None = None
        self.entries: dict[str, list[dict[str, Any]]] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the boxes of each sample."""
        self.results.extend(map(boxes_of_sample, data_samples))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Score all samples; the whole outcome stays in ``self.scores``."""
        infos: InfoFile = load_infos(self.ann_file, "nuscenes")
        frames = frames_by_file(infos.frames)
        classes = (self.dataset_meta or {}).get("classes", ())
        entries = {
            frame_of(frames, name, self.ann_file)["token"]: to_global(
                frames[name], boxes, scores, labels, classes
            )
            for name, boxes, scores, labels in results
        }
        self.entries = entries
        version, split = infos.metainfo["version"], infos.metainfo["split"]
        scores = evaluate_nuscenes(self.data_root, version, split, entries)
        left = [name for name in classes if name not in NUSCENES_CLASSES]
        words = f"; classes that nuScenes does not score, left out: {', '.join(left)}"
        self.scores = replace(scores, protocol=scores.protocol + (words if left else ""))
        print_log(self.scores.protocol, "current")
        return self.scores.metrics()

    def write_submission(self, path: Path, sensors: Sequence[str]) -> Path:
        """The boxes of the last split that was scored, in the form that nuScenes' server takes.

        Args:
            path: the ``.json`` file.
            sensors: that the detector saw, of ``lidar`` and ``camera``.
        """
        meta = {f"use_{name}": name in sensors for name in ("camera", "lidar", "radar", "map")}
        meta["use_external"] = False
        write_json(path, {"meta": meta, "results": self.entries})
        return path
