# SPDX-License-Identifier: Apache-2.0
"""Every fine-tuning config builds, reads scans through its own pipeline and gets a gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lidistill import compat
from lidistill.converters.semantic_kitti.convert import convert_semantic_kitti
from lidistill.datasets.sampler import Draw
from lidistill.engine.configs.read import load_config
from lidistill.evaluation.segmentor import Segmentor
from lidistill.registry import DATASETS, MODELS
from tests.converters.fake_semantic_kitti import write_fake_semantic_kitti
from tests.datasets.mini import make_mini

FOLDER = Path(__file__).resolve().parents[2] / "configs/slidr/downstream"
CONFIGS = ["demo_finetune", "minkunet_nuscenes_linear", "minkunet_semantickitti"]
TWINS = {"minkunet_nuscenes": 0.05, "minkunet_semantickitti": 0.05}


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    """Small data sets by what the config's info file is called."""
    mini = tmp_path_factory.mktemp("mini")
    make_mini(mini, superpixels=False).rename(mini / "lidistill_infos_train.pkl")
    kitti = write_fake_semantic_kitti(tmp_path_factory.mktemp("kitti"), scans=2)
    convert_semantic_kitti(kitti)
    return {"lidistill_infos_train.pkl": mini, "semantickitti_infos_train.pkl": kitti}


@pytest.mark.parametrize("name", CONFIGS)
def test_config_reads_scans_and_takes_a_gradient(name, roots):
    compat.apply()
    config = load_config(FOLDER / f"{name}.py", options=["model.checkpoint=None"])
    dataset = config.train_dataloader.dataset
    dataset.update(data_root=str(roots[dataset.ann_file]))
    if dataset.get("scenes") is not None:
        dataset["scenes"] = 1
    scans = DATASETS.build(dataset)
    model = MODELS.build(config.model).train()
    assert isinstance(model, Segmentor)
    batch = config.train_dataloader.collate_fn["type"]([scans[Draw(0, 1)]])["inputs"]
    losses = model(batch, mode="loss")
    assert set(losses) == {"loss_ce", "loss_lovasz"}
    sum(losses.values()).backward()
    assert torch.isfinite(model.head.weight.grad).all()
    trained = any(parameter.grad is not None for parameter in model.backbone.parameters())
    assert trained == (not model.freeze_backbone)
    assert len(model.eval()(batch, mode="predict")[0]["predicted"]) == len(batch.points)


@pytest.mark.parametrize("name", TWINS)
def test_twin_differs_in_its_start_and_learning_rates_only(name):
    tuned, twin = (
        load_config(FOLDER / f"{name}{suffix}.py").to_dict() for suffix in ("", "_scratch")
    )
    assert tuned["model"].pop("checkpoint") == "stage://pretrain"
    assert twin["model"].pop("checkpoint") is None
    rate = tuned["optim_wrapper"]["optimizer"].pop("lr")
    head = tuned["optim_wrapper"].pop("paramwise_cfg")["custom_keys"]["head."]["lr_mult"]
    assert rate * head == pytest.approx(2.0)
    assert twin["optim_wrapper"]["optimizer"].pop("lr") == TWINS[name]
    assert twin["optim_wrapper"].pop("paramwise_cfg") is None
    assert tuned == twin


def test_demo_student_is_that_of_the_pretraining():
    tuned = load_config(FOLDER / "demo_finetune.py")
    pretrained = load_config(FOLDER.parent / "demo_pretrain.py")
    assert tuned.model.backbone.to_dict() == pretrained.model.student.to_dict()
    assert tuned.voxelize.to_dict() == pretrained.voxelize.to_dict()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_configs_are_leaves_and_read(path):
    assert len(path.read_text().splitlines()) <= 80
    config = load_config(path)
    assert config.get("stages") or config.test_cfg is not None
