# SPDX-License-Identifier: Apache-2.0
"""``lidistill dry_run``: build student and teachers, run one batch, say what there is to see."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lidistill.engine.configs.options import merge_options, parse_options
from lidistill.engine.configs.read import add_config_arguments, load_config, needs
from lidistill.engine.synthetic import made_up
from lidistill.io import DataError

HELP = "build a config's models, run one batch, print taps, gradients, sizes and costs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``lidistill dry_run``."""
    add_config_arguments(parser)
    parser.add_argument("--stage", help="of a staged config (default: the last)")
    parser.add_argument(
        "--data-root", help="use the dataset here instead of the config's data_root"
    )
    parser.add_argument(
        "--synthetic",
        type=int,
        metavar="POINTS",
        help="a made-up batch of two samples with so many points each, where there are no data",
    )
    parser.add_argument(
        "--random-teachers", action="store_true", help="do not read the teachers' checkpoints"
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="PointDistiller: draw the places that count and their graphs into an image file",
    )
    parser.add_argument("--repeats", type=int, default=5, help="forward passes that are timed")


def run(args: argparse.Namespace) -> int:
    """Entry of the verb."""
    text = dry_run(
        args.config,
        args.cfg_options,
        stage=args.stage,
        data_root=args.data_root,
        synthetic=args.synthetic,
        random_teachers=args.random_teachers,
        repeats=args.repeats,
        picture=args.picture,
    )
    sys.stdout.write(text)
    return 0


def dry_run(
    config: str | Path,
    options: list[str] | None = None,
    *,
    stage: str | None = None,
    data_root: str | None = None,
    synthetic: int | None = None,
    random_teachers: bool = False,
    repeats: int = 5,
    picture: Path | None = None,
) -> str:
    """Build everything, run one training batch; trains nothing, writes nothing but the picture.

    Args:
        config: config file; of a staged one, one stage is built.
        options: ``KEY=VALUE`` replacements.
        stage: its name; None for the last.
        data_root: replaces the config's.
        synthetic: points of each sample of a made-up batch, in place of the data.
        random_teachers: leave the teachers' weights as built.
        repeats: timed passes.
        picture: file for :func:`lidistill.visualization.local_graphs.local_graph_picture`.

    Returns:
        The report.

    Raises:
        FileNotFoundError: no data, or no checkpoint of a teacher; the message names the way out.
        ValueError: no points or passes, a picture in no known form, or of a method that builds no
            graphs.
        AuditError: see :func:`lidistill.distill.audit.audit`.
    """
    from lidistill import compat
    from lidistill.distill.distiller import Distiller
    from lidistill.engine.configs.caches import note_inputs
    from lidistill.engine.configs.stages import choose_stage
    from lidistill.models.detectors.ranges import check_ranges
    from lidistill.registry import MODELS

    _check_asked(synthetic, repeats, picture)
    compat.apply()
    cfg = load_config(config, data_root=data_root)
    path, cfg = choose_stage(Path(config), cfg, stage, data_root)
    merge_options(cfg, parse_options(options or ()))
    needs(cfg, path, "model")
    check_ranges(cfg)
    note_inputs(cfg)
    notes = _teachers_as_built(cfg.model, random_teachers)
    torch.manual_seed(cfg.get("randomness", {}).get("seed") or 0)
    with _quiet():
        model: Any = MODELS.build(cfg.model)
        if hasattr(model, "init_weights"):
            model.init_weights()
        batch = _first_batch(cfg, model) if synthetic is None else made_up(cfg, model, synthetic)
    if isinstance(model, Distiller):
        batch = plain_batch(batch)
    for name, teacher in getattr(model, "teachers", {}).items():
        if teacher.untrained and not notes:
            notes.append(
                f"the teacher {name!r} has random weights; lidistill train asks for a file"
            )
    lines = [f"dry run of {path}: one batch of {_samples(batch)}", *notes]
    if isinstance(model, Distiller):
        lines += distillation_lines(model, batch)
    if picture is not None:
        of_nuscenes = "nuscenes" in str(cfg.get("test_evaluator")).lower()
        lines.append(draw(model, batch, picture, "y" if of_nuscenes else "x"))
    lines += list(cost_lines(model, batch, repeats))
    return "\n".join(lines) + "\n"


def _check_asked(synthetic: int | None, repeats: int, picture: Path | None) -> None:
    """Before anything is built."""
    import cv2

    if synthetic is not None and synthetic < 1:
        raise ValueError(f"--synthetic: expected points of a sample >= 1, got {synthetic}")
    if repeats < 1:
        raise ValueError(f"--repeats: expected timed passes >= 1, got {repeats}")
    if picture is not None and not cv2.haveImageWriter(str(picture)):
        raise ValueError(f"cannot write an image to {picture}; name a .png or .jpg file")


def plain_batch(batch: Any) -> Any:
    """The batch as a Distiller is called with it; mmengine unpacks a loader's dictionary, too."""
    only_inputs = isinstance(batch, Mapping) and batch.get("data_samples") is None
    return batch["inputs"] if only_inputs and "inputs" in batch else batch


def distillation_lines(model: Any, batch: Any) -> list[str]:
    """Taps with shapes, strides and coverage; then the audit."""
    from lidistill.distill.audit import audit

    model.train()
    report = audit(model, model.data_preprocessor(batch, True))
    sides = {"student": (model.student, model.student_taps)}
    sides |= {name: (teacher.model, teacher.taps) for name, teacher in model.teachers.items()}
    lines = ["taps"]
    for side, (owner, taps) in sides.items():
        for name, tap in taps.taps.items():
            key = f"{side}.{name}"
            form = _form(report.shapes.get(key), report.cells.get(key), owner)
            item = "" if tap.index is None else f"[{tap.index}]"
            where = f"{tap.path or '(the whole model)'}{item}"
            lines.append(f"  {key}: {where}, {form}")
    return [*lines, str(report)]


def draw(model: Any, batch: Any, path: Path, forward: Literal["x", "y"]) -> str:
    """Write the picture of a PointDistiller's graphs, ``forward`` up; a line that says so."""
    import cv2

    from lidistill.methods import PointDistiller
    from lidistill.visualization.local_graphs import local_graph_picture

    if not isinstance(model, PointDistiller):
        raise ValueError(
            f"--picture draws PointDistiller's graphs, and this is a {type(model).__name__}"
        )
    moved = model.data_preprocessor(batch, True)
    image = local_graph_picture(model, moved, forward=forward)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise ValueError(f"cannot write an image to {path}; name a .png or .jpg file")
    return f"picture: {path}"


def cost_lines(model: nn.Module, batch: Any, repeats: int) -> Iterator[str]:
    """Parameters, multiply-adds and the student's time, for one sample."""
    from lidistill.distill.calls import call_model
    from lidistill.distill.cost import counted, median_time, parameters
    from lidistill.distill.distiller import Distiller

    model.eval()
    student: Any = model.student if isinstance(model, Distiller) else model
    inputs = getattr(model, "student_inputs", None)
    one, samples = _one_sample(batch)
    yield "cost of one sample (GMAC: 1e9 multiply-adds of linear maps and convolutions, alone)"

    def predict() -> Any:
        with torch.no_grad():
            return call_model(student, one, inputs, "predict", training=False)

    with counted(student) as costs:
        predict()
    total = sum(costs.values()) / samples
    yield f"  student: {parameters(student) / 1e6:.3f} M parameters, {total / 1e9:.3f} GMAC"
    for name, connector in getattr(model, "connectors", nn.ModuleDict()).items():
        yield f"  connector {name}: {parameters(connector) / 1e6:.3f} M parameters, training only"
    for name, teacher in getattr(model, "teachers", {}).items():
        with counted(teacher.model) as costs:
            teacher.run(one)
        stopped = sum(costs.values()) / samples
        with counted(teacher.model) as costs, torch.no_grad():
            call_model(teacher.model, one, teacher.inputs, "predict", training=False)
        whole = sum(costs.values()) / samples
        yield (
            f"  teacher {name}: {parameters(teacher.model) / 1e6:.3f} M parameters, "
            f"{whole / 1e9:.3f} GMAC, of which {stopped / 1e9:.3f} up to its last tap"
        )
    seconds = median_time(predict, repeats) / samples
    yield (
        f"  student's latency: {1e3 * seconds:.1f} ms on the CPU, {torch.get_num_threads()} "
        f"threads, median of {repeats}, voxelization and boxes included"
    )


def _form(shape: tuple[int, ...] | None, cells: tuple[int, ...] | None, owner: nn.Module) -> str:
    if shape is None:
        return "boxes and scores"
    layer = getattr(getattr(owner, "data_preprocessor", None), "voxel_layer", None)
    voxels = getattr(layer, "grid_shape", None)
    width = shape[1] if len(shape) > 1 else 1
    found = f"shape {shape}, width {width}"
    if voxels is not None and cells:
        found += f", stride {float(voxels[0]) / cells[-1]:g}"
    return found


def _teachers_as_built(model: Any, random_teachers: bool) -> list[str]:
    """Take checkpoints out that are not wanted, or that a stage is yet to make."""
    from lidistill.distill.teacher import RANDOM
    from lidistill.engine.configs.stages import STAGE_PREFIX
    from lidistill.engine.test import teachers_of

    notes = []
    for teacher in teachers_of(model) if random_teachers else ():
        network = teacher.get("model")
        weights = network.get("weights") if isinstance(network, dict) else None
        if weights not in (None, RANDOM):
            network["weights"] = RANDOM
            notes.append(f"a teacher has random weights, not those of {weights}")
    for part in (model, *teachers_of(model)):
        checkpoint = part.get("checkpoint")
        if checkpoint == RANDOM:
            notes.append("a teacher has random weights, as the config asks for")
        elif checkpoint and (random_teachers or checkpoint.startswith(STAGE_PREFIX)):
            part.pop("checkpoint")
            name = "the model" if part is model else "a teacher"
            notes.append(f"{name} has random weights, not those of {checkpoint}")
        elif checkpoint and not Path(checkpoint).is_file():
            raise FileNotFoundError(
                f"no teacher's checkpoint at {checkpoint}; train the teacher first, or add "
                "--random-teachers"
            )
    return notes


@contextmanager
def _quiet() -> Iterator[None]:
    """Without mmengine's line for every parameter."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_batch(cfg: Any, model: nn.Module) -> Any:
    from mmengine.runner import Runner

    from lidistill.distill.detectors.heads import check_labels

    settings = dict(cfg.train_dataloader, num_workers=0, persistent_workers=False)
    try:
        loader = Runner.build_dataloader(settings, seed=0)
        check_labels(model, (getattr(loader.dataset, "metainfo", None) or {}).get("classes") or ())
        return next(iter(loader))
    except (FileNotFoundError, DataError) as error:
        if isinstance(error, DataError) and Path(error.path or "").exists():
            raise
        raise FileNotFoundError(
            f"{str(error).rstrip('.')}; or give the dataset with --data-root, or add "
            "--synthetic 20000 for a made-up batch"
        ) from error


def _one_sample(batch: Any) -> tuple[Any, int]:
    """The first sample of mmdet3d's batches, any other batch as it is; and how many that are."""
    if isinstance(batch, Mapping) and isinstance(batch.get("inputs"), Mapping):
        inputs = {name: value[:1] for name, value in batch["inputs"].items()}
        return {**batch, "inputs": inputs, "data_samples": batch["data_samples"][:1]}, 1
    inner = batch["inputs"] if isinstance(batch, Mapping) else batch
    return batch, int(getattr(inner, "batch_size", 1))


def _samples(batch: Any) -> str:
    samples = batch.get("data_samples") if isinstance(batch, Mapping) else None
    if samples is None:
        return f"{_one_sample(batch)[1]} samples"
    points = batch["inputs"].get("points", ())
    return f"{len(samples)} samples, {', '.join(str(len(cloud)) for cloud in points)} points"
