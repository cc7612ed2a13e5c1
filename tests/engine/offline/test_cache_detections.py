# SPDX-License-Identifier: Apache-2.0
"""``lidistill cache_teacher`` on a detector: filled, continued, read in training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from lidistill import cli
from lidistill.datasets.sampler import Draw
from lidistill.distill.caches.augmentation import Augmentation, without_augmentation
from lidistill.distill.caches.files import glances
from lidistill.engine.configs.caches import note_inputs
from lidistill.engine.configs.read import load_config
from lidistill.engine.offline.cache_detections import _refuse_shared_names
from lidistill.io import DataError, read_manifest
from lidistill.registry import DATASETS, MODELS

CONFIG = Path(__file__).parents[1].joinpath("replay_config.py")


def opened(config):
    """The store of the config's teacher, as a training opens it."""
    note_inputs(config)
    teacher = MODELS.build(config.model).teachers["teacher"]
    return teacher.cache.open(teacher)


def checkpoint(path: Path) -> Path:
    """The teacher with fixed weights: every build of the config gives others."""
    torch.manual_seed(0)
    model = MODELS.build(load_config(CONFIG).model["teachers"]["teacher"]["model"])
    torch.save({"state_dict": model.state_dict()}, path)
    return path


@pytest.mark.slow
def test_boxes_follow_the_augmentation(converted_world, tmp_path, capsys):
    from mmengine.dataset import pseudo_collate

    root, weights = str(converted_world / "kitti"), checkpoint(tmp_path / "teacher.pth")
    words = ["cache_teacher", str(CONFIG), "--data-root", root, "--out", str(tmp_path / "cache"),
             "--checkpoint", str(weights), "--workers", "0", "--device", "cpu"]  # fmt: skip
    assert cli.main([*words, "--dry-run"]) == 0
    assert "to do: about" in capsys.readouterr().out
    assert not (tmp_path / "cache").exists()
    assert cli.main(words) == 0
    count = int(capsys.readouterr().out.partition(" scans done now")[0].split()[-1])
    assert count >= 2
    assert cli.main(words) == 0
    assert "0 scans done now" in capsys.readouterr().out

    sample = read_manifest(tmp_path / "cache")["files"]
    assert sample == glances((Path(root, name) for name in sample), root)

    def trained(**changes) -> Config:
        config = load_config(CONFIG, data_root=root)
        entry = config.model["teachers"]["teacher"]
        entry["checkpoint"], entry["cache"]["folder"] = str(weights), str(tmp_path / "cache")
        for step in config.train_dataloader.dataset["dataset"]["pipeline"]:
            step.update(changes.get(step["type"].__name__, {}))
        return config

    opened(
        trained(Pack3DDetInputs={"keys": ["points"]}, GlobalRotScaleTrans={"translation_std": 1})
    )
    for other in (
        {"LoadCheckedPoints": {"use_dim": 3}},
        {"PointsRangeFilter": {"point_cloud_range": [0.0, -20, -3, 40, 20, 1]}},
    ):
        with pytest.raises(DataError, match=r"from other images \(inputs: "):
            opened(trained(**other))

    config = load_config(CONFIG, data_root=root)
    entry = config.model["teachers"]["teacher"]
    entry["checkpoint"], entry["cache"]["folder"] = str(weights), str(tmp_path / "cache")
    method = MODELS.build(config.model)
    teacher = method.teachers["teacher"]
    frames = config.train_dataloader.dataset
    batch = pseudo_collate([DATASETS.build(frames)[Draw(index, 7)] for index in (0, 1)])
    frames["dataset"]["pipeline"] = without_augmentation(frames["dataset"]["pipeline"])
    plain = pseudo_collate([DATASETS.build(frames)[Draw(index, 7)] for index in (0, 1)])
    live = teacher.run(plain)._predicted
    teacher.run = None  # never called again
    replayed = teacher(batch)._predicted
    for sample, one, other in zip(batch["data_samples"], replayed, live, strict=True):
        steps = Augmentation.of(sample)
        assert [name for name, _ in steps.steps][-3:] == ["R", "S", "T"]
        expected = steps.boxes(other.pred_instances_3d.bboxes_3d.tensor)
        torch.testing.assert_close(one.pred_instances_3d.bboxes_3d.tensor, expected)
        assert len(expected) > 3
    losses = method(**batch, mode="loss")
    assert float(losses["teacher_boxes"]) > 3
    assert all(torch.isfinite(torch.as_tensor(sum(v) if isinstance(v, list) else v)).all()
               for v in losses.values())  # fmt: skip


def test_scans_that_a_cache_would_take_for_one_are_refused():
    paths = [f"/data/{drive}/lidar/top/raw/7.bin" for drive in ("one", "two")]
    infos = [{"lidar_points": {"lidar_path": p}, "lidar_path": p} for p in paths]
    inner = SimpleNamespace(get_data_info=infos.__getitem__, ann_file="infos.pkl")
    frames = SimpleNamespace(dataset=inner, indices=[0, 1])
    with pytest.raises(DataError, match=r"two scans for one: /data/one/.* and /data/two/"):
        _refuse_shared_names(frames)
    frames.indices = [0, 0]  # repeated for balance
    _refuse_shared_names(frames)
