# SPDX-License-Identifier: Apache-2.0
"""Bench of a distilled detector's training step: what its teacher adds, and what saves of that.

Here the *reference* is no authors' code. A whole step of PointDistiller stands beside the student's
own step (ratio 0.5: distillation takes as long as the student does), the teacher stopped after its
last tap beside its pass to the end of its head, and a teacher's boxes from the cache beside the
teacher itself. Points are noise with boxes of points in it; weights are random.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import torch

from lidistill.bench.case import Case
from lidistill.engine.configs.shipped import shipped_configs

CONFIGS = shipped_configs() / "pointdistiller"
WORLD = {
    "PointPillars, pillars": "pointpillars_world",
    "PointPillars, maps": "pointpillars_bev_world",
    "SECOND, maps": "second_world",
    "CenterPoint, maps": "centerpoint_pillar_world",
}
"""Detectors by config, at the embedded world's size."""
KITTI = {"PointPillars, pillars": "pointpillars_kitti_4x", "SECOND, maps": "second_kitti_4x"}
"""The same at the paper's size: for a GPU."""
LABELLED = "SECOND, maps"  # its teacher runs to its end, so a cache has something to save
QUICK = {LABELLED: WORLD[LABELLED]}
_SCRATCH: list[tempfile.TemporaryDirectory[str]] = []  # lives as long as the process


def cases(size: str) -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = the embedded world's detectors; "quick" = one, on few points.

    Returns:
        Per detector the step and the teacher; a step with cached boxes.
    """
    return detector_cases(WORLD, 6000) if size == "full" else detector_cases(QUICK, 600)


def detector_cases(configs: Mapping[str, str], points: int, device: str = "cpu") -> list[Case]:
    """Steps of these detectors.

    Args:
        configs: name -> file in ``configs/pointdistiller``.
        points: of each of two samples.
        device: of the models and the batch.
    """
    from mmengine.optim import build_optim_wrapper

    from lidistill import compat
    from lidistill.engine.configs.read import load_config
    from lidistill.engine.synthetic import synthetic_batch
    from lidistill.engine.test import drop_teacher_checkpoints
    from lidistill.registry import MODELS

    compat.apply()
    made = []
    for name, config in configs.items():
        cfg = load_config(CONFIGS / f"{config}.py")
        drop_teacher_checkpoints(cfg)
        torch.manual_seed(0)
        model: Any = MODELS.build(cfg.model).to(device).train()
        batch = model.data_preprocessor(synthetic_batch(cfg, model, points), True)

        def step(trained: Any, cfg: Any = cfg, batch: Any = batch) -> Callable[[], Any]:
            optimizer = build_optim_wrapper(trained, cfg.optim_wrapper)
            return lambda: trained.train_step(batch, optimizer)

        words = f"{config}, 2 samples x {points:,} points; reference: "
        made += [
            Case(
                f"distilled_step, {name}", words + "student alone", step(model.student), step(model)
            ),
            _stopped(name, words, model.teachers["teacher"], batch),
        ]
        if name == LABELLED:
            live, cached = _labelled(cfg, batch, device)
            made.append(
                Case(
                    f"distilled_step, {name.split(',')[0]}, teacher's boxes cached",
                    words + "teacher's boxes live",
                    step(live),
                    step(cached),
                )
            )
    return made


def _stopped(name: str, words: str, teacher: Any, batch: Any) -> Case:
    from lidistill.distill.teacher import Teacher

    head = next(n for n in ("bbox_head", "pts_bbox_head") if hasattr(teacher.model, n))
    whole = Teacher(teacher.model, {"head": head})
    words += "to the end of its head"
    return Case(f"teacher, {name}", words, lambda: whole.run(batch), lambda: teacher.run(batch))


def _labelled(cfg: Any, batch: Any, device: str) -> tuple[Any, Any]:
    """Label distillation from a teacher that runs on each batch, and from one that is cached."""
    from lidistill.distill.caches.detections import ReplayCache
    from lidistill.methods import FeatureKD

    for number, sample in enumerate(batch["data_samples"]):
        sample.set_metainfo({"lidar_path": f"{number}.bin"})
    _SCRATCH.append(tempfile.TemporaryDirectory(prefix="lidistill_bench_"))
    models = []
    for cache in (None, ReplayCache(_SCRATCH[-1].name)):
        torch.manual_seed(0)
        options = {"teacher": {"model": cfg.model.teacher.model, "cache": cache}}
        model = FeatureKD(cfg.model.student, options, {}, labels={"score": 0.6})
        models.append(model.to(device).train())
        if cache is not None:
            teacher = model.teachers["teacher"]
            cache.keep(teacher, batch, teacher.run(batch))
    return models[0], models[1]
