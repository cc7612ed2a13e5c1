# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning with few labels, and its evaluation: as loops of mmengine and as one function."""

from __future__ import annotations

import hashlib
import math
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.runner import TestLoop, ValLoop

from lidistill.datasets.labelled import Scenes
from lidistill.engine.configs.overrides import EVERYWHERE
from lidistill.engine.test import evaluate
from lidistill.engine.train import train
from lidistill.evaluation.lidarseg_metric import LidarSegMetric
from lidistill.io import read_json, write_json
from lidistill.registry import LOOPS

OUTCOME = "segmentation.json"
"""What the loops below write into the work directory."""


class _WritesOutcome:
    """Writes mIoU, IoU of each class, counts and the protocol in words beside the checkpoints."""

    runner: Any
    evaluator: Any

    def run(self) -> dict[str, float]:
        """Evaluate and write."""
        metrics: dict[str, float] = super().run()  # type: ignore[misc]
        for metric in self.evaluator.metrics:
            if isinstance(metric, LidarSegMetric) and is_main_process():
                write_json(
                    Path(self.runner.work_dir) / OUTCOME,
                    {"iteration": self.runner.iter, **metric.outcome},
                )
                self.runner.logger.info(
                    f"{metric.outcome['protocol']}: mIoU {metrics['segmentation/mIoU']:.4f}"
                )
        return metrics


@LOOPS.register_module()
class SegmentationValLoop(_WritesOutcome, ValLoop):
    """Validation during a fine-tuning."""


@LOOPS.register_module()
class SegmentationTestLoop(_WritesOutcome, TestLoop):
    """``lidistill test`` of a fine-tuned segmentor."""


@dataclass
class FinetuneResult:
    """What a fine-tuned segmentor reaches on the validation frames.

    Attributes:
        miou: mean intersection over union, 0..1.
        iou: (C,) per class; NaN where not scored.
        confusion: (C, C) int64, row = true class, column = predicted; the ignored row is empty.
        protocol: what was trained and scored, in words.
        val_frames: frames scored.
        val_points: points scored, without ignored ones.
        checkpoint: of the segmentor.
    """

    miou: float
    iou: np.ndarray
    confusion: np.ndarray
    protocol: str
    val_frames: int
    val_points: int
    checkpoint: Path

    def to_dict(self) -> dict[str, Any]:
        """As plain lists and numbers, NaN as None: ready for JSON."""
        plain = asdict(self)
        plain["iou"] = [None if math.isnan(value) else float(value) for value in self.iou]
        plain["confusion"] = self.confusion.tolist()
        plain["miou"] = None if math.isnan(self.miou) else self.miou
        plain["checkpoint"] = str(self.checkpoint)
        return plain


def finetune(
    config: str | Path,
    work_dir: str | Path,
    *,
    data_root: str | Path,
    checkpoint: str | Path | None,
    scenes: Scenes | None = None,
    seed: int = 0,
    options: dict[str, Any] | None = None,
) -> FinetuneResult:
    """Fine-tune a segmentor from a pretraining checkpoint or from random weights, and score it.

    Resumes what was interrupted in ``work_dir`` and takes over what is finished there. With one
    seed the head's first weights and the order of the data are the same with and without a
    checkpoint.

    Args:
        config: of ``configs/slidr/downstream``: a ``Segmentor``, trained on ``LidarScans``.
        work_dir: a folder of its own.
        data_root: data set, in place of the config's.
        checkpoint: pretraining checkpoint; None for the twin that starts from random weights.
        scenes: labelled scenes, see :func:`lidistill.datasets.labelled.choose_scenes`; None for
            all.
        seed: of initial weights, data order and augmentation.
        options: further ``key -> value`` of the config, in training and in the test.

    Raises:
        ValueError: the checkpoint does not fit, or ``work_dir`` holds another run.
    """
    given = {
        **(options or {}),
        "model.checkpoint": None if checkpoint is None else str(checkpoint),
        "train_dataloader.dataset.scenes": str(scenes) if isinstance(scenes, Path) else scenes,
        "pretrained": None if checkpoint is None else _digest(Path(checkpoint)),
    }
    final = train(config, work_dir, data_root=str(data_root), seed=seed, options=given, quiet=True)
    with (Path(work_dir) / "console.log").open("a") as log, redirect_stdout(log):
        tested = {key: value for key, value in given.items() if key not in EVERYWHERE}
        evaluate(config, str(final), str(work_dir), str(data_root), seed, options=tested)
    start = (
        "random weights" if checkpoint is None else f"pretrained weights ({given['pretrained']})"
    )
    labels = "all scenes" if scenes is None else f"labelled scenes: {scenes}"
    iterations = read_json(Path(work_dir) / "run.json")["iterations"]
    words = f"fine-tuned from {start}, {labels}, {iterations} iterations, seed {seed}"
    return _result(read_json(Path(work_dir) / OUTCOME), words, final)


def _result(outcome: dict[str, Any], words: str, checkpoint: Path) -> FinetuneResult:
    """What the test loop wrote, as arrays."""
    return FinetuneResult(
        miou=_number(outcome["mIoU"]),
        iou=np.array([math.nan, *(_number(value) for value in outcome["iou"].values())]),
        confusion=np.array(outcome["confusion"], dtype=np.int64),
        protocol=f"{words}; scored on {outcome['protocol']}",
        val_frames=outcome["frames"],
        val_points=outcome["points"],
        checkpoint=checkpoint,
    )


def _digest(path: Path) -> str:
    """Short hash of a file: a run from other weights is another run."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; train it first or correct the path")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _number(value: float | None) -> float:
    return math.nan if value is None else value
