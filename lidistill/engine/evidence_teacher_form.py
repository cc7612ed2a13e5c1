# SPDX-License-Identifier: Apache-2.0
"""Do our defaults on the teacher's side cost quality? One image network in two forms."""

from __future__ import annotations

from pathlib import Path

from lidistill.engine.probe_rows import DATASET, METRIC, ProbeRows, controls
from lidistill.evaluation.evidence_run import EvidencePlan


def make_plan(work_dir: Path) -> EvidencePlan:
    """Rows of the table.

    Args:
        work_dir: checkpoints go into ``<work_dir>/teacher_form/runs``.
    """
    runs = work_dir / "teacher_form" / "runs"
    rows = ProbeRows(runs, Path("configs/slidr/teacher_form.py"))
    random, _ = controls()
    return EvidencePlan(
        method="teacher_form",
        dataset=DATASET,
        metric=METRIC,
        rows=[
            random,
            rows.pretrained(
                "authors' form",
                "authors_form",
                teacher="image_network",
                note="dilated to stride 4, upsampled to every pixel",
            ),
            rows.pretrained(
                "our default",
                "default_form",
                teacher="image_network",
                note="the same weights at stride 16, read between the cells",
            ),
            rows.pretrained(
                "our default, bfloat16",
                "bfloat16_form",
                teacher="image_network",
                note="teacher and student under bfloat16 autocast",
            ),
        ],
    )
