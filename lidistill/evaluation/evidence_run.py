# SPDX-License-Identifier: Apache-2.0
"""The driver behind ``lidistill evidence``: every row with every seed, resumable after a kill."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidistill import provenance
from lidistill.evaluation.evidence_record import Evidence, EvidenceRow, save_evidence
from lidistill.io import DataError, parallel, read_json, write_json

Outcome = float | Mapping[str, Any]
"""A value, or ``{"value": float, "n": int, "per_class": {name: float | None}, "protocol": str,
"cost": {name: float}}``.

Only ``value`` is required.
"""


@dataclass(frozen=True)
class Row:
    """One line to run.

    Attributes:
        name: of the line.
        run: from a seed to its outcome; must be deterministic in the seed, and rows of one seed
            must share initial weights and data order, or the differences are not paired.
        twin: name of the row without distillation, None for that row itself.
        config: file or settings in words; a cached outcome of other settings is not reused.
        note: for the reader of the table.
    """

    name: str
    run: Callable[[int], Outcome]
    twin: str | None = None
    config: str = ""
    note: str = ""


@dataclass(frozen=True)
class EvidencePlan:
    """A table to fill: what to run, on what, how often.

    Attributes:
        method: names the record and the cache folder.
        dataset: in words, see :class:`~lidistill.evaluation.evidence_record.Evidence`.
        metric: what the values are.
        rows: in the order of the table; within a seed they run in this order.
        seeds: at least three for a number that is to be shown.
        protocol: in words; an outcome's own ``protocol`` takes its place.
    """

    method: str
    dataset: str
    metric: str
    rows: Sequence[Row]
    seeds: Sequence[int] = (0, 1, 2)
    protocol: str = ""

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        slugs = [_slug(name) for name in names]
        if len(set(slugs)) < len(slugs):
            raise ValueError(f"row names must differ in letters and digits, got {names}")
        if not self.rows or not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"expected rows and distinct seeds, got {names} and {self.seeds}")
        unknown = {row.twin for row in self.rows} - {*names, None}
        if unknown:
            raise ValueError(f"twins {sorted(map(str, unknown))} are not among the rows {names}")


def run_plan(
    plan: EvidencePlan,
    work_dir: Path,
    out: Path,
    command: str,
    any_commit: bool = False,
    jobs: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Evidence:
    """Run what is not done yet, then write the record.

    Each outcome is stored as soon as it is known, in ``work_dir/<method>/<row>/seed_<seed>.json``.
    It is taken again if the commit, the data set, the metric and the row's config are the same.
    Seeds are the outer loop, so that a first full column shows early.

    Args:
        plan: what to run.
        work_dir: of the stored outcomes.
        out: the record; written only when every row has every seed.
        command: words that make the record again.
        any_commit: also take outcomes of other commits; the record then names all commits.
        jobs: processes; rows that share a stage wait for the one that trains it.
        say: told one line a step.

    Returns:
        The record as written.
    """
    commit = provenance.commit()
    work_dir = work_dir.resolve()  # worker processes may stand elsewhere
    todo: list[_Job] = []
    outcomes: dict[tuple[str, int], dict[str, Any]] = {}
    total = len(plan.seeds) * len(plan.rows)
    order = list(itertools.product(plan.seeds, plan.rows))
    if jobs > len(plan.seeds):  # else several would wait for the stage that a seed's rows share
        order.sort(key=lambda pair: plan.rows.index(pair[1]))
    for seed, row in order:
        job = _Job(plan, row, seed, work_dir, commit)
        outcome = _stored(job.path, job.key, None if any_commit else commit)
        if outcome is None:
            todo.append(job)
        else:
            outcomes[row.name, seed] = outcome
            say(f"[{len(outcomes)}/{total}] {_line(outcome)} (stored)")
    for outcome in parallel(_run_job, todo, jobs=jobs):
        outcomes[outcome["row"], outcome["seed"]] = outcome
        say(f"[{len(outcomes)}/{total}] {_line(outcome)} ({outcome['wall_s']:.0f} s)")
    evidence = _gather(plan, outcomes, command)
    save_evidence(evidence, out)
    return evidence


@dataclass(frozen=True)
class _Job:
    """One row with one seed."""

    plan: EvidencePlan
    row: Row
    seed: int
    work_dir: Path
    commit: str

    @property
    def path(self) -> Path:
        return self.work_dir / self.plan.method / _slug(self.row.name) / f"seed_{self.seed}.json"

    @property
    def key(self) -> dict[str, Any]:
        return {
            "dataset": self.plan.dataset,
            "metric": self.plan.metric,
            "row": self.row.name,
            "config": self.row.config,
            "seed": self.seed,
        }


def _run_job(job: _Job) -> dict[str, Any]:
    """Run and store; the outcome."""
    outcome = {**job.key, "commit": job.commit, **_timed(job.row, job.seed)}
    write_json(job.path, outcome)
    return outcome


def _line(outcome: Mapping[str, Any]) -> str:
    return f"{outcome['row']}, seed {outcome['seed']}: {outcome['value']:.4f}"


def _gather(
    plan: EvidencePlan, outcomes: Mapping[tuple[str, int], Mapping[str, Any]], command: str
) -> Evidence:
    rows = []
    for row in plan.rows:
        mine = [outcomes[row.name, seed] for seed in plan.seeds]
        classes = list(dict.fromkeys(name for outcome in mine for name in outcome["per_class"]))
        rows.append(
            EvidenceRow(
                name=row.name,
                twin=row.twin,
                metric=plan.metric,
                values=[outcome["value"] for outcome in mine],
                seeds=list(plan.seeds),
                n=mine[0]["n"],
                config=row.config,
                wall_s=round(sum(outcome["wall_s"] for outcome in mine), 1),
                per_class={c: [outcome["per_class"].get(c) for outcome in mine] for c in classes},
                note=row.note,
                cost=_mean_cost([outcome.get("cost", {}) for outcome in mine]),
            )
        )
    commits = dict.fromkeys(outcome["commit"] for outcome in outcomes.values())
    machines = dict.fromkeys(outcome["hardware"] for outcome in outcomes.values())
    protocols = [outcome["protocol"] for outcome in outcomes.values() if outcome["protocol"]]
    return Evidence(
        method=plan.method,
        dataset=plan.dataset,
        commit=", ".join(commits),
        hardware="; ".join(machines),
        command=command,
        rows=rows,
        protocol=plan.protocol or (protocols[0] if protocols else ""),
    )


def _timed(row: Row, seed: int) -> dict[str, Any]:
    """Run one row with one seed; the outcome in full form."""
    start = time.perf_counter()
    outcome = row.run(seed)
    wall_s = time.perf_counter() - start
    full: Mapping[str, Any] = outcome if isinstance(outcome, Mapping) else {"value": outcome}
    if "value" not in full:
        raise ValueError(f"row {row.name!r} returned {sorted(full)}; expected a 'value' among them")
    return {
        "value": float(full["value"]),
        "n": int(full.get("n", 0)),
        "per_class": {name: _known(v) for name, v in full.get("per_class", {}).items()},
        "protocol": str(full.get("protocol", "")),
        "cost": dict(full.get("cost", {})),
        "wall_s": wall_s,
        "hardware": provenance.hardware(),
    }


def _mean_cost(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over the seeds, for what every seed has."""
    names = [name for name in costs[0] if all(name in cost for cost in costs)]
    return {name: round(statistics.fmean(cost[name] for cost in costs), 3) for name in names}


def _known(value: float | None) -> float | None:
    """A class's value; None for NaN, a class that was not scored."""
    return None if value is None or math.isnan(value) else float(value)


def _stored(path: Path, key: Mapping[str, Any], commit: str | None) -> dict[str, Any] | None:
    """The outcome in ``path`` if it was made with these settings, else None."""
    try:
        outcome = read_json(path)
    except DataError:  # not there, or not whole
        return None
    wanted = dict(key) if commit is None else {**key, "commit": commit}
    fits = all(outcome.get(name) == value for name, value in wanted.items())
    return outcome if fits else None


def with_seeds(plan: EvidencePlan, seeds: Sequence[int] | None) -> EvidencePlan:
    """The same plan with other seeds; unchanged for None."""
    return plan if seeds is None else dataclasses.replace(plan, seeds=tuple(seeds))


def _slug(name: str) -> str:
    """A folder name: letters and digits of ``name``, joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
