# SPDX-License-Identifier: Apache-2.0
"""KITTI scores of detections in the LiDAR frame."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lidistill import compat
from lidistill.converters.infos import KITTI_CLASSES, load_infos
from lidistill.converters.kitti.results import read_results
from lidistill.evaluation.kitti.ap import LOOSE, kitti_ap
from lidistill.evaluation.kitti.metric import KittiDetection, found_labels, true_labels
from lidistill.geometry.boxes import kitti_to_lidar_boxes

compat.apply()
from mmdet3d.structures import LiDARInstance3DBoxes  # noqa: E402

CLASSES = ("Pedestrian", "Cyclist", "Car")


@pytest.fixture(scope="module")
def infos(converted_world):
    return load_infos(converted_world / "kitti" / "kitti_infos_val.pkl", "kitti")


def truth_of(frame):
    """Boxes (M, 7), centre origin, LiDAR frame, and labels into CLASSES."""
    kept = [
        i
        for i in frame["instances"]
        if i["bbox_label"] >= 0 and KITTI_CLASSES[i["bbox_label"]] in CLASSES
    ]
    rows = np.array([i["bbox_3d"] for i in kept], dtype=np.float64).reshape(-1, 7)
    boxes = kitti_to_lidar_boxes(
        rows[:, [4, 5, 3, 0, 1, 2, 6]],
        np.linalg.inv(np.array(frame["images"]["CAM2"]["lidar2cam"])),
    )
    return boxes, np.array([CLASSES.index(KITTI_CLASSES[i["bbox_label"]]) for i in kept], dtype=int)


def structure(boxes):
    return LiDARInstance3DBoxes(torch.tensor(boxes, dtype=torch.float32), origin=(0.5, 0.5, 0.5))


def test_truth_through_the_lidar_frame_is_the_truth(infos):
    found, truth = [], []
    for frame in infos.frames:
        boxes, labels = truth_of(frame)
        detections = found_labels(frame, boxes, np.ones(len(boxes)), labels, CLASSES)
        own = true_labels(frame)
        rows = [k for k, name in enumerate(own.names) if name in CLASSES]
        assert detections.names == tuple(own.names[k] for k in rows)
        np.testing.assert_allclose(detections.location, own.location[rows], atol=1e-6)
        np.testing.assert_allclose(detections.size, own.size[rows])
        np.testing.assert_allclose(np.cos(detections.alpha - own.alpha[rows]), 1, atol=1e-3)
        found.append(detections)
        truth.append(own)
    scores = kitti_ap(truth, found, ("Car",))
    assert scores.objects["Car"][2] > 2
    # R40 leaves the first of 41 recalls out; few objects reach few recalls.
    assert scores.precision["Car"]["3d"][2, 0] == 1.0
    moved = [replace(d, location=np.add(d.location, [3.0, 0, 0])) for d in found]
    assert kitti_ap(truth, moved, ("Car",)).precision["Car"]["3d"][2].max() == 0.0


def test_rectangles_and_angles_are_those_of_mmdet3d(infos):
    from mmdet3d.evaluation.metrics import KittiMetric

    frame = infos.frames[0]
    rng = np.random.default_rng(0)
    boxes = np.concatenate(
        [
            rng.uniform((6, -15, -1.5), (40, 15, -1), (60, 3)),
            rng.uniform((1, 0.5, 1), (4, 2, 2), (60, 3)),
            rng.uniform(-np.pi, np.pi, (60, 1)),
        ],
        axis=1,
    )
    ours = found_labels(frame, boxes, np.ones(60), np.zeros(60, dtype=int), CLASSES)
    prediction = {
        "bboxes_3d": structure(boxes),
        "scores_3d": torch.ones(60),
        "labels_3d": torch.zeros(60, dtype=torch.long),
    }
    metric = SimpleNamespace(default_cam_key="CAM2", pcd_limit_range=[0, -40, -5, 70.4, 40, 5.0])
    theirs = KittiMetric.convert_valid_bboxes(metric, prediction, frame)
    assert 20 < len(theirs["bbox"]) == len(ours.bbox)
    size = np.array([frame["images"]["CAM2"][key] for key in ("width", "height")] * 2)
    np.testing.assert_allclose(ours.bbox, theirs["bbox"].clip(0, size), atol=0.05)
    np.testing.assert_allclose(ours.location, theirs["box3d_camera"][:, :3], atol=1e-4)
    turned = ours.rotation_y - theirs["box3d_camera"][:, 6]
    np.testing.assert_allclose(np.cos(turned), 1, atol=1e-6)


def test_what_the_camera_does_not_see_is_left_out(infos):
    frame = infos.frames[0]
    boxes = np.array([[-10.0, 0, -1, 4, 2, 1.5, 0], [15.0, 0, -1, 4, 2, 1.5, 0]])
    found = found_labels(frame, boxes, np.array([0.9, 0.4]), np.array([2, 2]), CLASSES)
    assert found.score.tolist() == [0.4]
    nothing = found_labels(frame, boxes[:0], np.zeros(0), np.zeros(0, dtype=int), CLASSES)
    assert len(nothing.names) == len(nothing.bbox) == 0


def test_metric(infos, tmp_path):
    metric = KittiDetection(str(infos.path), overlaps="loose")
    metric.dataset_meta = {"classes": CLASSES}
    for frame in infos.frames:
        boxes, labels = truth_of(frame)
        found = {
            "bboxes_3d": structure(boxes),
            "scores_3d": torch.ones(len(boxes)),
            "labels_3d": torch.tensor(labels),
        }
        path = f"/data/velodyne/{frame['lidar_points']['lidar_path']}"
        metric.process({}, [{"lidar_path": path, "pred_instances_3d": found}])
    numbers = metric.compute_metrics(metric.results)
    assert numbers["Car/3d_R11_hard"] > 0
    assert numbers["mAP/3d_R40_moderate"] == pytest.approx(metric.scores.mean())
    assert "Car 0.5" in metric.scores.protocol
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "999999.txt").touch()  # of an earlier test
    out = metric.write_submission(tmp_path)
    names = [Path(f["lidar_points"]["lidar_path"]).stem for f in infos.frames]
    assert sorted(path.stem for path in out.iterdir()) == sorted(names)
    found = [read_results(out / f"{name}.txt", name) for name in names]
    again = kitti_ap([true_labels(f) for f in infos.frames], found, ("Car",), LOOSE)
    for kind in ("bbox", "3d"):
        ours = metric.scores.precision["Car"][kind]
        np.testing.assert_allclose(again.precision["Car"][kind], ours, atol=1e-9)
    with pytest.raises(ValueError, match="strict"):
        KittiDetection(str(infos.path), overlaps="middle")


RECTANGLES = [[200.0, 100, 400, 300], [0.0, 0, 50, 50]]
FAR, NEAR = [30.0, 1.5, 20, 4, 1.5, 1.6, 0], [1.0, 1.5, 20, 4, 1.5, 1.6, 0.1]


def instance(box, label, rectangle, **more):
    return dict(
        bbox_3d=box, bbox_label=label, truncated=0.0, occluded=0, alpha=0.0, bbox=rectangle, **more
    )


@pytest.mark.parametrize("named", [True, False])
def test_an_own_class_is_not_dont_care(named):
    """The false detection on it is false, as KITTI's protocol has it."""
    more = [{"category": "Forklift"}, {"category": "Car"}] if named else [{}, {}]
    frame = {
        "instances": [
            instance(FAR, -1, RECTANGLES[0], **more[0]),
            instance(NEAR, 2, RECTANGLES[1], **more[1]),
        ]
    }
    truth = true_labels(frame)
    assert truth.names == (("Forklift", "Car") if named else ("unnamed", "Car"))
    found = replace(truth, names=("Car", "Car"), score=np.array([0.95, 0.5]))
    assert kitti_ap([truth], [found]).ap["Car"]["bbox"]["R11"][0] == pytest.approx(100 / 22)
    region = {"instances": [instance([-1000] * 3 + [-1] * 3 + [-10], -1, RECTANGLES[0])]}
    assert true_labels(region).names == ("DontCare",)


def detections(frame, boxes, labels, scores=None):
    scores = np.ones(len(boxes)) if scores is None else scores
    found = {
        "bboxes_3d": structure(boxes),
        "scores_3d": torch.tensor(scores),
        "labels_3d": torch.tensor(labels),
    }
    path = f"/data/velodyne/{frame['lidar_points']['lidar_path']}"
    return {"lidar_path": path, "pred_instances_3d": found}


def scored(metric, infos, classes):
    metric.dataset_meta = {"classes": classes}
    for frame in infos.frames:
        boxes, labels = truth_of(frame)
        kept = [k for k, label in enumerate(labels) if CLASSES[label] in classes]
        mapped = [classes.index(CLASSES[labels[k]]) for k in kept]
        metric.process({}, [detections(frame, boxes[kept], mapped)])
    return metric.compute_metrics(metric.results)


def test_classes_that_are_not_scored_are_named(infos):
    metric = KittiDetection(str(infos.path))
    numbers = scored(metric, infos, ("Car", "Forklift"))
    assert "own_overlaps names no overlap for them: Forklift" in metric.scores.protocol
    assert set(metric.scores.ap) == {"Car"}
    assert numbers["Car/objects_hard"] > 2
    metric = KittiDetection(str(infos.path), own_overlaps={"Forklift": 0.5})
    numbers = scored(metric, infos, ("Car", "Forklift"))
    assert np.isnan(numbers["Forklift/3d_R40_moderate"])
    assert "no moderate object of Forklift counts" in metric.scores.protocol
    metric = KittiDetection(str(infos.path))
    numbers = scored(metric, infos, ("Forklift",))
    assert np.isnan(numbers["mAP/3d_R40_moderate"])
    assert "no class to score" in metric.scores.protocol
    with pytest.raises(ValueError, match="own_overlaps"):
        KittiDetection(str(infos.path), own_overlaps={"Car": 0.5})
    with pytest.raises(ValueError, match="own_overlaps"):
        KittiDetection(str(infos.path), own_overlaps={"Forklift": 50})


def test_frames_that_were_not_tested_are_counted_and_foreign_ones_refused(infos):
    metric = KittiDetection(str(infos.path))
    metric.dataset_meta = {"classes": CLASSES}
    frame = infos.frames[0]
    metric.process({}, [detections(frame, *truth_of(frame))])
    metric.compute_metrics(metric.results)
    assert f"1 of the {len(infos.frames)} frames" in metric.scores.protocol
    other = {"lidar_points": {"lidar_path": "999999.bin"}}
    metric.process({}, [detections(other, *truth_of(frame))])
    with pytest.raises(ValueError, match=r"999999\.bin.*no such frame.*ann_file"):
        metric.compute_metrics(metric.results)


def test_detections_that_are_no_numbers_name_the_frame(infos):
    frame = infos.frames[0]
    boxes, labels = truth_of(frame)
    metric = KittiDetection(str(infos.path))
    name = frame["lidar_points"]["lidar_path"]
    scores = np.ones(len(boxes))
    scores[1] = np.nan
    with pytest.raises(ValueError, match=rf"keyframe {name}.*number 1: score nan"):
        metric.process({}, [detections(frame, boxes, labels, scores)])
    boxes[0, 3] = np.inf
    with pytest.raises(ValueError, match=rf"keyframe {name}.*number 0"):
        metric.process({}, [detections(frame, boxes, labels)])


def test_lidar_alone(infos):
    """No rectangle: all detections stay, and the numbers say what they lack."""
    frame = copy.deepcopy(infos.frames[0])
    boxes, labels = truth_of(frame)
    for key in ("width", "height", "img_path"):
        del frame["images"]["CAM2"][key]
    for entry in frame["instances"]:
        del entry["bbox"], entry["bbox_label"]
    behind = np.concatenate([boxes, boxes[:1] * [-1, 1, 1, 1, 1, 1, 1]])
    found = found_labels(frame, behind, np.ones(len(behind)), [*labels, labels[0]], CLASSES)
    assert len(found.names) == len(boxes) + 1
    truth = true_labels(frame)
    rows = [k for k, name in enumerate(truth.names) if name in CLASSES]
    np.testing.assert_allclose(found.location[:-1], truth.location[rows], atol=1e-6)
    scores = kitti_ap([truth], [found], CLASSES, with_images=False)
    assert sum(counts[2] for counts in scores.objects.values()) > 0
