# SPDX-License-Identifier: Apache-2.0
"""Bench of a distilled detector's training step: what its teacher adds, and what saves of that.

Here the *reference* is no authors' code. A whole step of PointDistiller, or of UniDistill, stands
beside the student's own step (ratio 0.5: distillation takes as long as the student does), the
teacher stopped after its last tap beside its pass to the end of its head, and its cached boxes
beside the teacher itself. Points are noise with boxes of points in it, images are noise; weights
are random.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lidistill.bench.case import Case
from lidistill.engine.configs.shipped import shipped_configs

CONFIGS = shipped_configs() / "pointdistiller"
SENSORS = shipped_configs() / "unidistill"
PATHS = {
    "LiDAR to cameras": "lidar_to_camera_world",
    "cameras to LiDAR": "camera_to_lidar_world",
    "fusion to LiDAR": "fusion_to_lidar_world",
    "fusion to cameras": "fusion_to_camera_world",
}
"""UniDistill's, by config, at the embedded world's size."""
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
QUICK_PATH = "cameras to LiDAR"
_SCRATCH: list[tempfile.TemporaryDirectory[str]] = []  # lives as long as the process


def cases(size: str) -> list[Case]:
    """Make the benches of this file.

    Args:
        size: "full" = the embedded world's detectors; "quick" = one, on few points.

    Returns:
        Per detector the step and the teacher; a step with cached boxes; steps across sensors.
    """
    if size == "full":
        return [*detector_cases(WORLD, 6000), *sensor_cases(PATHS, 6000)]
    return [*detector_cases(QUICK, 600), *sensor_cases({QUICK_PATH: PATHS[QUICK_PATH]}, 600)]


def detector_cases(configs: Mapping[str, str], points: int, device: str = "cpu") -> list[Case]:
    """Steps of these detectors.

    Args:
        configs: name -> file in ``configs/pointdistiller``.
        points: of each of two samples.
        device: of the models and the batch.
    """
    made = []
    for name, config in configs.items():
        cfg, model, batch = _built(CONFIGS / f"{config}.py", points, device)
        words = f"{config}, 2 samples x {points:,} points; reference: "
        made += [
            _distilled(name, words, cfg, model, batch),
            _stopped(name, words, model.teachers["teacher"], batch),
        ]
        if name == LABELLED:
            live, cached = _labelled(cfg, batch, device)
            made.append(
                Case(
                    f"distilled_step, {name.split(',')[0]}, teacher's boxes cached",
                    words + "teacher's boxes live",
                    _step(live, cfg, batch),
                    _step(cached, cfg, batch),
                )
            )
    return made


def sensor_cases(configs: Mapping[str, str], points: int, device: str = "cpu") -> list[Case]:
    """Steps of UniDistill; see :func:`detector_cases`."""
    made = []
    for name, config in configs.items():
        cfg, model, batch = _built(SENSORS / f"{config}.py", points, device)
        words = f"{config}, 2 samples x {points:,} points and 6 images; reference: "
        made.append(_distilled(f"UniDistill, {name}", words, cfg, model, batch))
    return made


def _built(config: Path, points: int, device: str) -> tuple[Any, Any, Any]:
    """A config, its method with random weights, and a batch."""
    from lidistill import compat
    from lidistill.engine.configs.read import load_config
    from lidistill.engine.synthetic import synthetic_batch
    from lidistill.engine.test import drop_teacher_checkpoints
    from lidistill.registry import MODELS

    compat.apply()
    cfg = load_config(config)
    drop_teacher_checkpoints(cfg)
    torch.manual_seed(0)
    model: Any = MODELS.build(cfg.model).to(device).train()
    return cfg, model, model.data_preprocessor(synthetic_batch(cfg, model, points), True)


def _step(trained: Any, cfg: Any, batch: Any) -> Callable[[], Any]:
    from mmengine.optim import build_optim_wrapper

    optimizer = build_optim_wrapper(trained, cfg.optim_wrapper)
    return lambda: trained.train_step(batch, optimizer)


def _distilled(name: str, words: str, cfg: Any, model: Any, batch: Any) -> Case:
    return Case(
        f"distilled_step, {name}",
        words + "student alone",
        _step(model.student, cfg, batch),
        _step(model, cfg, batch),
    )


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
