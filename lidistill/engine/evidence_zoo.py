# SPDX-License-Identifier: Apache-2.0
"""Which objectives of the zoo serve a detector best: short runs on the world kept for choices."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lidistill.engine.compact_rows import (
    DETECTORS,
    LAYOUT_METRIC,
    TUNING_SEED,
    TUNING_WORLD,
    CompactRows,
)
from lidistill.evaluation.evidence import load_evidence, summarise
from lidistill.evaluation.evidence_run import EvidencePlan
from lidistill.io import DataError

ITERS = 600
RECORDS = Path("docs/evidence")


def make_plan(work_dir: Path, detector: str) -> EvidencePlan:
    """Rows of the table: the student alone and under each objective, one seed.

    Args:
        work_dir: runs go into ``<work_dir>/zoo_<detector>/runs``.
        detector: of :data:`lidistill.engine.compact_rows.DETECTORS`.
    """
    chosen = DETECTORS[detector]
    runs = work_dir / f"zoo_{detector}" / "runs"
    rows = CompactRows(chosen, runs, TUNING_WORLD, TUNING_SEED, ITERS)
    return EvidencePlan(
        method=f"zoo_{detector}",
        dataset=rows.dataset,
        metric=LAYOUT_METRIC[chosen.layout],
        rows=[rows.teacher(), rows.student(), *map(rows.zoo, rows.objectives())],
        seeds=(0,),
    )


def best_objectives(detector: str, count: int) -> list[str]:
    """The objectives with the largest gain on record, best first.

    Raises:
        DataError: there is no record yet; the message names the command that makes it.
    """
    path = RECORDS / f"zoo_{detector}.json"
    if not path.is_file():
        raise DataError(
            "the objectives of the zoo have not been compared yet",
            path=path,
            fix=f"run `lidistill evidence zoo_{detector}` first",
        )
    rows = load_evidence(path).rows
    gains = {
        row.name.rpartition(" + ")[2]: summarise(row, rows).difference for row in rows if row.twin
    }
    return sorted(gains, key=lambda name: -gains[name])[:count]


PLANS = {name: partial(make_plan, detector=name) for name in DETECTORS}
