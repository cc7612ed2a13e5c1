# SPDX-License-Identifier: Apache-2.0
"""Files of boxes in nuScenes' forms (detection results, tracks), read with checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lidistill.geometry.plausible import (
    MAX_MAP_METRES,
    MAX_SPEED,
    quaternion_fault,
    shift_fault,
    size_fault,
)
from lidistill.io import DataError, fields, read_json
from lidistill.io.records import NAME, NUMBER, TEXT, WHOLE, Schema, either, numbers

Boxes = dict[str, list[dict[str, Any]]]

_PLACE: Schema = {"translation": numbers(3), "size": numbers(3), "rotation": numbers(4)}
FOUND: Schema = {**_PLACE, "detection_name": NAME, "detection_score": NUMBER}
"""What a detection needs to be linked with others."""
SCORED: Schema = {**FOUND, "velocity": numbers(2), "attribute_name": TEXT}
"""What the detection benchmark asks of an entry."""
TRACKED: Schema = {**_PLACE, "tracking_id": either(NAME, WHOLE), "tracking_name": NAME}
"""What a box of a track must say."""
_MEND = (
    "write one list of entries a keyframe, empty where nothing is: results -> sample token -> "
    "entries with {keys}; metres, sizes as width, length, height, rotation as w, x, y, z, all in "
    "the global frame."
)


def read_boxes(path: Path, schema: Schema) -> Boxes:
    """Reads ``{"meta": ..., "results": {sample token: [entry, ...]}}``.

    Args:
        path: The file.
        schema: Of an entry: :data:`FOUND`, :data:`SCORED` or :data:`TRACKED`.

    Returns:
        Sample token -> entries.

    Raises:
        DataError: It is no such file, or a value is missing or cannot be meant; names keyframe,
            entry and key.
    """
    fix = _MEND.format(keys=", ".join(schema))
    content = read_json(path, fix)
    results = content.get("results") if isinstance(content, Mapping) else None
    if not isinstance(results, Mapping):
        raise DataError("Expected an object with the key results.", path=path, fix=fix)
    for token, entries in results.items():
        if not isinstance(entries, list):
            raise DataError("Expected a list of entries.", path=path, token=token, fix=fix)
        for place, entry in enumerate(entries):
            fields(entry, schema, path, token, fix, f"entry {place}.")
            fault = box_fault(entry) or (speed_fault(entry) if schema is SCORED else None)
            if fault is None and schema is TRACKED:  # a bank is made of it
                fault = size_fault(entry["size"])
            if fault:
                raise DataError(f"Entry {place}, {fault}.", path=path, token=token, fix=fix)
            if entry.get("sample_token", token) != token:
                what = f"Entry {place} is of sample {entry['sample_token']!r}."
                raise DataError(what, path=path, token=token, fix=fix)
    return dict(results)


def box_fault(entry: Mapping[str, Any]) -> str | None:
    """What cannot be meant in an entry's box, ``key: why``; its values are finite numbers.

    A box may be as large as a bad detector makes it.
    """
    if not 0 < min(entry["size"]) <= max(entry["size"]) <= MAX_MAP_METRES:
        return f"size: expected sizes above 0 and no larger than the Earth, got {entry['size']}"
    fault = quaternion_fault(entry["rotation"])
    if fault:
        return f"rotation: {fault}"
    fault = shift_fault(entry["translation"], MAX_MAP_METRES)
    return None if fault is None else f"translation: {fault}"


def speed_fault(entry: Mapping[str, Any]) -> str | None:
    """Whether the two finite numbers of an entry's velocity can be metres a second."""
    if max(map(abs, entry["velocity"])) <= MAX_SPEED:
        return None
    return f"velocity: expected at most {MAX_SPEED:g} m/s, got {entry['velocity']}"
