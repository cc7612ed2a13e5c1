# SPDX-License-Identifier: Apache-2.0
"""Bench of a detector's own training step: with the bridges that make it shorter, and without them.

Here the *reference* is the very same detector on the same batch with mmdet3d's own pillar layers
and CenterPoint targets in place of :mod:`lidistill.compat.pillars` and
:mod:`lidistill.compat.center_targets`. Detectors without either have no reference: their rows say
what a step takes. Points are noise with as many boxes of points in it as a frame of the world has;
weights are random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lidistill.bench.case import Case
from lidistill.engine.configs.shipped import shipped_configs

CONFIGS = shipped_configs() / "detection"
WORLD = {
    "PointPillars": "pointpillars_world",
    "CenterPoint, pillars": "centerpoint_pillar_world",
    "SECOND": "second_world",
    "CenterPoint, voxels": "centerpoint_voxel_world",
}
QUICK = {"PointPillars": "pointpillars_world"}


def cases(size: str) -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = the embedded world's detectors; "quick" = one, on few points.

    Returns:
        One training step each: forward, losses, backward, clipping and the optimizer.
    """
    configs, points, objects = (WORLD, 6000, 50) if size == "full" else (QUICK, 600, 6)
    return [_case(name, config, points, objects) for name, config in configs.items()]


def _case(name: str, config: str, points: int, objects: int) -> Case:
    from mmengine.optim import build_optim_wrapper

    from lidistill import compat
    from lidistill.engine.configs.read import load_config
    from lidistill.engine.synthetic import synthetic_batch
    from lidistill.registry import MODELS

    compat.apply()
    cfg = load_config(CONFIGS / f"{config}.py")
    torch.manual_seed(0)
    model: Any = MODELS.build(cfg.model).train()
    batch = model.data_preprocessor(synthetic_batch(cfg, model, points, objects), True)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)

    def step() -> Any:
        return model.train_step(batch, optimizer)

    words = f"{config}, 2 samples x {points:,} points, {objects} objects"
    layers = {type(module).__name__ for module in model.modules()}
    reference = _with(without_bridges, step) if layers & {"PFNLayer", "CenterHead"} else None
    return Case(f"detector_step, {name}", words, reference, step)


def _with(setting: Callable[[], Any], work: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        with setting():
            return work()

    return run


@contextmanager
def without_bridges() -> Iterator[None]:
    """mmdet3d's own pillar layers and CenterPoint targets, for as long as this lasts."""
    from mmdet3d.models.dense_heads import CenterHead
    from mmdet3d.models.voxel_encoders import utils

    places: list[tuple[Any, str]] = [
        (utils.PFNLayer, "forward"),
        (CenterHead, "get_targets_single"),
    ]
    bridges = [getattr(owner, name) for owner, name in places]
    for (owner, name), bridge in zip(places, bridges, strict=True):
        setattr(owner, name, bridge.__wrapped__)
    try:
        yield
    finally:
        for (owner, name), bridge in zip(places, bridges, strict=True):
            setattr(owner, name, bridge)
