# SPDX-License-Identifier: Apache-2.0
"""How the lines of a table are scored: detection, segmentation, linear probe."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lidistill.distill.weights import load_weights
from lidistill.engine.detection import Scores, evaluate_detector
from lidistill.engine.loops.finetuning import OUTCOME
from lidistill.engine.loops.probing import iou_by_class, probe_student
from lidistill.engine.test import drop_teacher_checkpoints, leave_teachers_out
from lidistill.engine.train import console_log
from lidistill.evaluation.kitti.ap import DIFFICULTIES, KittiScores
from lidistill.evaluation.label_maps import NUSCENES_LABELS, LabelSet
from lidistill.evaluation.nuscenes.breakdown import mean_over
from lidistill.evaluation.probes.knn import knn_probe
from lidistill.evaluation.probes.linear import linear_probe
from lidistill.evaluation.probes.regions import Purity, region_features
from lidistill.evaluation.probes.result import ProbeResult, ProbeSettings
from lidistill.evidence import slidr_runs
from lidistill.io import read_json

PROBED = Path("configs/slidr/demo_pretrain.py")
"""Whose student and frames every probe uses."""
SEGMENTATION = (
    "whole network and a linear head fine-tuned with cross-entropy and Lovasz on lidarseg labels "
    "of the training scenes named; mIoU over nuScenes' 16 classes on all validation points, as "
    "LidarSegEval counts it"
)

FINETUNED = (
    "whole network and a linear head fine-tuned with cross-entropy and Lovasz on labels of the "
    "training scenes named"
)


@dataclass(frozen=True)
class Trained:
    """A line that was trained, or a random start.

    Attributes:
        cfg: what was trained, every path filled in.
        checkpoint: None for a random start.
        folder: of this training.
        root: of the data.
        seed: of weights and data order.
    """

    cfg: Any
    checkpoint: Path | None
    folder: Path
    root: Path
    seed: int


Score = Callable[[Trained, Sequence[str]], dict[str, Any]]
"""From a trained line, and the classes whose mean counts (empty: the metric's own), to an outcome
without costs of training."""


def detection(trained: Trained, classes: Sequence[str]) -> dict[str, Any]:
    """Boxes of a detector, or of a Distiller's student, by its config's metric."""
    if trained.checkpoint is None:
        raise ValueError("a detector with random weights finds nothing; give it steps")
    found = detection_outcome(
        evaluate_detector(trained.cfg, trained.checkpoint, trained.folder), classes
    )
    with console_log(trained.folder):
        return {**found, "cost": cost_of(trained.cfg, trained.checkpoint)}


def segmentation(trained: Trained, _classes: Sequence[str]) -> dict[str, Any]:
    """Points of a fine-tuned segmentor, by its config's test loop."""
    from mmengine.runner import Runner

    if trained.checkpoint is None:
        raise ValueError("a segmentor with a random head says nothing; give it steps")
    cfg = copy.deepcopy(trained.cfg)
    cfg.work_dir, cfg.resume, cfg.load_from = str(trained.folder), False, None
    drop_teacher_checkpoints(cfg)
    with console_log(trained.folder):
        runner = Runner.from_cfg(cfg)
        load_weights(runner.model, trained.checkpoint)
        runner.test()
    found = read_json(trained.folder / OUTCOME)
    return {
        "value": math.nan if found["mIoU"] is None else found["mIoU"],
        "n": found["points"],
        "per_class": found["iou"],
        "protocol": SEGMENTATION if _of_nuscenes(cfg) else f"{FINETUNED}; {found['protocol']}",
    }


def _of_nuscenes(cfg: Any) -> bool:
    """Whether points are scored as nuScenes does."""
    return bool(cfg.test_evaluator.get("protocol", "nuscenes") == "nuscenes")


def probe(trained: Trained, _classes: Sequence[str]) -> dict[str, Any]:
    """Linear probe of a pretrained student, or of its random start."""
    return probe_outcome(
        slidr_runs.probe_checkpoint(PROBED, trained.root, trained.checkpoint, trained.seed)
    )


def own_probe(
    trained: Trained,
    _classes: Sequence[str],
    classifier: Callable[..., ProbeResult] = linear_probe,
) -> dict[str, Any]:
    """A probe by the test loop of the line's own config: its frames, its classes."""
    cfg = trained.cfg.test_cfg
    labels = LabelSet(tuple(cfg.classes))
    model = slidr_runs.student_of(trained.cfg, trained.checkpoint, trained.seed)
    result = probe_student(
        model,
        slidr_runs.batches_on(trained.cfg.test_cfg.train_dataloader, slidr_runs.device_of(model)),
        slidr_runs.batches_on(trained.cfg.test_dataloader, slidr_runs.device_of(model)),
        ProbeSettings(**cfg.settings, seed=trained.seed),
        classifier,
        labels,
    )
    return probe_outcome(result, labels)


def teacher_regions(trained: Trained, _classes: Sequence[str]) -> dict[str, Any]:
    """Linear probe of the line's image teacher on superpixels, by the points that fall into them.

    The line trains nothing; its config names the teacher and ``teacher_dataloaders``.
    """
    import torch

    from lidistill.registry import MODELS

    cfg, labels = trained.cfg, LabelSet(tuple(trained.cfg.test_cfg.classes))
    torch.manual_seed(trained.seed)
    teacher = MODELS.build(cfg.model.teacher.model).eval().requires_grad_(False)
    if cfg.model.teacher.get("checkpoint") is not None:
        load_weights(teacher, cfg.model.teacher.checkpoint)
    purity = Purity()
    parts = [
        region_features(
            slidr_runs.batches_on(cfg.teacher_dataloaders[split], "cpu"),
            teacher,
            len(labels.classes),
            purity if split == "val" else None,
        )
        for split in ("train", "val")
    ]
    settings = ProbeSettings(**cfg.test_cfg.settings, seed=trained.seed)
    outcome = probe_outcome(linear_probe(parts[0], parts[1], len(labels.classes), settings), labels)
    words = "of an image network, mean over each superpixel, the class of most of its points"
    return {
        **outcome,
        "protocol": f"{words}: {outcome['protocol']}",
        "cost": {"purity": purity.share},
    }


def raw_inputs(trained: Trained, _classes: Sequence[str]) -> dict[str, Any]:
    """An MLP on the inputs of each point in the place of a network: a control."""
    return probe_outcome(slidr_runs.probe_inputs(PROBED, trained.root, trained.seed))


SCORES: dict[str, Score] = {
    "detection": detection,
    "segmentation": segmentation,
    "probe": probe,
    "own probe": own_probe,
    "own neighbours": partial(own_probe, classifier=knn_probe),
    "teacher regions": teacher_regions,
    "raw inputs": raw_inputs,
}


def detection_outcome(scores: Scores, classes: Sequence[str] = ()) -> dict[str, Any]:
    """What the driver stores of a detector's scores."""
    per_group: dict[str, float] = {}
    further: dict[str, float] = {}
    if isinstance(scores, KittiScores):
        moderate = DIFFICULTIES.index("moderate")
        counted = classes or list(scores.objects)
        value = scores.mean("3d", "R40", "moderate")
        n = sum(scores.objects[name][moderate] for name in counted)
        per_class = {name: table["3d"]["R40"][moderate] for name, table in scores.ap.items()}
    else:
        value, per_class = scores.map, dict(scores.ap)
        n = sum(scores.objects[name] for name in classes) if classes else scores.boxes
        per_group = mean_over(scores.groups, classes or list(per_class))
        if not classes:  # the devkit's errors are means over all of its classes
            further = {"NDS": scores.nds, **scores.errors}
    protocol = scores.protocol
    if classes:
        per_class = {name: per_class[name] for name in classes}
        value = statistics.fmean(per_class.values())
        protocol = f"{protocol}; value: mean over {', '.join(classes)}"
    return {
        "value": value,
        "n": n,
        "per_class": per_class,
        "per_group": per_group,
        "further": further,
        "protocol": protocol,
    }


def probe_outcome(result: ProbeResult, labels: LabelSet = NUSCENES_LABELS) -> dict[str, Any]:
    """What the driver stores of a probe."""
    return {
        "value": result.miou,
        "n": result.val_points,
        "per_class": iou_by_class(result, labels),
        "protocol": result.protocol,
    }


def cost_of(cfg: Any, checkpoint: Path, frames: int = 5) -> dict[str, float]:
    """Parameters, multiply-adds and CPU time of the detector, or the Distiller's student, alone.

    Args:
        cfg: config of its training.
        checkpoint: of it: random weights find no boxes, or too many, and these take time.
        frames: validation frames; the multiply-adds are their mean, the time their median.

    Returns:
        ``parameters``; ``multiply_adds`` a frame; ``cpu_ms``, the processor's milliseconds a frame
        on one thread of the CPU, voxelization and boxes included.
    """
    import torch
    from mmengine.runner import Runner

    from lidistill.distill.calls import call_model
    from lidistill.distill.cost import counted, parameters
    from lidistill.registry import MODELS

    cfg = copy.deepcopy(cfg)
    leave_teachers_out(cfg)
    model = MODELS.build(cfg.model).eval()
    load_weights(getattr(model, "student", model), checkpoint)
    batches = Runner.build_dataloader(cfg.test_dataloader, seed=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    adds, times = [], []
    try:
        for _, batch in zip(range(frames + 1), batches, strict=False):
            begin = time.process_time()
            with counted(model) as layers, torch.no_grad():
                call_model(model, batch, None, "predict", training=False)
            times.append(time.process_time() - begin)
            adds.append(sum(layers.values()))
    finally:
        torch.set_num_threads(threads)
    return {
        "parameters": parameters(model),
        "multiply_adds": round(statistics.fmean(adds)),
        "cpu_ms": round(1e3 * statistics.median(times[1:]), 1),
    }
