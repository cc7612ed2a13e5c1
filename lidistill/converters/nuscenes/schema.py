# SPDX-License-Identifier: Apache-2.0
"""The form of nuScenes' tables: each is checked once, when it is read.

Tables are often written by people's own tools. What can be left out has a default; everything else
is one error that names table, record, key and value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidistill.geometry.plausible import (
    MAX_CLOCK,
    MAX_MAP_METRES,
    quaternion_fault,
    shift_fault,
    size_fault,
)
from lidistill.io import DataError, read_json
from lidistill.io.records import (
    COUNT,
    NAME,
    NUMBER,
    TEXT,
    Expected,
    Rule,
    Schema,
    either,
    fields,
    matrix,
    numbers,
)

Record = dict[str, Any]

_THREE, _FOUR = numbers(3), numbers(4)
_NAMES = Rule(
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
)
_TIME = Rule("microseconds from 0", lambda value: NUMBER.test(value) and 0 <= value < MAX_CLOCK)
_MODALITY = Rule("camera, lidar or radar", lambda value: value in ("camera", "lidar", "radar"))
_INTRINSICS = either(
    matrix((3, 3)), Rule("[] for a sensor that is no camera", lambda value: value == [])
)

TABLES: dict[str, Schema] = {
    "attribute": {"token": NAME, "name": NAME},
    "calibrated_sensor": {
        "token": NAME,
        "sensor_token": NAME,
        "translation": _THREE,
        "rotation": _FOUR,
        "camera_intrinsic": _INTRINSICS,
    },
    "category": {"token": NAME, "name": NAME},
    "ego_pose": {"token": NAME, "translation": _THREE, "rotation": _FOUR},
    "instance": {"token": NAME, "category_token": NAME},
    "lidarseg": {"sample_data_token": NAME, "filename": NAME},
    "sample": {"token": NAME, "scene_token": NAME, "timestamp": _TIME},
    "sample_annotation": {
        "token": NAME,
        "sample_token": NAME,
        "instance_token": NAME,
        "translation": _THREE,
        "size": _THREE,
        "rotation": _FOUR,
        "attribute_tokens": _NAMES,
        "visibility_token": either(TEXT, COUNT),
        "num_lidar_pts": either(COUNT, Rule("null, to be counted", lambda value: value is None)),
        "num_radar_pts": COUNT,
        "prev": TEXT,
        "next": TEXT,
    },
    "sample_data": {
        "token": NAME,
        "sample_token": NAME,
        "ego_pose_token": NAME,
        "calibrated_sensor_token": NAME,
        "timestamp": _TIME,
        "filename": NAME,
        "is_key_frame": bool,
        "prev": TEXT,
        "width": COUNT,
        "height": COUNT,
    },
    "scene": {"token": NAME, "name": NAME},
    "sensor": {"token": NAME, "channel": NAME, "modality": _MODALITY},
    "visibility": {"token": NAME, "level": NAME},
}

# What stands for a key that is missing or null.
DEFAULTS: dict[str, Record] = {
    "calibrated_sensor": {"camera_intrinsic": []},
    "sample_annotation": {
        "attribute_tokens": [],
        "visibility_token": "",
        "num_lidar_pts": None,  # counted in the cloud
        "num_radar_pts": 0,
        "prev": "",
        "next": "",
    },
    "sample_data": {"prev": "", "width": 0, "height": 0},
}

Fault = Callable[[Any], str | None]
_Suspect = Callable[[NDArray[np.float64]], NDArray[np.bool_]]


def _far(limit: float) -> tuple[_Suspect, Fault]:
    return lambda rows: np.abs(rows).max(axis=1) > limit, lambda row: shift_fault(row, limit)


_TURN: tuple[_Suspect, Fault] = (
    lambda rows: np.abs(np.linalg.norm(rows, axis=1) - 1) > 1e-3,
    quaternion_fault,
)
# Rows that are worth a look, found for a whole table at once, and what may be wrong with one.
_PLAUSIBLE: dict[str, dict[str, tuple[_Suspect, Fault]]] = {
    "calibrated_sensor": {"translation": _far(1e3), "rotation": _TURN},
    "ego_pose": {"translation": _far(MAX_MAP_METRES), "rotation": _TURN},
    "sample_annotation": {
        "translation": _far(MAX_MAP_METRES),
        "rotation": _TURN,
        "size": (lambda rows: ~((rows > 0) & (rows < 100)).all(axis=1), size_fault),
    },
}


def remedy(folder: Path) -> str:
    """What to do about a broken table."""
    return (
        "mend this record in the tool that wrote it; tables of an archive: extract the tables "
        f"again, all of them, into {folder}."
    )


def read_table(folder: Path, name: str) -> list[Record]:
    """The checked records of a table, with their defaults filled in.

    Args:
        folder: Of the tables.
        name: A key of ``TABLES``.

    Raises:
        DataError: The table is missing or no list of records, a key is missing or of another kind,
            a token is there twice, or a number cannot be what it stands for.
    """
    path, fix = folder / f"{name}.json", remedy(folder)
    records = read_json(path, fix)
    if not isinstance(records, list):
        raise DataError(
            f"Expected a list of records, got {type(records).__name__}.", path=path, fix=fix
        )
    if set(map(type, records)) - {dict}:
        for number, record in enumerate(records):
            fields(record, {}, path, f"record {number}", fix)
    for key, default in DEFAULTS.get(name, {}).items():
        for record in records:
            if record.get(key) is None:
                record[key] = default
    for key, expected in TABLES[name].items():
        if not _all_fit([record.get(key) for record in records], expected):
            for number, record in enumerate(records):
                fields(record, {key: expected}, path, record_name(record, number), fix)
    _refuse_doubles(records, path, fix)
    _refuse_nonsense(name, records, path, fix)
    return records


def record_name(record: Record, number: int) -> str:
    """How an error calls a record: by its token, or its number where it has none."""
    token = record.get("token")
    return token if isinstance(token, str) and token else f"record {number}"


def _all_fit(values: list[Any], expected: Expected) -> bool:
    """Whether a whole column is right, told fast; False where its records need a closer look."""
    kinds = set(map(type, values))
    if expected in (NAME, TEXT):
        return kinds <= {str} and (expected is TEXT or "" not in values)
    if expected is bool:
        return kinds <= {bool}
    if expected in (COUNT, _TIME):
        return kinds <= {int} and all(0 <= value < MAX_CLOCK for value in values)
    if expected in (_THREE, _FOUR):
        length = 3 if expected is _THREE else 4
        return (
            kinds <= {list}
            and set(map(len, values)) <= {length}
            and set(map(type, chain.from_iterable(values))) <= {float}
            and bool(np.isfinite(np.array(values)).all())
        )
    return False


def _refuse_doubles(records: Sequence[Record], path: Path, fix: str) -> None:
    tokens = [token for record in records if isinstance(token := record.get("token"), str)]
    if len(set(tokens)) < len(tokens):
        known: set[str] = set()
        for token in tokens:
            if token in known:
                raise DataError(
                    "Expected each token once, but this one is there twice.",
                    path=path,
                    token=token,
                    fix=fix,
                )
            known.add(token)


def _refuse_nonsense(name: str, records: Sequence[Record], path: Path, fix: str) -> None:
    for key, (suspect, fault_of) in _PLAUSIBLE.get(name, {}).items() if records else ():
        rows = np.array([record[key] for record in records], dtype=np.float64)
        for index in np.flatnonzero(suspect(rows)).tolist():
            fault = fault_of(records[index][key])
            if fault:
                token = record_name(records[index], index)
                raise DataError(f"{key!r}: {fault}.", path=path, token=token, fix=fix)
