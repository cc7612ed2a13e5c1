# SPDX-License-Identifier: Apache-2.0
"""Detection configs: all build; those of the embedded world train, resume, take weights, score."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from lidistill import compat
from lidistill.datasets.sampler import Draw
from lidistill.engine.configs.read import load_config
from lidistill.engine.detection import detection_transfer
from lidistill.engine.train import train
from lidistill.hooks.pretrained import REPORT, PretrainedParts, set_pretrained
from lidistill.models.detectors.bev import BEVDetector
from lidistill.models.detectors.mmdet3d import mmdet3d_detector
from lidistill.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[2]
DOWNSTREAM = ROOT / "configs/slidr/downstream"
CONFIGS = [
    *sorted((ROOT / "configs/detection").glob("*.py")),
    *sorted(DOWNSTREAM.glob("centerpoint*.py")),
    *sorted(DOWNSTREAM.glob("second*.py")),
]
WORLD = [path for path in CONFIGS if path.parent.stem == "detection" and "world" in path.stem]

TWINS = [path for path in CONFIGS if path.stem.endswith("_scratch")]


def layout_of(path: Path) -> str:
    return "kitti" if load_config(path).data_root.endswith("kitti") else "nuscenes"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_fits_together(path, converted_world):
    """Data, model and schedule agree; strings of paths are there; data sets are mmdet3d's."""
    compat.apply()
    config = load_config(path, data_root=str(converted_world / layout_of(path)))
    model = MODELS.build(config.model)
    ours = path.stem.startswith("bev_")
    assert ours or type(model).__module__.startswith("mmdet3d.models.detectors")
    layer = getattr(model.data_preprocessor, "voxel_layer", None)
    assert (layer is None) == ("pointrcnn" in path.stem or "bev_camera" in path.stem)
    assert not ours or model.point_range == list(config.point_range)
    if layer is not None:
        assert list(layer.point_cloud_range) == list(config.point_range)
    heads = [getattr(model, f"{name}_head", None) for name in ("pts_bbox", "bbox", "rpn")]
    head = next(found for found in heads if found is not None)
    count = sum(head.num_classes) if hasattr(head, "task_heads") else head.num_classes
    assert count == len(config.classes)
    if hasattr(head, "task_heads"):
        assert tuple(name for task in head.class_names for name in task) == tuple(config.classes)
    if "world" in path.stem:
        sample = DATASETS.build(config.train_dataloader.dataset)[Draw(0, 1)]
        assert sample["inputs"]["points"].shape[1] == 4
    assert config.param_scheduler[-1].end == config.train_cfg.max_iters
    for loader in (config.train_dataloader.dataset.dataset, config.test_dataloader.dataset):
        assert tuple(loader.metainfo.classes) == tuple(config.classes)
    for hook in config.custom_hooks:
        if hook["type"] is PretrainedParts:
            assert all(hasattr(model, part) for part in hook["parts"])
    names = [hook["type"] for hook in config.custom_hooks]
    assert (PretrainedParts in names) == ("downstream" in str(path) and "scratch" not in path.stem)


@pytest.mark.parametrize("twin", TWINS, ids=lambda path: path.stem)
def test_twins_differ_in_the_pretraining_only(twin):
    path = twin.with_name(f"{twin.stem.removesuffix('_scratch')}.py")
    first, second = load_config(path), load_config(twin)
    set_pretrained(first, None)
    for key in ("model", "train_dataloader", "optim_wrapper", "param_scheduler", "randomness"):
        assert str(first[key]) == str(second[key])
    assert len(first.custom_hooks) == len(second.custom_hooks)


@pytest.mark.slow
def test_kitti_detector_trains_and_is_scored(converted_world, tmp_path):
    config = ROOT / "configs/detection/second_world.py"
    root = converted_world / "kitti"
    scores = detection_transfer(config, tmp_path, data_root=root, checkpoint=None, iters=1)
    assert scores.frames == 3
    record = json.loads((tmp_path / "detection.json").read_text())
    assert record["protocol"] == scores.protocol
    assert {f"kitti/{name}" for name in scores.metrics()} <= set(record)


def make_checkpoint(path: Path, config: Path) -> dict:
    """A pretraining checkpoint of the student of a config, random weights."""
    torch.manual_seed(5)
    student = MODELS.build(load_config(config).model["student"])
    state = {f"student.{name}": tensor for name, tensor in student.state_dict().items()}
    torch.save({"state_dict": state, "meta": {}}, path)
    return state


@pytest.mark.parametrize("name", ["centerpoint_world", "centerpointvoxel_world"])
def test_pretraining_fits_the_detector(name, tmp_path):
    """The student of the pretraining config is the detector's encoder, tensor by tensor."""
    from lidistill.distill.parts import load_parts

    compat.apply()
    checkpoint = tmp_path / "iter_1.pth"
    state = make_checkpoint(checkpoint, ROOT / f"configs/slidr/{name}_pretrain.py")
    config = load_config(DOWNSTREAM / f"{name}.py")
    model = MODELS.build(config.model)
    report = load_parts(model, checkpoint, config.custom_hooks[-1]["parts"])
    assert report.left == []
    assert len(report.taken) == len(state) > 30
    weights = model.state_dict()
    assert all(torch.equal(weights[own], state[theirs]) for own, theirs in report.taken.items())


@pytest.mark.parametrize("name", ["centerpoint_nuscenes", "second_kitti"])
def test_published_sizes_fit_too(name, tmp_path):
    from lidistill.distill.parts import load_parts

    compat.apply()
    source = {"centerpoint_nuscenes": "centerpointencoder", "second_kitti": "secondencoder"}[name]
    checkpoint = tmp_path / "iter_1.pth"
    state = make_checkpoint(checkpoint, ROOT / f"configs/slidr/{source}_r50_nuscenes.py")
    config = load_config(DOWNSTREAM / f"{name}.py")
    report = load_parts(MODELS.build(config.model), checkpoint, config.custom_hooks[-1]["parts"])
    assert len(report.taken) == len(state)


@pytest.mark.slow
def test_transfer_starts_from_the_checkpoint(converted_world, tmp_path):
    compat.apply()
    root = converted_world / "nuscenes"
    checkpoint = tmp_path / "iter_1.pth"
    make_checkpoint(checkpoint, ROOT / "configs/slidr/centerpoint_world_pretrain.py")
    arguments = {"data_root": root, "checkpoint": checkpoint, "scenes": 2, "seed": 0, "iters": 1}
    config = DOWNSTREAM / "centerpoint_world.py"
    scores = detection_transfer(config, tmp_path / "a", **arguments)
    assert "tensors taken, 0 left" in (tmp_path / "a" / REPORT).read_text()
    assert scores.frames == 4
    assert set(scores.ap) == set(load_config(config).classes)
    with pytest.raises(ValueError, match="PretrainedParts"):
        detection_transfer(WORLD[0], tmp_path / "b", **arguments)
    torch.save({"state_dict": {"student.a": torch.zeros(1)}}, tmp_path / "iter_2.pth")
    other = {**arguments, "checkpoint": tmp_path / "iter_2.pth"}
    with pytest.raises(ValueError, match="0 of"):
        detection_transfer(config, tmp_path / "c", **other)


@pytest.mark.slow
def test_a_run_that_continues_ends_with_the_same_weights(converted_world, tmp_path):
    config = ROOT / "configs/detection/pointpillars_world.py"
    root = str(converted_world / "kitti")
    options = {"iters": 2, "default_hooks.checkpoint.interval": 1}
    whole = train(config, tmp_path / "whole", data_root=root, options=options)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut/iter_2.pth").unlink()
    note = json.loads((tmp_path / "cut/run.json").read_text())
    (tmp_path / "cut/run.json").write_text(json.dumps({"config": note["config"]}))
    again = train(config, tmp_path / "cut", data_root=root, options=options)
    first, second = (torch.load(p, weights_only=False)["state_dict"] for p in (whole, again))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_builder_is_named_in_configs():
    kinds = {load_config(path).model["type"] for path in WORLD}
    assert kinds == {mmdet3d_detector, BEVDetector}
