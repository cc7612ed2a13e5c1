# SPDX-License-Identifier: Apache-2.0
"""Every pretraining config builds, reads a frame through its own pipeline and gets a gradient.

Images and image networks are made small; widths, heads, pipelines and students are the configs'.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lidistill import compat
from lidistill.datasets.pairs_dataset import ImageLidarPairs
from lidistill.datasets.sampler import Draw
from lidistill.distill.distiller import Distiller
from lidistill.engine.configs.read import load_config
from lidistill.registry import DATASETS, MODELS
from tests.conftest import project_configs
from tests.datasets.mini import make_mini

SMALL = (56, 112)  # multiples of 14, the patch of DINOv2


def trains_a_method(path: Path) -> bool:
    """Whether a config trains a Distiller on pairs: no stages, no image network, no detectors."""
    config = load_config(path)
    model = config.get("model")
    kind = None if model is None else model["type"]
    if not (isinstance(kind, type) and issubclass(kind, Distiller)):
        return False
    return config.train_dataloader.dataset.type is ImageLidarPairs


CONFIGS = [
    path for path in project_configs() if path.parent.stem[0] != "_" and trains_a_method(path)
]
each_config = pytest.mark.parametrize(
    "path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}"
)


@pytest.fixture(scope="module")
def mini(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("mini")
    make_mini(root)
    return root


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory) -> Path:
    """A DINOv2 as wide as ViT-L, one thin layer deep."""
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dinov2")
    config = Dinov2Config(
        hidden_size=1024, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=1, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder)
    return folder


def small_dataset(config, root: Path) -> dict:
    """The config's training data set, on the small data and with small images."""
    dataset = config.train_dataloader.dataset
    dataset.update(data_root=str(root), ann_file="infos.pkl")
    dataset.pop("superpixels", None)
    if dataset.get("superpixels_dir") is not None:
        dataset["superpixels_dir"] = str(root / "slic")
    for step in dataset["pipeline"]:
        if "size" in step:
            step["size"] = SMALL
    return dataset


def small_model(config, dinov2: Path) -> Distiller:
    """The config's model; its teacher has random weights."""
    teacher = config.model["teacher"]
    teacher.pop("checkpoint", None)
    if "directory" in teacher["model"]:
        teacher["model"]["directory"] = str(dinov2)
    if teacher["model"].get("weights") == "package":  # of ImageNet; it may not be installed
        teacher["model"]["weights"] = None
    torch.manual_seed(0)
    return MODELS.build(config.model).train()


@each_config
def test_config_reads_a_frame_and_takes_a_gradient(path, mini, dinov2):
    compat.apply()
    config = load_config(path)
    frames = DATASETS.build(small_dataset(config, mini))
    model = small_model(config, dinov2)
    batch = config.train_dataloader.collate_fn["type"]([frames[Draw(0, 1)]])["inputs"]
    losses = model(batch, mode="loss")
    total = sum(value for name, value in losses.items() if name.startswith("loss_"))
    assert torch.isfinite(total)
    assert total > 0
    total.backward()
    last = [p for p in model.student.parameters() if p.requires_grad][-1]
    assert last.grad.abs().sum() > 0


def test_there_are_configs():
    names = {path.parent.name for path in CONFIGS}
    assert {"ppkt", "scalr", "slidr", "stslidr"} <= names


@each_config
def test_schedule_ends_with_the_training(path):
    config = load_config(path)
    ends = [scheduler["end"] for scheduler in config.param_scheduler]
    begins = [scheduler["begin"] for scheduler in config.param_scheduler]
    assert begins == [0, *ends[:-1]]
    assert ends[-1] == config.train_cfg.max_iters
