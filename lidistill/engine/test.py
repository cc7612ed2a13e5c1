# SPDX-License-Identifier: Apache-2.0
"""``lidistill test``: evaluate a checkpoint by the protocol its config names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lidistill import compat
from lidistill.engine.configs.options import merge_options, parse_options
from lidistill.engine.configs.read import add_options_argument, load_config
from lidistill.engine.configs.stages import choose_stage, fill_stage_checkpoints, stage_names
from lidistill.engine.scores import tables, write_scores
from lidistill.evaluation.kitti.metric import KittiDetection
from lidistill.evaluation.nuscenes.metric import NuScenesDetection
from lidistill.hooks.pretrained import set_pretrained
from lidistill.hooks.run_folder import note_written

HELP = "evaluate a checkpoint by the protocol of its config (SLidR: linear probe)"
PROBES = ("linear", "knn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``lidistill test``."""
    parser.add_argument("config", help="the config the checkpoint was trained with")
    parser.add_argument("checkpoint", help="iter_*.pth, or 'none' for the random initial weights")
    parser.add_argument("--work-dir", help="where results go (default: the checkpoint's folder)")
    parser.add_argument(
        "--data-root", help="use the dataset here instead of the config's data_root"
    )
    parser.add_argument("--seed", type=int, help="initial weights, where the checkpoint is 'none'")
    parser.add_argument(
        "--probe",
        choices=PROBES,
        help="another probe of a pretraining than the config's; knn trains nothing",
    )
    parser.add_argument(
        "--stage", help="of a staged config (default: that of the checkpoint's folder, or the last)"
    )
    add_options_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Entry of the verb."""
    from rich.console import Console

    console = Console(highlight=False)
    scores = evaluate(
        args.config,
        args.checkpoint,
        args.work_dir,
        args.data_root,
        args.seed,
        probe=args.probe,
        stage=args.stage,
        options=parse_options(args.cfg_options),
    )
    for table in tables(scores):
        console.print(table)
    return 0


def evaluate(
    config: str | Path,
    checkpoint: str,
    work_dir: str | None = None,
    data_root: str | None = None,
    seed: int | None = None,
    *,
    probe: str | None = None,
    stage: str | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run the config's test loop on a checkpoint.

    Args:
        config: it was trained with.
        checkpoint: file, or ``none`` for the random initial weights.
        work_dir: where results go; the checkpoint's folder by default.
        data_root: replaces the config's.
        seed: replaces ``randomness.seed``.
        probe: of :data:`PROBES`, in place of the probe that a pretraining config names.
        stage: of a staged config; None for the one in whose folder the checkpoint is, or the last.
        options: dotted key -> value, those that the checkpoint was trained with; of the stage's
            own config (``model.x``, without the stage's name).

    Raises:
        FileNotFoundError: no such config or checkpoint.
        ValueError: the config names no test protocol, or no probe that another could replace.
    """
    from lidistill.distill.weights import load_weights
    from lidistill.engine.quiet import QuietRunner
    from lidistill.models.detectors.ranges import check_ranges

    compat.apply()
    cfg = load_config(config, data_root=data_root)
    if stage is None and Path(checkpoint).parent.name in stage_names(cfg):
        stage = Path(checkpoint).parent.name
    _, cfg = choose_stage(Path(config), cfg, stage, data_root)
    merge_options(cfg, options or {})
    if cfg.get("test_cfg") is None:
        raise ValueError(f"{config} has no test_cfg; SLidR configs name LinearProbeLoop there")
    if probe is not None:
        set_probe(cfg, probe)
    random_weights = checkpoint == "none"
    default = Path("work_dirs") / Path(config).stem / "random" if random_weights else None
    cfg.work_dir = str(work_dir or default or Path(checkpoint).parent)
    if seed is not None:
        cfg.merge_from_dict({"randomness.seed": seed})
    drop_teacher_checkpoints(cfg)
    if not random_weights:
        leave_teachers_out(cfg)
    fill_stage_checkpoints(cfg, {})
    check_ranges(cfg)
    runner = QuietRunner.from_cfg(cfg)
    if not random_weights:
        load_weights(getattr(runner.model, "student", runner.model), checkpoint)
    folder = Path(cfg.work_dir)
    note_written(folder, runner.timestamp, there=True)
    before = {path.name for path in folder.iterdir()}
    scores = dict(runner.test())
    sensors = getattr(getattr(runner.model, "student", runner.model), "sensors", ("lidar",))
    name = "random" if random_weights else Path(checkpoint).stem
    for metric in getattr(getattr(runner.test_loop, "evaluator", None), "metrics", ()):
        if isinstance(metric, KittiDetection):
            written = metric.write_submission(folder / f"{name}.kitti")
            runner.logger.info(f"KITTI's result files are in {written}")
        if isinstance(metric, NuScenesDetection):
            submission = metric.write_submission(folder / f"{name}.nuscenes.json", sensors)
            runner.logger.info(f"nuScenes' results file is {submission}")
    made = {path.name for path in folder.iterdir()} - before
    note_written(folder, *sorted(made), there=True)
    path = write_scores(scores, folder, "random" if random_weights else checkpoint, config)
    runner.logger.info(f"scores are in {path}")
    return scores


def set_probe(cfg: Any, name: str) -> None:
    """Probe another way than the config says.

    Raises:
        ValueError: the config does not probe, or the probe is unknown.
    """
    from lidistill.engine.loops import probing

    loops = {"linear": probing.LinearProbeLoop, "knn": probing.KnnProbeLoop}
    if name not in loops or not issubclass(cfg.test_cfg.type, probing.LinearProbeLoop):
        raise ValueError(
            f"expected a probe of {', '.join(loops)} and a pretraining config whose test_cfg names "
            f"one, got {name!r} and {cfg.test_cfg.type.__name__}"
        )
    # by name: mmengine writes the config down, and a class as such is no Python there
    cfg.test_cfg.type = f"{loops[name].__module__}.{loops[name].__name__}"


def drop_teacher_checkpoints(cfg: Any) -> None:
    """The model is tested with the weights it is given: no others are read.

    These are its teachers', its image networks', and what a segmentor or detector was fine-tuned
    from.
    """
    set_pretrained(cfg, None)
    model = cfg.model
    model.pop("checkpoint", None)
    for teacher in teachers_of(model):
        teacher.pop("checkpoint", None)
    _drop_weight_files(model)


def _drop_weight_files(node: Any) -> None:
    """Image networks, of teachers and of a detector's cameras, whose config names a file."""
    if isinstance(node, dict):
        if isinstance(node.get("weights"), str | Path):
            node["weights"] = None
        node = list(node.values())
    if isinstance(node, list | tuple):
        for part in node:
            _drop_weight_files(part)


def teachers_of(model: Any) -> list[Any]:
    """The dictionaries of a model config that describe teachers."""
    one = model.get("teacher")
    several = one.values() if isinstance(one, dict) and "model" not in one else ()
    found = (one, *several, *(model.get("teachers") or {}).values())
    return [teacher for teacher in found if isinstance(teacher, dict)]


def leave_teachers_out(cfg: Any) -> None:
    """Test the student of a distilled detector by itself: no teacher is built, in place.

    Nothing changes for a config whose test is a probe of its own, or whose student is no config.
    """
    from mmengine.runner import TestLoop

    from lidistill.distill.distiller import Distiller

    kind, student = cfg.model.get("type"), cfg.model.get("student")
    distils = isinstance(kind, type) and issubclass(kind, Distiller)
    if distils and cfg.test_cfg.get("type") is TestLoop and isinstance(student, dict):
        cfg.model = student
