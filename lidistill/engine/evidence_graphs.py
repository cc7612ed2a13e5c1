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


def paper(model: Any) -> None:
    """Places weighed by importance, the term's weight 1."""
    model.reweight, model.weights = True, None


def times_4(model: Any) -> None:
    """The paper's, four times the term."""
    paper(model)
    _weigh(model, 4.0)


def times_16(model: Any) -> None:
    """The paper's, sixteen times the term."""
    paper(model)
    _weigh(model, 16.0)


def unweighted(model: Any) -> None:
    """All places count alike: the release's rule for BEV maps (its softmax is over one entry)."""
    paper(model)
    model.reweight = False


def heavier(model: Any) -> None:
    """Unweighted, four times the term."""
    unweighted(model)
    _weigh(model, 4.0)


def heaviest(model: Any) -> None:
    """Unweighted, sixteen times the term."""
    unweighted(model)
    _weigh(model, 16.0)


def more_places(model: Any) -> None:
    """Unweighted, four times as many places."""
    unweighted(model)
    for graph in model.graphs.values():
        graph.queries *= 4


def trained(model: Any) -> None:
    """Unweighted, the teacher's graph layer trained with the student's, as in the release."""
    unweighted(model)
    model.teacher_side = "trained"


def _weigh(model: Any, weight: float) -> None:
    model.weights = dict.fromkeys(model.graphs, weight)


VARIANTS: dict[str, Callable[[Any], None]] = {
    "PointDistiller": paper,
    "term times 4": times_4,
    "term times 16": times_16,
    "all places alike": unweighted,
    "all alike, term times 4": heavier,
    "all alike, term times 16": heaviest,
    "all alike, places times 4": more_places,
    "all alike, teacher's layer trained": trained,
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
