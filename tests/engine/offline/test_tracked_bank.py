# SPDX-License-Identifier: Apache-2.0
"""Banks of scenes without labels, on the tiny world: true boxes stand for a detector's."""

from __future__ import annotations

import numpy as np
import pytest

from lidistill import compat
from lidistill.converters.infos import NUSCENES_CLASSES, load_infos
from lidistill.converters.object_bank.build import BankReader
from lidistill.engine.configs.read import load_config
from lidistill.engine.offline import tracked_bank as tool
from lidistill.evaluation.nuscenes.metric import to_global
from lidistill.io import DataError, read_json

CONFIG = "configs/xray/tracked_bank_world.py"


@pytest.fixture
def cfg(converted_world):
    compat.apply()
    return load_config(CONFIG, data_root=str(converted_world / "nuscenes"))


@pytest.fixture
def truth(converted_world):
    """Token -> true boxes with points, as a detector that makes no mistake would give them."""
    infos = load_infos(converted_world / "nuscenes" / "lidistill_infos_train.pkl", "nuscenes")
    found = {}
    for info in infos.frames:
        kept = [i for i in info["instances"] if i["bbox_label_3d"] >= 0 and i["num_lidar_pts"] > 5]
        boxes = np.array([[*i["bbox_3d"][:7], 0, 0] for i in kept]).reshape(-1, 9)
        labels = np.array([i["bbox_label_3d"] for i in kept], dtype=int)
        found[info["token"]] = to_global(info, boxes, np.ones(len(kept)), labels, NUSCENES_CLASSES)
    return infos, found


def test_tracks_where_there_are_no_labels(cfg, truth, tmp_path, monkeypatch):
    infos, found = truth
    names = list(dict.fromkeys(info["scene_name"] for info in infos.frames))
    asked = []

    def detect(_cfg, checkpoint, _infos, scenes):
        asked.append((checkpoint, list(scenes)))
        blind = names[-1]  # nothing is found there, though the tables have annotations
        return {
            info["token"]: [] if info["scene_name"] == blind else found[info["token"]]
            for info in infos.frames
            if info["scene_name"] in scenes
        }

    monkeypatch.setattr(tool, "detect", detect)
    path, report = tool.tracked_bank(cfg, tmp_path, "d.pth", labelled=names[:1], min_length=1)
    assert asked == [("d.pth", names[1:])]
    bank = BankReader(path)
    assert bank.scenes == sorted(names)
    assert bank.parameters["source"]["annotated"] == names[:1]
    annotations = read_json(cfg.data_root + "/v1.0-mini/sample_annotation.json")
    known = {row["instance_token"] for row in annotations}
    assert set(bank.scene(names[0]).tokens.tolist()) <= known
    tracks = bank.scene(names[1])
    assert len(tracks) > 3
    assert not set(tracks.tokens.tolist()) & known
    assert len(tracks.xyz) > 50
    assert len(bank.scene(names[-1])) == 0
    assert report["tracks"] == sum(len(bank.scene(name)) for name in names[1:])


def test_part_of_a_scene_is_no_ground_for_tracks(cfg, truth, tmp_path):
    token = truth[0].frames[0]["token"]
    with pytest.raises(DataError, match="whole scenes"):
        tool.tracked_bank(cfg, tmp_path, "d.pth", labelled=[token])


def test_a_detector_looks_at_the_frames_asked_for(cfg, truth, tmp_path, monkeypatch):
    infos, _ = truth
    scenes = [infos.frames[-1]["scene_name"]]
    monkeypatch.setattr(tool, "load_weights", lambda model, checkpoint: None)
    cfg.model["changes"]["pts_bbox_head"]["bbox_coder"]["score_threshold"] = 0.0
    found = tool.detect(cfg, "none", infos, scenes)
    assert set(found) == {i["token"] for i in infos.frames if i["scene_name"] in scenes}
    boxes = [box for one in found.values() for box in one]
    assert boxes
    assert {box["detection_name"] for box in boxes} <= set(NUSCENES_CLASSES)


def test_a_detector_reads_the_very_file_and_the_trainings_data(cfg, truth, tmp_path, monkeypatch):
    """Below the test's data root another info file of that name may lie."""
    from lidistill.io import dump_pickle

    infos, _ = truth
    scene = infos.frames[-1]["scene_name"]
    kept = [info for info in infos.frames if info["scene_name"] == scene][:2]
    path = tmp_path / infos.path.name
    dump_pickle(path, {"metainfo": infos.metainfo, "data_list": kept})
    monkeypatch.setattr(tool, "load_weights", lambda model, checkpoint: None)
    cfg.test_dataloader.dataset.data_root = str(tmp_path)
    found = tool.detect(cfg, "none", load_infos(path), [scene])
    assert set(found) == {info["token"] for info in kept}
