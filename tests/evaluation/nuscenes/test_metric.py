# SPDX-License-Identifier: Apache-2.0
"""nuScenes scores: the truth scores 1, nothing scores 0, and mmdet3d's own metric agrees."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from lidistill import compat
from lidistill.converters.infos import NUSCENES_CLASSES, load_infos
from lidistill.evaluation.nuscenes.metric import (
    NuScenesDetection,
    attribute_of,
    evaluate_nuscenes,
    to_global,
)

compat.apply()
from mmdet3d.structures import LiDARInstance3DBoxes  # noqa: E402


@pytest.fixture(scope="module")
def infos(converted_world):
    return load_infos(converted_world / "nuscenes" / "lidistill_infos_val.pkl", "nuscenes")


def truth_of(frame):
    """Boxes (M, 9) and labels of a keyframe, those that hold a point."""
    kept = [i for i in frame["instances"] if i["bbox_label_3d"] >= 0 and i["num_lidar_pts"] > 0]
    rows = [[*i["bbox_3d"], *np.nan_to_num(i["velocity"])] for i in kept]
    labels = np.array([i["bbox_label_3d"] for i in kept], dtype=int)
    return np.array(rows, dtype=np.float64).reshape(-1, 9), labels


def sample_of(frame, rng, noise):
    """A prediction near the truth, in the form in which detectors give it."""
    boxes, labels = truth_of(frame)
    boxes[:, :3] += rng.normal(0, noise, (len(boxes), 3))
    boxes[:, 6] += rng.normal(0, noise, len(boxes))
    structure = LiDARInstance3DBoxes(
        torch.tensor(boxes, dtype=torch.float32), box_dim=9, origin=(0.5, 0.5, 0.5)
    )
    found = {
        "bboxes_3d": structure,
        "scores_3d": torch.tensor(rng.uniform(0, 1, len(boxes)), dtype=torch.float32),
        "labels_3d": torch.tensor(labels),
    }
    return {
        "lidar_path": f"/data/{frame['lidar_points']['lidar_path']}",
        "sample_idx": frame["sample_idx"],
        "pred_instances_3d": found,
        "pred_instances": {},
    }


def scored(metric, samples, classes=NUSCENES_CLASSES):
    metric.dataset_meta = {"classes": classes, "version": "v1.0-mini"}
    metric.process({}, samples)
    return metric.compute_metrics(metric.results)


def test_truth_scores_one_and_agrees_with_mmdet3d(converted_world, infos):
    from mmdet3d.evaluation.metrics import NuScenesMetric

    root, path = str(converted_world / "nuscenes"), str(infos.path)
    rng = np.random.default_rng(0)
    perfect = [sample_of(frame, rng, 0.0) for frame in infos.frames]
    metric = NuScenesDetection(path, root)
    numbers = scored(metric, perfect)
    present = {NUSCENES_CLASSES[label] for f in infos.frames for label in truth_of(f)[1]}
    assert {name for name, value in metric.scores.ap.items() if value > 0.98} == present
    assert numbers["mATE"] < 1e-3 + (1 - len(present) / 10)
    assert metric.scores.boxes == metric.scores.predicted > 50
    assert metric.scores.frames == len(infos.frames)
    assert "mini_val of v1.0-mini" in metric.scores.protocol

    noisy = [sample_of(frame, np.random.default_rng(1), 0.4) for frame in infos.frames]
    ours = scored(NuScenesDetection(path, root), noisy)
    again = [sample_of(frame, np.random.default_rng(1), 0.4) for frame in infos.frames]
    theirs = scored(NuScenesMetric(root, path), again)
    for name in ("mAP", "NDS"):
        assert ours[name] == pytest.approx(theirs[f"pred_instances_3d_NuScenes/{name}"], abs=1e-6)
    assert 0.1 < ours["mAP"] < 0.9


def test_version_of_ones_own_and_nothing_found(converted_world, infos, tmp_path):
    for path in (converted_world / "nuscenes").iterdir():
        (tmp_path / path.name).symlink_to(path)
    tables = tmp_path / "v1.0-own"
    tables.mkdir()
    for path in (tmp_path / "v1.0-mini").iterdir():
        (tables / path.name).symlink_to(path)
    (tmp_path / "lidarseg").unlink()
    scenes = sorted({frame["scene_name"] for frame in infos.frames})
    (tables / "lidarseg.json").unlink(missing_ok=True)
    (tables / "splits.json").write_text(json.dumps({"own_val": scenes[:1]}))
    frames = [frame for frame in infos.frames if frame["scene_name"] == scenes[0]]
    nothing = {frame["token"]: [] for frame in frames}
    empty = evaluate_nuscenes(tmp_path, "v1.0-own", "own_val", nothing)
    assert (empty.map, empty.nds, empty.predicted) == (0.0, 0.0, 0)
    assert set(empty.errors.values()) == {1.0}
    assert "found nothing" in empty.protocol
    boxes, labels = truth_of(frames[0])
    entries = to_global(frames[0], boxes, np.ones(len(boxes)), labels, NUSCENES_CLASSES)
    some_of = {frames[0]["token"]: entries}
    some = evaluate_nuscenes(tmp_path, "v1.0-own", "own_val", {**nothing, **some_of})
    assert some.map > 0
    assert some.boxes == empty.boxes
    others = {frame["token"]: [] for frame in infos.frames if frame not in frames}
    more = evaluate_nuscenes(tmp_path, "v1.0-own", "own_val", {**others, **nothing, **some_of})
    assert others
    assert (more.frames, more.map) == (len(frames), some.map)  # the devkit takes its split's alone
    with pytest.raises(ValueError, match="own_val"):
        evaluate_nuscenes(tmp_path, "v1.0-own", "own_val", some_of)


def test_entries_are_the_tables_annotations(converted_world, infos):
    """A box that goes through the LiDAR frame and back is the annotation it came from."""
    table = json.loads((converted_world / "nuscenes/v1.0-mini/sample_annotation.json").read_text())
    annotations = {row["token"]: row for row in table}
    frame = infos.frames[0]
    kept = [i for i in frame["instances"] if i["bbox_label_3d"] >= 0]
    boxes = np.array([[*i["bbox_3d"], 0, 0] for i in kept])
    scores = -np.arange(len(kept), dtype=float)
    labels = [i["bbox_label_3d"] for i in kept]
    entries = to_global(frame, boxes, scores, labels, NUSCENES_CLASSES)
    assert len(entries) > 20
    for entry in entries:
        truth = annotations[kept[-int(entry["detection_score"])]["annotation_token"]]
        np.testing.assert_allclose(entry["translation"], truth["translation"], atol=1e-6)
        np.testing.assert_allclose(entry["size"], truth["size"])
        alike = abs(np.dot(entry["rotation"], truth["rotation"]))
        assert alike == pytest.approx(1, abs=1e-4)


def test_no_more_than_the_devkit_takes(infos):
    boxes = np.tile([[3.0, 1, 0, 4, 2, 1.5, 0]], (600, 1))
    entries = to_global(infos.frames[0], boxes, np.arange(600), [0] * 600, ["car"])
    assert len(entries) == 500
    assert entries[0]["detection_score"] == 599
    boxes[:, 0] += 100
    assert to_global(infos.frames[0], boxes, np.ones(600), [0] * 600, ["car"]) == []


@pytest.mark.parametrize(
    ("name", "speed", "attribute"),
    [
        ("car", 0.1, "vehicle.parked"),
        ("car", 3.0, "vehicle.moving"),
        ("bus", 0.0, "vehicle.stopped"),
        ("pedestrian", 1.0, "pedestrian.moving"),
        ("pedestrian", 0.0, "pedestrian.standing"),
        ("bicycle", 1.0, "cycle.with_rider"),
        ("barrier", 1.0, ""),
    ],
)
def test_attributes(name, speed, attribute):
    assert attribute_of(name, speed) == attribute


def test_classes_that_nuscenes_does_not_score(converted_world, infos):
    """Left out and named; they once ended in KeyError."""
    metric = NuScenesDetection(str(infos.path), str(converted_world / "nuscenes"))
    rng = np.random.default_rng(0)
    samples = [sample_of(frame, rng, 0.0) for frame in infos.frames]
    usual = scored(metric, samples)
    absent = [name for name, count in metric.scores.objects.items() if count == 0]
    for name in absent:
        assert math.isnan(metric.scores.ap[name])
        assert name in metric.scores.protocol
    assert sum(metric.scores.objects.values()) == metric.scores.boxes
    renamed = tuple("forklift" if name == "car" else name for name in NUSCENES_CLASSES)
    samples = [sample_of(frame, np.random.default_rng(0), 0.0) for frame in infos.frames]
    without = scored(metric_of(metric), samples, renamed)
    assert without["AP/car"] == 0.0 < usual["AP/car"]


def metric_of(metric):
    return NuScenesDetection(metric.ann_file, metric.data_root)


def test_left_out_classes_are_named(converted_world, infos):
    metric = NuScenesDetection(str(infos.path), str(converted_world / "nuscenes"))
    samples = [sample_of(frame, np.random.default_rng(0), 0.0) for frame in infos.frames]
    scored(metric, samples, (*NUSCENES_CLASSES, "forklift"))
    assert "does not score, left out: forklift" in metric.scores.protocol


def test_entries_that_are_no_numbers_name_the_keyframe(infos, tmp_path):
    frame = infos.frames[0]
    boxes, labels = truth_of(frame)
    scores = np.ones(len(boxes))
    scores[2] = np.nan
    with pytest.raises(ValueError, match=rf"keyframe {frame['token']}.*number 2: score nan"):
        to_global(frame, boxes, scores, labels, NUSCENES_CLASSES)
    entries = to_global(frame, boxes, np.ones(len(boxes)), labels, NUSCENES_CLASSES)
    entries[1]["translation"][0] = float("inf")
    with pytest.raises(ValueError, match=rf"keyframe {frame['token']}: detection 1 holds NaN"):
        evaluate_nuscenes(tmp_path, "v", "val", {frame["token"]: entries})
    entries[1] = {**entries[0], "detection_name": "forklift"}
    with pytest.raises(ValueError, match=r"keyframe .*'forklift'; nuScenes scores"):
        evaluate_nuscenes(tmp_path, "v", "val", {frame["token"]: entries})
