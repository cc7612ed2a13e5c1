# SPDX-License-Identifier: Apache-2.0
"""The image-to-LiDAR family in one table: the same student and teachers, four objectives."""

from __future__ import annotations

from pathlib import Path

from lidistill.engine.probe_rows import DATASET, METRIC, ProbeRows, controls
from lidistill.evaluation.evidence_run import EvidencePlan

METHODS = {  # name -> stage with the self-supervised teacher, stage with the labelled one
    "PPKT": ("ppkt", "ppkt_from_labels"),
    "SLidR": ("pretrain", "from_labels"),
    "ST-SLidR": ("stslidr", "stslidr_from_labels"),
    "ScaLR": ("scalr", "scalr_from_labels"),
}


def make_plan(work_dir: Path) -> EvidencePlan:
    """Rows of the table; checkpoints are shared with ``lidistill evidence slidr``.

    Args:
        work_dir: checkpoints go into ``<work_dir>/runs``.
    """
    rows = ProbeRows(work_dir / "runs")
    random, raw_inputs = controls()
    plan = [
        random,
        raw_inputs,
        rows.pretrained(
            "permuted regions", "permuted", note="negative control: SLidR, regions permuted"
        ),
    ]
    for name, (stage, _) in METHODS.items():
        plan.append(rows.pretrained(name, stage))
    for name, (_, stage) in METHODS.items():
        plan.append(
            rows.pretrained(
                f"{name}, labelled teacher",
                stage,
                teacher="labelled_teacher",
                note="upper reference: the same image network, trained with labels",
            )
        )
    return EvidencePlan("image_to_lidar", DATASET, METRIC, plan)
