# SPDX-License-Identifier: Apache-2.0
"""Compact detectors: teacher, student alone, PointDistiller, the zoo's best, equal compute."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lidistill.engine.compact_rows import DETECTORS, LAYOUT_METRIC, CompactRows
from lidistill.engine.evidence_zoo import best_objectives
from lidistill.evaluation.evidence_run import EvidencePlan, Row

BEST = 3
ITERS = 800  # of students; teachers train as long as their configs say
LONGER = 2
"""Times as many iterations in the tables of longer students."""
LONGEST = 4800
"""Iterations of all, teachers too, in the tables of what a well-trained teacher gives."""


def make_plan(work_dir: Path, detector: str) -> EvidencePlan:
    """Rows of the table.

    Args:
        work_dir: runs go into ``<work_dir>/compact_<detector>/runs``.
        detector: of :data:`lidistill.engine.compact_rows.DETECTORS`.
    """
    name, chosen = f"compact_{detector}", DETECTORS[detector]
    rows = CompactRows(chosen, work_dir / name / "runs", iters=ITERS)
    controls = map(rows.student, chosen.controls)
    best = map(rows.zoo, best_objectives(detector, BEST))
    return _plan(name, rows, [*controls, *rows.point_distiller(), *best])


def make_longer_plan(work_dir: Path, detector: str) -> EvidencePlan:
    """Rows of the table of students that train :data:`LONGER`: does a teacher still help?

    Args:
        work_dir: runs go into ``<work_dir>/compact_<detector>_longer/runs``.
        detector: of :data:`lidistill.engine.compact_rows.DETECTORS`.
    """
    name, chosen = f"compact_{detector}_longer", DETECTORS[detector]
    rows = CompactRows(chosen, work_dir / name / "runs", iters=LONGER * ITERS)
    best = map(rows.zoo, best_objectives(detector, BEST - 1))
    return _plan(name, rows, [rows.student(chosen.controls[0]), *best])


def make_longest_plan(work_dir: Path, detector: str) -> EvidencePlan:
    """Rows of the table in which teachers, too, train :data:`LONGEST` iterations.

    Args:
        work_dir: runs go into ``<work_dir>/compact_<detector>_longest/runs``.
        detector: of :data:`lidistill.engine.compact_rows.DETECTORS`.
    """
    name, chosen = f"compact_{detector}_longest", DETECTORS[detector]
    runs = work_dir / name / "runs"
    rows = CompactRows(chosen, runs, iters=LONGEST, teacher_iters=LONGEST)
    best = map(rows.zoo, best_objectives(detector, BEST - 1))
    graphs = rows.point_distiller()[-1]  # on maps where there is a choice
    return _plan(name, rows, [rows.student(chosen.controls[0]), graphs, *best])


def _plan(name: str, rows: CompactRows, others: list[Row]) -> EvidencePlan:
    return EvidencePlan(
        method=name,
        dataset=rows.dataset,
        metric=LAYOUT_METRIC[rows.detector.layout],
        rows=[rows.teacher(), rows.student(), *others],
    )


PLANS = {name: partial(make_plan, detector=name) for name in DETECTORS} | {
    f"{name}_longer": partial(make_longer_plan, detector=name) for name in DETECTORS
}
PLANS |= {f"{name}_longest": partial(make_longest_plan, detector=name) for name in DETECTORS}
