# SPDX-License-Identifier: Apache-2.0
"""What PointDistiller's choices do to a detector: one at a time, on the world kept for choices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lidistill.engine.compact_rows import (
    DETECTORS,
    LAYOUT_METRIC,
    TUNING_SEED,
    TUNING_WORLD,
    CompactRows,
)
from lidistill.engine.evidence_zoo import ITERS
from lidistill.evaluation.evidence_run import EvidencePlan


def choice(
    weight: float = 1.0, reweight: bool = True, places: int = 1, teacher_side: str = "frozen"
) -> Callable[[Any], None]:
    """A change of a model's config; without arguments the paper's choices.

    Args:
        weight: of the term.
        reweight: weigh places by importance. The release does not on BEV maps: its softmax there
            is over one entry.
        places: times as many as the config has.
        teacher_side: the teacher's graph layer; the release trains it with the student's.
    """

    def change(model: Any) -> None:
        model.weights = dict.fromkeys(model.graphs, weight)
        model.reweight, model.teacher_side = reweight, teacher_side
        for graph in model.graphs.values():
            graph.queries *= places

    return change


VARIANTS = {
    "PointDistiller": choice(),
    "term times 4": choice(4.0),
    "term times 16": choice(16.0),
    "all places alike": choice(reweight=False),
    "all alike, term times 4": choice(4.0, reweight=False),
    "all alike, term times 16": choice(16.0, reweight=False),
    "all alike, places times 4": choice(reweight=False, places=4),
    "all alike, teacher's layer trained": choice(reweight=False, teacher_side="trained"),
}


def make_plan(work_dir: Path, detector: str) -> EvidencePlan:
    """Rows of the table: the student alone and under each variant, one seed.

    The graphs are those on BEV maps where a detector has a config for them.

    Args:
        work_dir: runs go into ``<work_dir>/graphs_<detector>/runs``.
        detector: of :data:`lidistill.engine.compact_rows.DETECTORS`.
    """
    name, chosen = f"graphs_{detector}", DETECTORS[detector]
    rows = CompactRows(chosen, work_dir / name / "runs", TUNING_WORLD, TUNING_SEED, ITERS)
    variants = [rows.graphs(words, change) for words, change in VARIANTS.items()]
    return EvidencePlan(
        method=name,
        dataset=rows.dataset,
        metric=LAYOUT_METRIC[chosen.layout],
        rows=[rows.teacher(), rows.student(), *variants],
        seeds=(0,),
    )


PLANS = {name: partial(make_plan, detector=name) for name in DETECTORS}
