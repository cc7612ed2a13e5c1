# SPDX-License-Identifier: Apache-2.0
"""Train a detector, with or without pretrained parts, and score it: what evidence calls."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lidistill import compat
from lidistill.engine.configs.overrides import apply_overrides
from lidistill.engine.configs.read import load_config
from lidistill.engine.test import drop_teacher_checkpoints, leave_teachers_out
from lidistill.engine.train import console_log, train_one
from lidistill.evaluation.kitti.ap import KittiScores
from lidistill.evaluation.nuscenes.metric import DetectionScores
from lidistill.hooks.pretrained import set_pretrained
from lidistill.io import write_json

Scores = DetectionScores | KittiScores


def detection_transfer(
    config: str | Path,
    work_dir: str | Path,
    *,
    data_root: str | Path,
    checkpoint: str | Path | None,
    scenes: int | None = None,
    seed: int = 0,
    iters: int | None = None,
) -> Scores:
    """Fine-tune a detector from a pretraining checkpoint, or train its twin without one, and score.

    Weights outside of the pretrained parts, data order and augmentation depend on the seed alone,
    so runs of one seed are paired. A killed run continues.

    Args:
        config: a detection config with the hook
            :class:`lidistill.hooks.pretrained.PretrainedParts`.
        work_dir: of this one run.
        data_root: dataset with the info files of ``lidistill create_data``.
        checkpoint: of the pretraining; None takes the hook out.
        scenes: train on so many scenes, evenly spaced; None on all. Iterations stay the same.
        seed: of weights and data order.
        iters: iterations in place of the config's.

    Returns:
        ``map``, ``nds``, ``ap`` by class, ``boxes`` and ``protocol`` (nuScenes' layout), or KITTI's
        scores.

    Raises:
        ValueError: a checkpoint is given and the config has no such hook; or it does not fit.
    """
    compat.apply()
    cfg = load_config(config, data_root=str(data_root))
    apply_overrides(cfg, seed, False, {} if iters is None else {"iters": iters})
    set_pretrained(cfg, checkpoint, str(config))
    if scenes is not None:
        cfg.train_dataloader.dataset["scenes"] = scenes
    final = train_one(cfg, Path(work_dir), {}, quiet=True)
    return evaluate_detector(cfg, final, work_dir)


def evaluate_detector(cfg: Any, checkpoint: str | Path, work_dir: str | Path) -> Scores:
    """Score a detector, or the student of a Distiller, by the metric of its config.

    Args:
        cfg: config with ``test_dataloader`` and one ``test_evaluator`` of ours; not changed.
        checkpoint: of training.
        work_dir: gets ``detection.json``.
    """
    from mmengine.runner import Runner

    from lidistill.distill.weights import load_weights

    cfg = copy.deepcopy(cfg)
    cfg.work_dir, cfg.resume, cfg.load_from = str(work_dir), False, None
    drop_teacher_checkpoints(cfg)
    leave_teachers_out(cfg)
    with console_log(Path(work_dir)) if Path(work_dir).is_dir() else nullcontext():
        runner = Runner.from_cfg(cfg)
        load_weights(getattr(runner.model, "student", runner.model), checkpoint)
        numbers = dict(runner.test())
    scores: Scores = runner.test_evaluator.metrics[0].scores
    record = {"checkpoint": str(checkpoint), "protocol": scores.protocol, **numbers}
    write_json(Path(work_dir) / "detection.json", record)
    return scores
