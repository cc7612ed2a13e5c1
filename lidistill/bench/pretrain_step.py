# SPDX-License-Identifier: Apache-2.0
"""Bench of one SLidR pretraining step on the demo config: reading a batch, and training on it.

The authors' release cannot run these on a CPU, so there is no reference. The data are the embedded
world; weights of the image teacher are random, which costs the same.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from lidistill.bench.case import Case
from lidistill.provenance import CHECKOUT

CONFIG = CHECKOUT / "configs" / "slidr" / "demo_pretrain.py"
WORLD = Path("work_dirs/bench/world")
_SCRATCH: list[tempfile.TemporaryDirectory[str]] = []  # lives as long as the process


def cases(size: str) -> list[Case]:
    """Make the benches of this file; generates the world they read where it is not there yet.

    Args:
        size: "full" = the demo's world; "quick" = the tiny one, in a temporary folder.

    Returns:
        Reading one batch, and one training step.
    """
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
