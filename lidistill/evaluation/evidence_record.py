# SPDX-License-Identifier: Apache-2.0
"""Evidence records, ``docs/evidence/<method>.json``: what a method was worth, value by value.

A record holds single values only, one a seed; means, spreads and paired differences are computed
by whoever reads it (:func:`summarise`). Records are written by
``lidistill evidence <method>``, never by hand.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lidistill.io import DataError, read_json, write_json

SCHEMA = {
    "method": str,
    "dataset": str,
    "commit": str,
    "hardware": str,
    "command": str,
    "rows": list,
}
ROW_SCHEMA = {
    "name": str,
    "metric": str,
    "values": list,
    "seeds": list,
    "n": int,
    "config": str,
    "wall_s": (int, float),
}


@dataclass
class EvidenceRow:
    """One line of an evidence table.

    Attributes:
        name: what was run.
        twin: name of the row without distillation that it is compared with, seed by seed; None
            for that row itself.
        metric: what the values are, with its unit or range.
        values: one a seed.
        seeds: in the order of ``values``.
        n: validation frames or ground-truth objects behind each value.
        config: file the run came from, or the settings in words.
        wall_s: seconds of all seeds together.
        per_class: class name -> values, one a seed; None where the class was not scored.
        note: what a reader must know, for instance that this is a negative control.
        cost: what was spent, or what the trained model costs: name with unit -> mean over seeds.
    """

    name: str
    twin: str | None
    metric: str
    values: list[float]
    seeds: list[int]
    n: int
    config: str
    wall_s: float
    per_class: dict[str, list[float | None]] = field(default_factory=dict)
    note: str = ""
    cost: dict[str, float] = field(default_factory=dict)


@dataclass
class Evidence:
    """A whole record.

    Attributes:
        method: for instance ``slidr``.
        dataset: in words, with seed and layout: ``embedded world small, seed 0, nuScenes layout``.
        commit: of the code that made the values.
        hardware: in words.
        command: that makes the record again.
        rows: of the table.
        protocol: the metric's protocol in words.
    """

    method: str
    dataset: str
    commit: str
    hardware: str
    command: str
    rows: list[EvidenceRow]
    protocol: str = ""


@dataclass(frozen=True)
class Summary:
    """What a reader computes of one row.

    Attributes:
        mean: of the values.
        spread: their sample standard deviation; NaN for a single seed.
        differences: value minus the twin's value of the same seed, for the seeds both have.
        difference: mean of these; NaN without a twin.
        difference_spread: their sample standard deviation; NaN for fewer than two.
    """

    mean: float
    spread: float
    differences: tuple[float, ...]
    difference: float
    difference_spread: float

    @property
    def beyond_spread(self) -> bool:
        """All paired differences have one sign, and their mean exceeds their spread."""
        signs = {math.copysign(1, value) for value in self.differences if value}
        one_sign = len(self.differences) > 1 and len(signs) == 1 and 0 not in self.differences
        return one_sign and abs(self.difference) > self.difference_spread


def summarise(row: EvidenceRow, rows: Sequence[EvidenceRow]) -> Summary:
    """Mean, spread, and differences to the twin paired by seed."""
    twin = next((other for other in rows if other.name == row.twin), None)
    differences: tuple[float, ...] = ()
    if twin is not None:
        theirs = dict(zip(twin.seeds, twin.values, strict=True))
        ours = zip(row.seeds, row.values, strict=True)
        differences = tuple(value - theirs[seed] for seed, value in ours if seed in theirs)
    return Summary(
        mean=_mean(row.values),
        spread=_spread(row.values),
        differences=differences,
        difference=_mean(differences),
        difference_spread=_spread(differences),
    )


def save_evidence(evidence: Evidence, path: Path) -> None:
    """Write a record, whole or not at all; empty optional fields are left out.

    Raises:
        DataError: the record is not one that :func:`load_evidence` would take.
    """
    record = {key: value for key, value in asdict(evidence).items() if value or key in SCHEMA}
    record["rows"] = [
        {key: value for key, value in row.items() if value or key in {*ROW_SCHEMA, "twin"}}
        for row in record["rows"]
    ]
    check_record(record, path)
    write_json(path, record)


def load_evidence(path: Path) -> Evidence:
    """Read and check a record.

    Raises:
        DataError: missing file or another schema.
    """
    record = read_json(path)
    check_record(record, path)
    rows = [EvidenceRow(**row) for row in record["rows"]]
    return Evidence(**{**record, "rows": rows})


def check_record(record: Any, path: Path) -> None:
    """Check a record against the schema.

    Raises:
        DataError: names the field, what was expected and what came.
    """
    _check_fields(record, SCHEMA, {"protocol"}, "the record", path)
    names = [row.get("name") for row in record["rows"] if isinstance(row, Mapping)]
    for position, row in enumerate(record["rows"]):
        where = f"row {position}"
        _check_fields(row, ROW_SCHEMA, {"twin", "per_class", "note", "cost"}, where, path)
        if row.get("twin") is not None and row["twin"] not in names:
            raise _wrong(f"{where} has the twin {row['twin']!r}; rows are {names}", path)
        if names.count(row["name"]) > 1:
            raise _wrong(f"two rows are named {row['name']!r}", path)
        _check_values(row, where, path)


def _check_values(row: Mapping[str, Any], where: str, path: Path) -> None:
    seeds, columns = row["seeds"], {"values": row["values"], **row.get("per_class", {})}
    for name, values in columns.items():
        if not seeds or len(values) != len(seeds):
            raise _wrong(f"{where}: {len(values)} {name} for {len(seeds)} seeds", path)
    if len(set(seeds)) != len(seeds):
        raise _wrong(f"{where}: a seed occurs twice in {seeds}", path)
    for name, values in columns.items():
        known = [v for v in values if v is not None or name == "values"]
        if not all(isinstance(v, int | float) and math.isfinite(v) for v in known):
            raise _wrong(f"{where}: {name} must be finite numbers, got {values}", path)


def _check_fields(
    record: Any, schema: Mapping[str, Any], optional: set[str], where: str, path: Path
) -> None:
    if not isinstance(record, Mapping):
        raise _wrong(f"{where} must be an object, got {type(record).__name__}", path)
    missing = set(schema) - set(record)
    unknown = set(record) - set(schema) - optional
    if missing or unknown:
        raise _wrong(f"{where}: missing {sorted(missing)}, unknown {sorted(unknown)}", path)
    for name, kind in schema.items():
        if not isinstance(record[name], kind):
            raise _wrong(f"{where}: {name} has type {type(record[name]).__name__}", path)


def _wrong(what: str, path: Path) -> DataError:
    return DataError(
        f"not an evidence record: {what}",
        path=path,
        fix="write it with `lidistill evidence <method>`; by hand it is worth nothing",
    )


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan
