# SPDX-License-Identifier: Apache-2.0
"""The driver behind ``lidistill evidence``: every row with every seed, resumable after a kill."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lidistill import provenance
from lidistill.evidence.curves import bent, points_of, refusal
from lidistill.evidence.plan import Curve, EvidencePlan, Row, slug
from lidistill.evidence.record import RECORDS, Evidence, EvidenceRow, is_number, save_evidence
from lidistill.io import DataError, parallel, read_json, write_json

Say = Callable[[str], None]


def run_plan(
    plan: EvidencePlan,
    work_dir: Path,
    out: Path,
    command: str,
    any_commit: bool = False,
    jobs: int = 1,
    say: Say = lambda line: None,
) -> Evidence:
    """Run what is not done yet, then write the record.

    Each outcome is stored as soon as it is known, in ``work_dir/<method>/<row>/seed_<seed>.json``.
    It is taken again if the commit, the data set (its info files, too, where they are here), the
    metric and the row's config are the same.
    Seeds are the outer loop, so that a first full column shows early. A curve goes on to its next
    point once all seeds of the last are known.

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
    folder = work_dir.resolve()  # worker processes may stand elsewhere
    work = _Work(plan, folder, any_commit, jobs, say, commit)
    refused = ""
    for wave in _waves(plan):
        if plan.teacher is not None and any(row.twin is not None for row in wave):
            refused = refusal(work.row(plan.teacher), work.points(plan.baseline))
            if refused:
                say(f"refused: {refused}")
                break
        _run_wave(wave, work)
    evidence = work.gather(command, refused)
    save_evidence(evidence, out)
    return evidence


def place_for(out: Path, work_dir: Path, method: str) -> tuple[Path, str]:
    """Where a record may go, and a word if that is not where it was to go.

    A record in ``docs/evidence`` names a commit that has the code. From a checkout with changes
    that are not committed it goes beside the stored outcomes.
    """
    commit = provenance.commit()
    if not commit.endswith("-dirty") or out.resolve().parent.parts[-2:] != RECORDS.parts:
        return out, ""
    other = work_dir / method / "record.json"
    word = (
        f"the checkout {commit} has changes that are not committed, so the record is not written "
        f"to {out} but to {other}; commit them and run the same command again"
    )
    return other, word


def _waves(plan: EvidencePlan) -> list[list[Row | Curve]]:
    """Rows in the order they run: with curves or a teacher, those without a twin come first."""
    if not plan.curves:
        return [list(plan.rows)]
    alone = [row for row in plan.rows if row.twin is None]
    return [alone, [row for row in plan.rows if row.twin is not None]]


def _run_wave(wave: Sequence[Row | Curve], work: _Work) -> None:
    """Rows and first points together, then the next points of the curves that still rise."""
    curves = {row.name: row for row in wave if isinstance(row, Curve)}
    rows = [row.point(row.factors[0]) if isinstance(row, Curve) else row for row in wave]
    while rows:
        work.run(rows)
        rows = []
        for curve in curves.values():
            points = work.points(curve.name)
            rest = [factor for factor in curve.factors if factor > points[-1].steps]
            if rest and not bent(points):
                rows.append(curve.point(rest[0]))


@dataclass
class _Work:
    """What is known of a plan so far."""

    plan: EvidencePlan
    work_dir: Path
    any_commit: bool
    jobs: int
    say: Say
    commit: str
    rows: list[Row] = field(default_factory=list)
    outcomes: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)

    def run(self, rows: Sequence[Row]) -> None:
        """Run rows with all seeds; stored outcomes are taken."""
        plan, todo = self.plan, []
        self.rows += rows
        total = len(plan.seeds) * len(self.rows)
        order = list(itertools.product(plan.seeds, rows))
        if self.jobs > len(plan.seeds):  # else several would wait for the stage that rows share
            order.sort(key=lambda pair: rows.index(pair[1]))
        for seed, row in order:
            job = Job(plan, row, seed, self.work_dir, self.commit)
            outcome = stored(job.path, job.key, None if self.any_commit else self.commit)
            if outcome is None or job.of_other_data(outcome):
                todo.append(job)
            else:
                self.outcomes[row.name, seed] = outcome
                self.say(f"[{len(self.outcomes)}/{total}] {_line(outcome)} (stored)")
        for outcome in parallel(run_job, todo, jobs=self.jobs):
            self.outcomes[outcome["row"], outcome["seed"]] = outcome
            self.say(f"[{len(self.outcomes)}/{total}] {_line(outcome)} ({outcome['wall_s']:.0f} s)")

    def row(self, name: str) -> EvidenceRow:
        """A row that was run."""
        return self.gathered(next(row for row in self.rows if row.name == name))

    def points(self, curve: str) -> list[EvidenceRow]:
        """The points of a curve so far, by steps."""
        return points_of([self.gathered(row) for row in self.rows if row.curve], curve)

    def gathered(self, row: Row) -> EvidenceRow:
        """A row with the outcomes of all its seeds."""
        mine = [self.outcomes[row.name, seed] for seed in self.plan.seeds]
        return EvidenceRow(
            name=row.name,
            twin=self._twin(row),
            metric=self.plan.metric,
            values=[outcome["value"] for outcome in mine],
            seeds=list(self.plan.seeds),
            n=min(outcome["n"] for outcome in mine),
            config=row.config,
            wall_s=round(sum(outcome["wall_s"] for outcome in mine), 1),
            per_class=_columns(mine, "per_class"),
            per_group=_columns(mine, "per_group"),
            further=_columns(mine, "further"),
            note=row.note,
            cost=_mean_cost([outcome.get("cost", {}) for outcome in mine]),
            commit=_commits(mine),
            config_hash=row.config_hash,
            curve=row.curve,
            steps=row.steps,
        )

    def _twin(self, row: Row) -> str | None:
        """Of a curve the point with as many steps, or the last where it ended before."""
        points = [other for other in self.rows if row.twin and other.curve == row.twin]
        if not points:
            return row.twin
        same = [other for other in points if other.steps == (row.steps or 1)]
        return (same or sorted(points, key=lambda other: other.steps))[-1].name

    def gather(self, command: str, refused: str) -> Evidence:
        """The record."""
        plan, outcomes = self.plan, self.outcomes.values()
        names = [row.name for row in plan.rows]
        order = sorted(self.rows, key=lambda row: (names.index(row.curve or row.name), row.steps))
        machines = dict.fromkeys(outcome["hardware"] for outcome in outcomes)
        return Evidence(
            method=plan.method,
            dataset=plan.dataset,
            commit=_commits(outcomes),
            hardware="; ".join(machines),
            command=command,
            rows=[self.gathered(row) for row in order],
            protocol=plan.protocol or _protocol(list(outcomes)),
            kind=plan.kind,
            teacher=plan.teacher or "",
            refused=refused,
            caps={curve.name: curve.factors[-1] for curve in plan.curves},
            choices=list(plan.choices),
        )


@dataclass(frozen=True)
class Job:
    """One row with one seed."""

    plan: EvidencePlan
    row: Row
    seed: int
    work_dir: Path
    commit: str

    @property
    def path(self) -> Path:
        """Where its outcome is stored."""
        return self.work_dir / self.plan.method / slug(self.row.name) / f"seed_{self.seed}.json"

    @property
    def key(self) -> dict[str, Any]:
        """What an outcome must agree in to be taken again."""
        key = {
            "dataset": self.plan.dataset,
            "metric": self.plan.metric,
            "row": self.row.name,
            "config": self.row.config,
            "seed": self.seed,
        }
        return {**key, "config_hash": self.row.config_hash} if self.row.config_hash else key

    def of_other_data(self, outcome: Mapping[str, Any]) -> bool:
        """Whether the data here are others than those of an outcome that says which it is of."""
        before = outcome.get("data")
        return bool(before and self.row.data and self.row.data(self.seed) not in ("", before))


def run_job(job: Job) -> dict[str, Any]:
    """Run and store; the outcome."""
    outcome = {**job.key, "commit": job.commit, **_timed(job.row, job.seed)}
    write_json(job.path, outcome)
    return outcome


def stored(path: Path, key: Mapping[str, Any], commit: str | None) -> dict[str, Any] | None:
    """The outcome in ``path`` if it is whole and was made with these settings, else None."""
    try:
        outcome = read_json(path)
    except DataError:  # not there, or not whole
        return None
    wanted = dict(key) if commit is None else {**key, "commit": commit}
    if not isinstance(outcome, dict) or not _whole(outcome):
        return None
    fits = all(outcome.get(name) == value for name, value in wanted.items())
    return outcome if fits else None


def _whole(outcome: Mapping[str, Any]) -> bool:
    """Whether an outcome from disk has the form that :func:`run_job` wrote."""
    numbers = all(is_number(outcome.get(name)) for name in ("value", "n", "wall_s"))
    words = all(isinstance(outcome.get(name), str) for name in ("commit", "hardware", "protocol"))
    words = words and isinstance(outcome.get("trained_by", ""), str)
    classes, cost = outcome.get("per_class"), outcome.get("cost", {})
    parts = [classes, outcome.get("per_group", {}), outcome.get("further", {})]
    if not (numbers and words and all(isinstance(part, dict) for part in (*parts, cost))):
        return False
    known = [value for part in parts for value in part.values()]
    return all(is_number(v) or v is None for v in known) and all(map(is_number, cost.values()))


def _line(outcome: Mapping[str, Any]) -> str:
    return f"{outcome['row']}, seed {outcome['seed']}: {outcome['value']:.4f}"


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
        "per_group": {name: _known(v) for name, v in full.get("per_group", {}).items()},
        "further": {name: _known(v) for name, v in full.get("further", {}).items()},
        "protocol": str(full.get("protocol", "")),
        "cost": dict(full.get("cost", {})),
        "wall_s": float(full.get("wall_s", wall_s)),
        "hardware": provenance.hardware(),
        "trained_by": str(full.get("commit", "")),
        "data": str(full.get("data", "")),
    }


def _commits(outcomes: Iterable[Mapping[str, Any]]) -> str:
    """Of the code that trained them, and of that which scored them."""
    pairs = [(outcome.get("trained_by", ""), outcome["commit"]) for outcome in outcomes]
    return provenance.commits(*itertools.chain(*pairs))


def _columns(outcomes: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[float | None]]:
    """Name -> values, one an outcome; None where an outcome lacks it."""
    parts = [outcome.get(key, {}) for outcome in outcomes]
    return {
        name: [part.get(name) for part in parts] for name in dict.fromkeys(itertools.chain(*parts))
    }


def _protocol(outcomes: Sequence[Mapping[str, Any]]) -> str:
    """The first there is; where a row's seeds have their own data, it says whose numbers it has."""
    first = next((outcome for outcome in outcomes if outcome["protocol"]), None)
    if first is None:
        return ""
    words: str = first["protocol"]
    if all(one["protocol"] == words for one in outcomes if one["row"] == first["row"]):
        return words
    return f"of seed {first['seed']}, the others likewise with numbers of their own: {words}"


def _mean_cost(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over the seeds, for what every seed has."""
    names = [name for name in costs[0] if all(name in cost for cost in costs)]
    return {name: round(statistics.fmean(cost[name] for cost in costs), 3) for name in names}


def _known(value: float | None) -> float | None:
    """A class's value; None for NaN, a class that was not scored."""
    return None if value is None or math.isnan(value) else float(value)
