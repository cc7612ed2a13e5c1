# SPDX-License-Identifier: Apache-2.0
"""Objects cut out of frames and pasted into others."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from lidistill import compat, io
from lidistill.datasets.bev.paste import PasteObjects
from lidistill.datasets.detections import SeededDetections, seeded
from lidistill.engine.configs.read import load_config
from lidistill.engine.offline.object_database import make_database
from lidistill.geometry.boxes import points_in_boxes
from lidistill.ops.boxes.rotated_iou import rotated_overlap
from tests.conftest import ROOT

compat.apply()


@pytest.fixture(scope="module")
def dataset(converted_world):
    cfg = load_config(
        ROOT / "configs/detection/centerpoint_pillar_world.py",
        data_root=str(converted_world / "nuscenes"),
    )
    return cfg.train_dataloader["dataset"]


@pytest.fixture(scope="module")
def database(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("objects") / "dbinfos_train.pkl"
    counts = make_database(dataset, out, "test")
    assert counts["car"] > 20
    return out


def frame(dataset, row=0):
    inner = dict(dataset["dataset"])
    inner["pipeline"] = inner["pipeline"][:2]  # points, boxes
    frames = SeededDetections(inner)
    return frames.dataset.pipeline(frames.dataset.get_data_info(row)), frames.metainfo["classes"]


def test_a_database_holds_what_is_in_the_boxes(dataset, database):
    sample, classes = frame(dataset)
    boxes = sample["gt_bboxes_3d"]
    centred = torch.cat([boxes.gravity_center, boxes.tensor[:, 3:7]], 1).numpy()
    held = points_in_boxes(sample["points"].tensor.numpy(), centred).sum(0)
    objects = io.load_pickle(database)
    mine = {item["gt_idx"]: item for items in objects.values() for item in items
            if item["image_idx"] == 0}  # fmt: skip
    assert {k: mine[k]["num_points_in_gt"] for k in mine} == {
        k: int(held[k]) for k in range(len(held)) if held[k] and sample["gt_labels_3d"][k] >= 0
    }
    for k, item in mine.items():
        assert item["name"] == classes[sample["gt_labels_3d"][k]]
        points = np.fromfile(database.parent / item["path"], np.float32).reshape(-1, 4)
        assert len(points) == item["num_points_in_gt"]
        box = centred[k : k + 1].copy()
        box[0, :3] = [0, 0, box[0, 5] / 2]  # the files count from the middle of the bottom
        box[0, 3:6] += 1e-3
        assert points_in_boxes(points, box).all()
    assert io.read_manifest(database)["count"] == sum(map(len, objects.values()))


def test_an_interrupted_run_goes_on(dataset, database):
    parts = sorted(database.with_suffix("").glob("[0-9]*[0-9].pkl"))
    before = [part.stat().st_mtime_ns for part in parts]
    (database.with_suffix("") / parts[-1].name).unlink()
    make_database(dataset, database, "test")
    after = [part.stat().st_mtime_ns for part in parts]
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]


def test_objects_of_other_data_are_not_mixed(dataset, database):
    other = {"dataset": {**dataset["dataset"], "ann_file": "lidistill_infos_val.pkl"}}
    with pytest.raises(io.DataError, match=r"\(infos, dataset, frames differ\)"):
        make_database(other, database, "test")
    with pytest.raises(io.DataError, match=r"\(dataset differ\)"):
        make_database({"dataset": {**dataset["dataset"], "use_valid_flag": True}}, database, "test")


def test_an_info_file_that_was_made_again_is_other_data(dataset, tmp_path):
    """The objects of a frame are kept by its place in the file."""
    inner = dataset["dataset"]
    infos = io.load_pickle(f"{inner['data_root']}/{inner['ann_file']}")
    infos["data_list"] = infos["data_list"][:2]
    io.dump_pickle(tmp_path / "infos.pkl", infos)
    few = {"dataset": {**inner, "ann_file": str(tmp_path / "infos.pkl")}}
    make_database(few, tmp_path / "x.pkl", "test")
    io.dump_pickle(tmp_path / "infos.pkl", {**infos, "data_list": infos["data_list"][::-1]})
    with pytest.raises(io.DataError, match=r"\(infos differ\)"):
        make_database(few, tmp_path / "x.pkl", "test")


def test_a_scan_that_was_written_anew_is_cut_again(dataset, tmp_path):
    """Under its name, with as many points; the other frame's objects stay."""
    inner = dataset["dataset"]
    infos = io.load_pickle(f"{inner['data_root']}/{inner['ann_file']}")
    infos["data_list"] = infos["data_list"][:2]
    scans = []
    for number, info in enumerate(infos["data_list"]):
        source = f"{inner['data_root']}/samples/LIDAR_TOP/{info['lidar_points']['lidar_path']}"
        scans.append(shutil.copy(source, tmp_path / f"{number}.bin"))
        info["lidar_points"]["lidar_path"] = str(scans[-1])
    io.dump_pickle(tmp_path / "infos.pkl", infos)
    few = {"dataset": {**inner, "ann_file": str(tmp_path / "infos.pkl")}}
    make_database(few, tmp_path / "x.pkl", "test")
    times = [(tmp_path / "x" / f"{row:06d}.pkl").stat().st_mtime_ns for row in (0, 1)]
    cloud = np.fromfile(scans[1], np.float32).reshape(-1, 5)
    cloud[:, 3] = 7
    cloud.tofile(scans[1])
    make_database(few, tmp_path / "x.pkl", "test")
    after = [(tmp_path / "x" / f"{row:06d}.pkl").stat().st_mtime_ns for row in (0, 1)]
    assert after[0] == times[0]
    assert after[1] != times[1]
    for item in (item for items in io.load_pickle(tmp_path / "x.pkl").values() for item in items):
        points = np.fromfile(tmp_path / item["path"], np.float32).reshape(-1, 4)
        assert (points[:, 3] == 7).all() == (item["image_idx"] == 1)


def test_objects_are_of_labelled_frames(dataset, tmp_path):
    """Labels that a training must not see would reach it in pasted objects."""
    few = {**dataset, "labelled": 0.1}
    frames = SeededDetections(few["dataset"], labelled=0.1, keep_unlabelled=False)
    counts = make_database(few, tmp_path / "x.pkl", "test")
    assert 0 < len(frames) < len(SeededDetections(few["dataset"]))
    held = sum(
        int((sample["gt_labels_3d"] >= 0).sum())
        for sample in (frame(dataset, row)[0] for row in frames.indices)
    )
    assert 0 < sum(counts.values()) <= held


def test_objects_have_kittis_difficulty(converted_world, tmp_path):
    config = load_config(
        ROOT / "configs/detection/pointpillars_world.py", data_root=str(converted_world / "kitti")
    )
    make_database(config.train_dataloader["dataset"], tmp_path / "x.pkl", "test")
    infos = io.load_pickle(converted_world / "kitti" / "kitti_infos_train.pkl")["data_list"]
    found = [item for items in io.load_pickle(tmp_path / "x.pkl").values() for item in items]
    for item in found:
        known = [i for i in infos[item["image_idx"]]["instances"] if i["bbox_label_3d"] >= 0]
        size = np.sort(item["box3d_lidar"][3:6])  # cameras' boxes have their sides in another order
        same = [i for i in known if np.allclose(np.sort(i["bbox_3d"][3:6]), size, atol=1e-4)]
        assert item["difficulty"] in {i["difficulty"] for i in same}
    assert len({item["difficulty"] for item in found}) > 1


def paste(database, classes, counts, **options):
    return PasteObjects(database, classes, counts, columns=4, use_dim=[0, 1, 2, 3], **options)


def test_pasted_objects_stand_free_with_their_points(dataset, database):
    sample, classes = frame(dataset)
    before = sample["gt_bboxes_3d"].tensor.clone()
    labels = sample["gt_labels_3d"].copy()
    step = paste(database, classes, {"car": 60, "pedestrian": 60})
    with seeded(3):
        done = step(sample)
    boxes = done["gt_bboxes_3d"]
    assert len(boxes) > len(before) + 5
    assert torch.equal(boxes.tensor[: len(before)], before)
    assert done["gt_labels_3d"][: len(labels)].tolist() == labels.tolist()
    added = boxes[len(before) :]
    area = rotated_overlap(added.bev, boxes.bev)
    area[torch.arange(len(added)), torch.arange(len(before), len(boxes))] = 0
    assert area.max() == 0
    centred = torch.cat([added.gravity_center, added.dims, added.tensor[:, 6:7]], 1).numpy()
    centred[:, 3:6] += 1e-3
    counts = points_in_boxes(done["points"].tensor.numpy(), centred).sum(0)
    assert counts.min() >= 5
    for name in ("car", "pedestrian"):
        assert (done["gt_labels_3d"] == classes.index(name)).sum() <= 60
    again, _ = frame(dataset)
    with seeded(3):
        again = step(again)  # whatever was drawn before
    assert torch.equal(again["gt_bboxes_3d"].tensor, boxes.tensor)
    assert torch.equal(again["points"].tensor, done["points"].tensor)


def test_enough_objects_and_no_room_change_nothing(dataset, database):
    sample, classes = frame(dataset)
    points = sample["points"].tensor.clone()
    for counts in ({"car": 0}, {}):
        assert torch.equal(paste(database, classes, counts)(sample)["points"].tensor, points)
    none = paste(database, classes, {"car": 60}, min_points=10**6)
    assert torch.equal(none(sample)["points"].tensor, points)


def test_a_frame_without_boxes_is_filled(dataset, database):
    sample, classes = frame(dataset)
    sample["gt_bboxes_3d"] = sample["gt_bboxes_3d"][:0]
    sample["gt_labels_3d"] = sample["gt_labels_3d"][:0]
    with seeded(0):
        done = paste(database, classes, {"car": 3})(sample)
    assert 1 <= len(done["gt_bboxes_3d"]) <= 3


def test_mistakes_are_named(dataset, database, tmp_path):
    sample, classes = frame(dataset)
    with pytest.raises(ValueError, match="not among the classes"):
        PasteObjects(database, classes, {"tram": 1})
    with pytest.raises(ValueError, match="points have 4 columns, use_dim of PasteObjects names 5"):
        PasteObjects(database, classes, {"car": 1})(sample)
    with pytest.raises(io.DataError, match="lidistill object_database"):
        paste(tmp_path / "none.pkl", classes, {"car": 60})(sample)
    with pytest.raises(ValueError, match=r"FILE\.pkl"):
        make_database(dataset, tmp_path / "x", "test")
    with pytest.raises(ValueError, match="loads points and boxes"):
        make_database({"pipeline": []}, tmp_path / "x.pkl", "test")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: {"Car": c["car"]}, "Expected objects of car, got classes Car"),
        (lambda c: [c], "Expected a mapping of classes, got a list"),
        (lambda c: _first(c, path="/etc/passwd"), "below this folder, got '/etc/passwd'"),
        (lambda c: _first(c, num_points_in_gt=-1), "'num_points_in_gt'"),
        (lambda c: _first(c, box3d_lidar=[float("nan")] * 7), "box3d_lidar: expected finite"),
        (lambda c: _first(c, box3d_lidar=["a"] * 7), "box3d_lidar: expected boxes of numbers"),
        (lambda c: _first(c, box3d_lidar=[9, 9, 0, 4, 2, 0.01, 0]), "do not lie in its box"),
    ],
)
def test_databases_that_cannot_be(dataset, database, tmp_path, change, words):
    """NaN stood at the middle of the sensor, and a class of another name was never pasted."""
    sample, classes = frame(dataset)
    sample["gt_bboxes_3d"] = sample["gt_bboxes_3d"][:0]
    sample["gt_labels_3d"] = sample["gt_labels_3d"][:0]
    (tmp_path / database.stem).symlink_to(database.with_suffix(""))
    content = io.load_pickle(database)
    most = max(content["car"], key=lambda item: item["num_points_in_gt"])
    io.dump_pickle(tmp_path / database.name, change({**content, "car": [most]}))
    with seeded(0), pytest.raises(io.DataError, match=words):
        paste(tmp_path / database.name, classes, {"car": 1})(sample)


def _first(content, **values):
    return {**content, "car": [{**content["car"][0], **values}]}
