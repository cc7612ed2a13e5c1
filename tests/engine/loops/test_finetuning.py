# SPDX-License-Identifier: Apache-2.0
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from lidistill.datasets import scans
from lidistill.engine.loops.epochs import EpochCheckpointHook, ResumableEpochLoop
from lidistill.engine.loops.finetuning import finetune
from lidistill.engine.test import evaluate
from lidistill.engine.train import train
from lidistill.io import read_json
from tests.datasets.mini import make_mini

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "tests/engine/finetune_config.py"


@pytest.fixture(scope="module")
def mini(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("mini")
    make_mini(root, superpixels=False)
    return root


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """A student's weights, as a Distiller's checkpoint holds them."""
    path = tmp_path_factory.mktemp("pretrained") / "iter_9.pth"
    random = torch.Generator().manual_seed(3)
    state = {
        "student.weight": torch.randn(8, 4, generator=random),
        "student.bias": torch.zeros(8),
        "connectors.point.weight": torch.ones(1),
    }
    torch.save({"state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def result(mini, pretrained, tmp_path_factory):
    return finetune(
        CONFIG, tmp_path_factory.mktemp("tuned"), data_root=mini, checkpoint=pretrained, seed=4
    )


def weights(path: Path) -> dict:
    return torch.load(path, weights_only=False)["state_dict"]


def test_result_says_what_was_scored_and_how(result, mini):
    assert result.checkpoint.name == "iter_6.pth"
    assert result.val_frames == 3
    assert result.val_points == result.confusion.sum() > 0
    assert result.iou.shape == (17,)
    assert math.isnan(result.iou[0])
    assert result.miou == pytest.approx(np.nanmean(result.iou))
    for words in ("pretrained weights (", "all scenes, 6 iterations, seed 4", "LidarSegEval"):
        assert words in result.protocol
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["iou"][0] is None
    assert plain["miou"] == result.miou


def test_same_seed_gives_the_same_weights_and_score(result, mini, pretrained, tmp_path):
    again = finetune(CONFIG, tmp_path, data_root=mini, checkpoint=pretrained, seed=4)
    first, second = weights(result.checkpoint), weights(again.checkpoint)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (again.miou, again.protocol) == (result.miou, result.protocol)
    np.testing.assert_array_equal(again.confusion, result.confusion)


def test_a_finished_run_is_taken_over_and_other_weights_are_another_run(result, mini, pretrained):
    folder = result.checkpoint.parent
    before = result.checkpoint.stat().st_mtime_ns
    again = finetune(CONFIG, folder, data_root=mini, checkpoint=pretrained, seed=4)
    assert again.miou == result.miou
    assert result.checkpoint.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="holds a run of another config"):
        finetune(CONFIG, folder, data_root=mini, checkpoint=None, seed=4)


def test_twin_sees_the_same_data_in_the_same_order(mini, pretrained, tmp_path, monkeypatch):
    seen: dict = {}
    original = scans.LidarScans.__getitem__
    for name, checkpoint in (("pretrained", pretrained), ("random", None)):
        draws = seen[name] = []

        def spy(self, key, draws=draws):
            frame = original(self, key)
            draws.append((frame.token, float(frame.points[0, 0])))
            return frame

        monkeypatch.setattr(scans.LidarScans, "__getitem__", spy)
        tuned = finetune(CONFIG, tmp_path / name, data_root=mini, checkpoint=checkpoint, scenes=1)
        assert ("random weights" in tuned.protocol) == (checkpoint is None)
        assert "labelled scenes: 1" in tuned.protocol
    assert seen["pretrained"] == seen["random"]
    assert len({draw for draw in seen["random"][:3]}) == 3


def test_options_hold_in_the_test_as_well(mini, tmp_path):
    """The score was that of the config's own protocol and of its own inputs."""
    tuned = finetune(
        CONFIG, tmp_path, data_root=mini, checkpoint=None, scenes=1,
        options={"iters": 2, "test_evaluator.protocol": "slidr"},
    )  # fmt: skip
    assert "SLidR authors' evaluation" in tuned.protocol
    assert "2 iterations" in tuned.protocol


def test_each_epoch_is_kept_and_validated(result):
    folder = result.checkpoint.parent
    assert sorted(path.name for path in folder.glob("iter_*.pth")) == ["iter_3.pth", "iter_6.pth"]
    log = (folder / "console.log").read_text()
    assert log.count("Iter(val) [3/3]") == 2
    outcome = read_json(folder / "segmentation.json")
    assert outcome["mIoU"] == result.miou
    groups = weights_of_optimizer(result.checkpoint)
    assert {round(rate, 6) for rate in groups} == {0.02, 2.0}


def weights_of_optimizer(path: Path) -> list:
    groups = torch.load(path, weights_only=False)["optimizer"]["param_groups"]
    return [group["initial_lr"] for group in groups]


def test_lidistill_test_scores_a_checkpoint_without_the_pretraining(result, mini, tmp_path):
    metrics = evaluate(CONFIG, str(result.checkpoint), str(tmp_path), str(mini))
    assert metrics["segmentation/mIoU"] == result.miou
    assert read_json(tmp_path / "segmentation.json")["protocol"] in result.protocol


def test_without_a_pretraining_the_option_is_named(mini, tmp_path):
    with pytest.raises(ValueError, match=r"--cfg-options model\.checkpoint=FILE"):
        train(CONFIG, tmp_path, data_root=str(mini))
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        finetune(CONFIG, tmp_path, data_root=mini, checkpoint=tmp_path / "none.pth")


def test_iters_replace_epochs(mini, tmp_path):
    final = train(
        CONFIG, tmp_path, data_root=str(mini), quiet=True,
        options={"iters": 2, "model.checkpoint": None, "train_dataloader.dataset.scenes": 1},
    )  # fmt: skip
    assert final.name == "iter_2.pth"


def test_loop_wants_epochs_or_iterations_and_the_hook_its_loop():
    with pytest.raises(ValueError, match="max_epochs or max_iters"):
        ResumableEpochLoop(None, None)
    with pytest.raises(ValueError, match="needs train_cfg of type ResumableEpochLoop"):
        EpochCheckpointHook().before_train(SimpleNamespace(train_loop=None))


def test_short_epochs_still_have_an_iteration():
    class Frames(list):
        metainfo: ClassVar[dict] = {}

    class Loader(list):
        dataset, batch_size = Frames(range(3)), 16

    runner = SimpleNamespace(visualizer=SimpleNamespace(dataset_meta=None), seed=0)
    loop = ResumableEpochLoop(runner, Loader(), max_epochs=5)
    assert (loop.max_iters, loop.epoch_iters, loop.val_interval) == (5, 1, 1)
