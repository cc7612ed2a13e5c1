# SPDX-License-Identifier: Apache-2.0
"""Bench of SLidR pretraining steps: reading a batch, and training on it.

The authors' release cannot run these on a CPU, so there is no reference. The demo's data are the
embedded world; weights of the image teacher are random, which costs the same.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from lidistill.bench.case import Case
from lidistill.engine.configs.shipped import shipped_configs

CONFIG = shipped_configs() / "slidr" / "demo_pretrain.py"
KITTI_CONFIG = shipped_configs() / "slidr" / "real_pretrain.py"
WORLD = Path("work_dirs/bench/world")
_SCRATCH: list[tempfile.TemporaryDirectory[str]] = []  # lives as long as the process


def cases(size: str) -> list[Case]:
    """Make the benches of this file; generates the world they read where it is not there yet.

    Args:
        size: "full" = the demo's world; "quick" = the tiny one, in a temporary folder.

    Returns:
        Of the demo: reading one batch, and one training step; and :func:`kitti_cases`.
    """
    return [*demo_cases(size), *kitti_cases(size)]


def demo_cases(size: str) -> list[Case]:
    """Reading one batch of the demo, and one training step."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.runner import Runner, set_random_seed

    from lidistill import compat
    from lidistill.datasets.sampler import Draw
    from lidistill.engine.configs.read import load_config
    from lidistill.engine.test import drop_teacher_checkpoints
    from lidistill.evidence.slidr_runs import prepare_world
    from lidistill.registry import MODELS

    compat.apply()
    preset, folder = ("demo", WORLD) if size == "full" else ("tiny", _scratch_folder())
    world = prepare_world(folder, preset, seed=0)
    config = load_config(CONFIG, data_root=str(world.root))
    drop_teacher_checkpoints(config)
    set_random_seed(0)
    loader = Runner.build_dataloader(config.train_dataloader, seed=0)
    model = MODELS.build(config.model).train()
    optimizer = build_optim_wrapper(model, config.optim_wrapper)

    def read() -> Any:
        draws = [Draw(index, seed=index) for index in range(loader.batch_size)]
        return loader.collate_fn([loader.dataset[draw] for draw in draws])

    batch = read()
    words = _describe(batch["inputs"])
    return [
        Case("slidr_demo_read_batch", words, None, read),
        Case("slidr_demo_train_step", words, None, lambda: model.train_step(batch, optimizer)),
    ]


def _scratch_folder() -> Path:
    _SCRATCH.append(tempfile.TemporaryDirectory(prefix="lidistill_bench_"))
    return Path(_SCRATCH[-1].name)


def _describe(batch: Any) -> str:
    images = " x ".join(map(str, batch.images.shape))
    return f"{images} images, {len(batch.voxel_coords)} voxels, {len(batch.pair_point)} pairs"


def kitti_cases(size: str) -> list[Case]:
    """Where the time of a step on KITTI's pairs goes: reading, teacher, student, the rest.

    The data are real where ``LIDISTILL_REAL_ROOT`` names them (docs/real_data.md), and otherwise a
    tiny embedded world in KITTI's layout. What the whole step takes more than teacher and student
    is regions, heads, loss and optimizer.

    Args:
        size: "full" = the config's batch of four; "quick" = two frames of the tiny world.

    Returns:
        Reading one batch; the whole training step; its teacher; its student, forward and backward.
    """
    from mmengine.optim import build_optim_wrapper
    from mmengine.runner import Runner, set_random_seed

    from lidistill import compat
    from lidistill.datasets.sampler import Draw
    from lidistill.distill.calls import call_model
    from lidistill.distill.image_to_lidar import VOXEL_INPUTS
    from lidistill.engine.configs.read import load_config
    from lidistill.engine.test import drop_teacher_checkpoints
    from lidistill.evidence.real import FOLDS, VARIABLE
    from lidistill.registry import MODELS

    compat.apply()
    real = size == "full" and VARIABLE in os.environ
    words = "real pairs" if real else "embedded world tiny"
    config = load_config(KITTI_CONFIG, data_root=str(FOLDS.root() if real else _tiny_root()))
    if not real:
        config.train_dataloader.dataset.ann_file = "kitti_infos_train.pkl"
        config.train_dataloader.batch_size = 4 if size == "full" else 2
    drop_teacher_checkpoints(config)
    set_random_seed(0)
    loader = Runner.build_dataloader(config.train_dataloader, seed=0)
    model = MODELS.build(config.model).train()
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    frames = len(loader.dataset)
    spread = max(1, frames // loader.batch_size)

    def read() -> Any:
        draws = [Draw(k * spread % frames, seed=k) for k in range(loader.batch_size)]
        return loader.collate_fn([loader.dataset[draw] for draw in draws])

    data = read()
    batch = data["inputs"]

    def student() -> torch.Tensor:
        features = call_model(model.student, batch, VOXEL_INPUTS, "tensor", training=True)
        torch.autograd.backward(features.sum())
        model.zero_grad()
        return features.detach()

    images = " x ".join(map(str, batch.images.shape))
    words = (
        f"{words}, {images} images, {len(batch.voxel_coords)} voxels, {len(batch.pair_point)} pairs"
    )
    return [
        Case("slidr_kitti_read_batch", words, None, read),
        Case("slidr_kitti_train_step", words, None, lambda: model.train_step(data, optimizer)),
        Case("slidr_kitti_teacher", words, None, lambda: model.teachers["image"](batch)),
        Case("slidr_kitti_student", words, None, student),
    ]


def _tiny_root() -> Path:
    """A tiny world in KITTI's layout with superpixels."""
    from lidistill.converters.kitti.convert import convert_kitti
    from lidistill.converters.superpixels.make import make_superpixels
    from lidistill.evidence.real import SIGMA, SUPERPIXELS
    from lidistill.world import generate

    folder = _scratch_folder()
    generate(folder, layout="kitti", preset="tiny", seed=0)
    root = folder / "kitti"
    infos = convert_kitti(root)["train"]
    make_superpixels(infos, root, root / SUPERPIXELS, sigma=SIGMA, jobs=1)
    return root
