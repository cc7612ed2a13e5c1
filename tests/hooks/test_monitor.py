# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from lidistill.distill.trace import without_trace
from lidistill.engine.train import train
from lidistill.evaluation.probes.embedding_quality import alignment
from lidistill.hooks import MonitorHook
from lidistill.hooks.knn import knn_score
from tests.engine.toy_slidr import ToySLidR
from tests.toy_pairs import make_batch

CONFIG = Path(__file__).resolve().parents[1] / "engine/toy_slidr_config.py"
OPTIONS = {"model.noisy": True, "model.negatives": "rank"}


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Path:
    """A training with the monitor at every second iteration."""
    return train(
        CONFIG,
        tmp_path_factory.mktemp("watched"),
        options={**OPTIONS, "monitor": 2, "monitor.pictures": 4},
        quiet=True,
    )


def test_training_is_the_same_bit_for_bit(watched, tmp_path):
    """Weights, batch-norm statistics, momenta; a student with dropout."""
    plain = train(CONFIG, tmp_path, options=OPTIONS, quiet=True)
    with_monitor, without = (torch.load(path, weights_only=False) for path in (watched, plain))
    assert with_monitor["state_dict"].keys() == without["state_dict"].keys()
    for name, value in without["state_dict"].items():
        assert torch.equal(with_monitor["state_dict"][name], value), name
    states = [run["optimizer"]["state"] for run in (with_monitor, without)]
    for key, state in states[1].items():
        assert torch.equal(states[0][key]["momentum_buffer"], state["momentum_buffer"])


def test_the_same_folder_continues_without_it(watched):
    before = watched.stat().st_mtime_ns
    assert train(CONFIG, watched.parent, options=OPTIONS, quiet=True) == watched
    assert watched.stat().st_mtime_ns == before


def test_numbers_and_pictures_are_written(watched):
    log = next(watched.parent.glob("*/vis_data/scalars.json"))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    looks = [row for row in rows if "monitor/uniformity_points" in row]
    assert [row["step"] for row in looks] == [1, 2, 4]
    assert all(0 <= row["monitor/alignment"] <= 4 for row in looks)
    assert 0 < looks[0]["monitor/region_coverage"] <= 1
    pictures = sorted(path.name for path in log.parent.rglob("*.png"))
    assert pictures == ["embeddings_1.png", "embeddings_4.png"]
    assert cv2.imread(str(next(log.parent.rglob("*_4.png")))).std() > 5
    assert list(log.parent.glob("events.out.tfevents*"))


def test_a_method_leaves_what_its_loss_compares_only_when_asked():
    model, batch = ToySLidR().train(), make_batch()
    model(batch, mode="loss")
    assert model.watched is None
    model.watched = {}
    model(batch, mode="loss")
    ((points, pixels),) = model.watched.values()
    assert points.shape == pixels.shape
    assert not points.requires_grad
    assert 0 <= alignment(points, pixels) <= 4


def labelled(seed: int) -> dict:
    batch = make_batch(samples=1, seed=seed)
    labels = torch.where(batch.voxel_features[batch.point_to_voxel, 0] > 0, 17, 24)
    return {"inputs": dataclasses.replace(batch, point_labels=labels.to(torch.uint8))}


def test_knn_score_needs_no_training_and_leaves_no_trace():
    model = ToySLidR(noisy=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    knn = {
        "train": [labelled(seed) for seed in range(8)],
        "val": [labelled(seed) for seed in (20, 21)],
        "settings": {"neighbours": 5},
    }
    with without_trace(model):
        score = knn_score(SimpleNamespace(cfg={}), model, knn)
    assert score > 0.5
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_knn_score_is_of_the_classes_of_the_configs_own_probe():
    """Labels that the pipeline has mapped went through nuScenes' table: here to one class."""
    torch.manual_seed(0)
    frames = [labelled(seed) for seed in range(6)]
    for frame in frames:
        frame["inputs"].point_labels = torch.randint(2, 4, frame["inputs"].point_labels.shape)
    knn = {"train": frames[:4], "val": frames[4:]}
    cfg = {"test_cfg": {"classes": ("ignore", "car", "bicycle", "truck")}}
    assert 0 < knn_score(SimpleNamespace(cfg=cfg), ToySLidR(noisy=True), knn) < 0.8
    assert knn_score(SimpleNamespace(cfg={}), ToySLidR(noisy=True), knn) == 1


def test_knn_score_is_of_all_frames_in_one_of_several_processes(monkeypatch):
    """The loaders' own sampler gave rank 0 every second frame of bank and validation."""
    frames = [labelled(seed) for seed in range(8)]
    calls = []

    class Counted(ToySLidR):
        def forward(self, inputs, *args, **kwargs):
            calls.append(inputs)
            return super().forward(inputs, *args, **kwargs)

    def loader_of(config, seed):
        sampler = DefaultSampler(config["dataset"], shuffle=False, seed=seed)
        return DataLoader(config["dataset"], sampler=sampler, collate_fn=lambda rows: rows[0])

    for ranks in (1, 2):
        calls.clear()
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda n=ranks: (0, n))
        monkeypatch.setattr("lidistill.hooks.knn.get_world_size", lambda n=ranks: n)
        knn = {"train": {"dataset": frames[:6]}, "val": {"dataset": frames[6:]}}
        runner = SimpleNamespace(build_dataloader=loader_of, cfg={})
        knn_score(runner, Counted(noisy=True), knn)
        assert len(calls) == len(frames)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="iterations >= 1, got 0"):
        MonitorHook(interval=0)
    with pytest.raises(ValueError, match=r"missing: \['train', 'val'\]"):
        MonitorHook(knn={"interval": 10})
