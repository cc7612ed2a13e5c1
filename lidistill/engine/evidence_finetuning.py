# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning with the labels of one scene and of all scenes, from each pretraining."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lidistill.engine.evidence_image_to_lidar import METHODS
from lidistill.engine.probe_rows import DATASET, RANDOM, ProbeRows, world_root
from lidistill.evaluation.evidence_run import EvidencePlan, Row

CONFIG = Path("configs/slidr/downstream/demo_finetune.py")
SCENES = {"1 scene": 1, "all scenes": None}
Start = Callable[[int], Path | None]
"""From a seed to a pretraining checkpoint, None for random weights."""


def make_plan(work_dir: Path) -> EvidencePlan:
    """Rows from the self-supervised image teacher, its controls, and SLidR from the labelled one.

    Args:
        work_dir: pretraining in ``<work_dir>/runs``, fine-tuning in ``<work_dir>/finetuning/runs``.
            Checkpoints are those of ``lidistill evidence image_to_lidar``.
    """
    stage = _stages(work_dir)
    starts: dict[str, Start] = {RANDOM: lambda _seed: None}
    starts["permuted regions"] = stage("permuted", "image_teacher")
    for name, (plain, _) in METHODS.items():
        starts[name] = stage(plain, "image_teacher")
    starts["SLidR, labelled teacher"] = stage(METHODS["SLidR"][1], "labelled_teacher")
    return _plan("finetuning", work_dir, starts)


def make_labelled_plan(work_dir: Path) -> EvidencePlan:
    """Rows from the labelled image teacher, the upper reference; ``work_dir`` as above."""
    stage = _stages(work_dir)
    starts: dict[str, Start] = {RANDOM: lambda _seed: None}
    for name, (_, labelled) in METHODS.items():
        starts[f"{name}, labelled teacher"] = stage(labelled, "labelled_teacher")
    return _plan("finetuning_labelled", work_dir, starts)


PLANS = {"": make_plan, "labelled": make_labelled_plan}


def _stages(work_dir: Path) -> Callable[[str, str], Start]:
    """From a stage and its teacher's stage to where fine-tuning starts."""
    probes = ProbeRows(work_dir / "runs")
    return lambda name, teacher: lambda seed: probes.checkpoint(name, teacher, seed)


def _plan(method: str, work_dir: Path, starts: dict[str, Start]) -> EvidencePlan:
    folder = work_dir / "finetuning" / "runs"
    rows = [
        _row(folder, name, start, labels) for labels in SCENES for name, start in starts.items()
    ]
    return EvidencePlan(method, DATASET, "mIoU after fine-tuning", rows)


def _row(folder: Path, name: str, start: Start, labels: str) -> Row:
    def run(seed: int) -> dict[str, Any]:
        from lidistill.engine.loops.finetuning import finetune
        from lidistill.evaluation.label_maps import NUSCENES_CLASSES

        result = finetune(
            CONFIG,
            folder / f"seed_{seed}" / f"{name}, {labels}".replace(", ", "_").replace(" ", "_"),
            data_root=world_root(),
            checkpoint=start(seed),
            scenes=SCENES[labels],
            seed=seed,
        )
        return {
            "value": result.miou,
            "n": result.val_points,
            "per_class": dict(zip(NUSCENES_CLASSES[1:], result.iou[1:].tolist(), strict=True)),
            "protocol": PROTOCOL,
        }

    twin = None if name == RANDOM else f"{RANDOM}, {labels}"
    return Row(f"{name}, {labels}", run, twin=twin, config=str(CONFIG))


PROTOCOL = (
    "whole network and a linear head fine-tuned with cross-entropy and Lovasz on lidarseg labels "
    "of the training scenes named; mIoU over nuScenes' 16 classes on all validation points, as "
    "LidarSegEval counts it"
)
