# SPDX-License-Identifier: Apache-2.0
"""Evidence records, ``docs/evidence/<method>.json``: what a method was worth, value by value.

A record holds single values only, one a seed; means, spreads and paired differences are computed
by whoever reads it (:func:`~lidistill.evaluation.results.summarise`). Records are written by
``lidistill evidence <method>``, never by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lidistill.evaluation.results import ResultRow
from lidistill.io import DataError, read_json, write_json

RECORDS = Path("docs/evidence")
MORE_STEPS = "control: no teacher, more steps"
"""Note of a row beside a curve: the student alone for as long as a taught one takes in all."""
KINDS = ("evidence", "choice")
NUMBER = (int, float)
SCHEMA: dict[str, Any] = {
    "method": str,
    "dataset": str,
    "commit": str,
    "hardware": str,
    "command": str,
    "rows": list,
}
OPTIONAL: dict[str, Any] = {
    "protocol": str,
    "kind": str,
    "teacher": str,
    "refused": str,
    "caps": dict,
    "choices": list,
}
ROW_SCHEMA: dict[str, Any] = {
    "name": str,
    "metric": str,
    "values": list,
    "seeds": list,
    "n": int,
    "config": str,
    "wall_s": NUMBER,
}
ROW_OPTIONAL: dict[str, Any] = {
    "twin": (str, type(None)),
    "per_class": dict,
    "per_group": dict,
    "further": dict,
    "note": str,
    "cost": dict,
    "commit": str,
    "config_hash": str,
    "curve": str,
    "steps": NUMBER,
}


@dataclass
class EvidenceRow(ResultRow):
    """One line of an evidence table.

    Attributes:
        commit: of the code that made the values; several, with commas, where seeds differ.
        config_hash: of everything the values were trained with, but for the seed.
        curve: name of the curve that this row is a point of; empty for a row by itself.
        steps: of this point, as a factor of the table's; 0 for a row by itself.
        further: name -> what the same evaluation says besides (NDS, mATE in metres), one a seed.
    """

    commit: str = ""
    config_hash: str = ""
    curve: str = ""
    steps: float = 0.0
    further: dict[str, list[float | None]] = field(default_factory=dict)


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
        kind: ``evidence``, or ``choice`` for hyperparameters chosen on the world kept for that.
        teacher: name of the row that teaches the others, where one does.
        refused: why the rows that are taught were not run; empty where they were.
        caps: curve -> the largest factor of steps it was allowed.
        choices: records (by ``method``) that the settings of this one rest on.
    """

    method: str
    dataset: str
    commit: str
    hardware: str
    command: str
    rows: list[EvidenceRow]
    protocol: str = ""
    kind: str = "evidence"
    teacher: str = ""
    refused: str = ""
    caps: dict[str, float] = field(default_factory=dict)
    choices: list[str] = field(default_factory=list)


def save_evidence(evidence: Evidence, path: Path) -> None:
    """Write a record, whole or not at all; optional fields that say nothing are left out.

    Raises:
        DataError: the record is not one that :func:`load_evidence` would take.
    """
    record = {key: value for key, value in asdict(evidence).items() if value or key in SCHEMA}
    if record["kind"] == KINDS[0]:
        del record["kind"]
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
    rows = [EvidenceRow(**{"twin": None, **row}) for row in record["rows"]]
    return Evidence(**{**record, "rows": rows})


def check_record(record: Any, path: Path) -> None:
    """Check a record against the schema.

    Raises:
        DataError: names the field, what was expected and what came.
    """
    _check_fields(record, SCHEMA, OPTIONAL, "the record", path)
    if record.get("kind", KINDS[0]) not in KINDS:
        raise _wrong(f"its kind is {record['kind']!r}; kinds are {', '.join(KINDS)}", path)
    _check_numbers("caps", record.get("caps", {}).values(), "the record", path)
    for position, row in enumerate(record["rows"]):
        _check_fields(row, ROW_SCHEMA, ROW_OPTIONAL, f"row {position}", path)
    names = [row["name"] for row in record["rows"]]
    for position, row in enumerate(record["rows"]):
        where = f"row {position}"
        if row.get("twin") is not None and row["twin"] not in names:
            raise _wrong(f"{where} has the twin {row['twin']!r}; rows are {names}", path)
        if names.count(row["name"]) > 1:
            raise _wrong(f"two rows are named {row['name']!r}", path)
        _check_values(row, where, path)
    teacher = record.get("teacher", "")
    if teacher and teacher not in names:
        raise _wrong(f"its teacher is {teacher!r}; rows are {names}", path)


def _check_values(row: Mapping[str, Any], where: str, path: Path) -> None:
    seeds, columns = (
        row["seeds"],
        {
            "values": row["values"],
            **row.get("per_class", {}),
            **row.get("per_group", {}),
            **row.get("further", {}),
        },
    )
    if not all(type(seed) is int for seed in seeds):
        raise _wrong(f"{where}: seeds must be whole numbers, got {_short(seeds)}", path)
    if len(set(seeds)) != len(seeds):
        raise _wrong(f"{where}: a seed occurs twice in {_short(seeds)}", path)
    for name, values in columns.items():
        if not isinstance(values, list):
            raise _wrong(f"{where}: {name} must be a list, got {type(values).__name__}", path)
        if not seeds or len(values) != len(seeds):
            raise _wrong(f"{where}: {len(values)} {name} for {len(seeds)} seeds", path)
        known = [v for v in values if v is not None or name == "values"]
        _check_numbers(name, known, where, path)
    _check_numbers("cost", row.get("cost", {}).values(), where, path)
    _check_numbers(
        "wall_s, n and steps", [row["wall_s"], row["n"], row.get("steps", 0)], where, path
    )


def _check_numbers(name: str, values: Sequence[Any] | Any, where: str, path: Path) -> None:
    values = list(values)
    if not all(is_number(value) for value in values):
        raise _wrong(f"{where}: {name} must be finite numbers, got {_short(values)}", path)


def is_number(value: Any) -> bool:
    """Whether a value out of a JSON file is a number that arithmetic may be done with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def _check_fields(
    record: Any, schema: Mapping[str, Any], optional: Mapping[str, Any], where: str, path: Path
) -> None:
    if not isinstance(record, Mapping):
        raise _wrong(f"{where} must be an object, got {type(record).__name__}", path)
    missing = set(schema) - set(record)
    unknown = set(record) - set(schema) - set(optional)
    if missing or unknown:
        raise _wrong(f"{where}: missing {sorted(missing)}, unknown {sorted(unknown)}", path)
    for name, kind in {**schema, **optional}.items():
        if name in record and not isinstance(record[name], kind):
            raise _wrong(f"{where}: {name} has type {type(record[name]).__name__}", path)


def _short(values: Any) -> str:
    """A damaged value in an error, cut; an integer of thousands of digits has no text at all."""
    try:
        text = str(values)
    except ValueError:
        return "numbers too long to be written"
    return text if len(text) <= 100 else f"{text[:100]}..."


def _wrong(what: str, path: Path) -> DataError:
    return DataError(
        f"not an evidence record: {what}",
        path=path,
        fix="write it with `lidistill evidence <method>`; by hand it is worth nothing",
    )
