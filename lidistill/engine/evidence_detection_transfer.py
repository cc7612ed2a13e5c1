# SPDX-License-Identifier: Apache-2.0
"""CenterPoint on the embedded world, its pillars, backbone and neck pretrained by SLidR or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lidistill.engine.detection import detection_transfer
from lidistill.engine.probe_rows import DATASET, ProbeRows, world_root
from lidistill.engine.train import train
from lidistill.evaluation.evidence_run import EvidencePlan, Row
from lidistill.evaluation.nuscenes.metric import DetectionScores

PRETRAIN = Path("configs/slidr/centerpoint_world_pretrain.py")
CONFIG = Path("configs/slidr/downstream/centerpoint_world.py")
ITERS = 600
LONGER = 1.5
"""Times as many iterations in the control: they take the processor longer than both trainings."""


def make_plan(work_dir: Path) -> EvidencePlan:
    """Rows of the table; image teachers are those of ``lidistill evidence slidr``.

    Args:
        work_dir: pretraining and detectors in ``<work_dir>/detection_transfer/runs``.
    """
    folder = work_dir / "detection_transfer" / "runs"
    probes = ProbeRows(work_dir / "runs")

    def pretrained(seed: int) -> Path:
        teacher = probes.checkpoint("image_teacher", None, seed)
        return train(
            PRETRAIN,
            folder / f"seed_{seed}" / "pretrain",
            data_root=str(world_root()),
            seed=seed,
            options={"model.teacher.checkpoint": str(teacher)},
            quiet=True,
        )

    def row(name: str, start: Any = None, twin: str | None = None, times: float = 1.0) -> Row:
        iters = round(ITERS * times)
        run = _run(folder, name, start, iters)
        return Row(name, run, twin, f"{CONFIG}, {iters} iterations")

    return EvidencePlan(
        method="detection_transfer",
        dataset=DATASET,
        metric="mAP of nuScenes' detection benchmark",
        rows=[
            row("random start"),
            row("SLidR", pretrained, "random start"),
            row(f"random start, {LONGER:g} times as long", None, "random start", LONGER),
        ],
    )


def _run(
    folder: Path, name: str, start: Callable[[int], Path] | None, iters: int
) -> Callable[[int], dict[str, Any]]:
    def run(seed: int) -> dict[str, Any]:
        scores = detection_transfer(
            CONFIG,
            folder / f"seed_{seed}" / name.replace(", ", "_").replace(" ", "_"),
            data_root=world_root(),
            checkpoint=None if start is None else start(seed),
            seed=seed,
            iters=iters,
        )
        if not isinstance(scores, DetectionScores):
            raise TypeError(f"expected nuScenes' scores from {CONFIG}, got {type(scores).__name__}")
        return {
            "value": scores.map,
            "n": scores.boxes,
            "per_class": scores.ap,
            "protocol": scores.protocol,
        }

    return run
