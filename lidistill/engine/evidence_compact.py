# SPDX-License-Identifier: Apache-2.0
"""Compact detectors: teacher, student alone, PointDistiller, the zoo's best, equal compute."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lidistill.engine.compact_rows import DETECTORS, LAYOUT_METRIC, CompactRows
from lidistill.engine.evidence_zoo import best_objectives
from lidistill.evaluation.evidence_run import EvidencePlan

BEST = 3
ITERS = 800  # of students; teachers train as long as their configs say


def make_plan(work_dir: Path, detector: str) -> EvidencePlan:
    """Rows of the table.

    Args:
        work_dir: runs go into ``<work_dir>/compact_<detector>/runs``.
        detector: of :data:`lidistill.engine.compact_rows.DETECTORS`.
    """
    chosen = DETECTORS[detector]
    rows = CompactRows(chosen, work_dir / f"compact_{detector}" / "runs", iters=ITERS)
    return EvidencePlan(
        method=f"compact_{detector}",
        dataset=rows.dataset,
        metric=LAYOUT_METRIC[chosen.layout],
        rows=[
            rows.teacher(),
            rows.student(),
            *map(rows.student, chosen.controls),
            *rows.point_distiller(),
            *map(rows.zoo, best_objectives(detector, BEST)),
        ],
    )


PLANS = {name: partial(make_plan, detector=name) for name in DETECTORS}
