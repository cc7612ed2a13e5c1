# SPDX-License-Identifier: Apache-2.0
"""Checks of a report folder, which may come from others: its records and its pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from lidistill.io import DataError, fields, inside, read_image
from lidistill.io.records import COUNT, NAME, TEXT, WHOLE, Rule, Schema

TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
"""Suffix of a picture's file -> its kind in the page."""


def _number(value: object) -> bool:
    """A number that a chart can place; NaN is a gap in a curve, or a score of nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else not math.isinf(value)


def _every(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(test, value))


def _values(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(test, value.values()))


def _text(value: object) -> bool:
    return isinstance(value, str)


NUMBER = Rule("a number", _number)
NUMBERS = Rule("a list of numbers", _every(_number))
TEXTS = Rule("a list of texts", _every(_text))
_SCORES = _every(lambda score: score is None or _number(score))
_COLOUR = _every(lambda level: WHOLE.test(level) and 0 <= level <= 255)
OR_NONE = Rule("a list of numbers; null where there is none", _SCORES)
RECORD: Schema = {
    "title": TEXT,
    **dict.fromkeys(("lead?", "dataset?", "metric?", "method?", "protocol?", "beside?"), TEXT),
    **dict.fromkeys(("rows?", "pictures?"), list),
    **dict.fromkeys(("commands?", "notes?"), TEXTS),
    "facts?": Rule("texts by name", _values(_text)),
    "class_colours?": Rule(
        "class names with three levels from 0 to 255",
        _values(lambda colour: _COLOUR(colour) and len(colour) == 3),
    ),
}
ROW: Schema = {
    **dict.fromkeys(("name", "metric", "config"), TEXT),
    "twin": (str, type(None)),
    "values": OR_NONE,
    "seeds": Rule("a list of whole numbers", _every(WHOLE.test)),
    "n": COUNT,
    "wall_s": NUMBER,
    "per_class?": Rule("lists of numbers or null by class name", _values(_SCORES)),
    "per_group?": Rule("lists of numbers or null by group", _values(_SCORES)),
    "note?": TEXT,
    "cost?": Rule("numbers by name", _values(_number)),
}
PICTURE: Schema = {
    **dict.fromkeys(("file", "title"), NAME),
    "section": TEXT,
    "caption?": TEXT,
    "span?": Rule("1, 2 or 3 columns of three", lambda span: span in (1, 2, 3)),
}
CURVE: Schema = {"chart": TEXT, "name": TEXT, "x": NUMBERS, "y": OR_NONE, "x_label?": TEXT}


def checked(record: Any, schema: Schema, path: Path, what: str, fix: str) -> Mapping[str, Any]:
    """A record that has what the schema says, and nothing else.

    Raises:
        DataError: names the file, the record and the field.
    """
    found = fields(record, schema, path, what, fix)
    known = [name.removesuffix("?") for name in schema]
    unknown = sorted(set(map(str, found)) - set(known))
    if unknown:
        raise DataError(
            f"not a report: expected an object with the keys {sorted(known)}, got {unknown} too",
            path=path,
            token=what,
            fix=fix,
        )
    return found


def all_checked(
    records: Any, schema: Schema, path: Path, what: str, fix: str
) -> list[Mapping[str, Any]]:
    """A list of such records; see :func:`checked`."""
    if not isinstance(records, list):
        kind = type(records).__name__
        raise DataError(f"not a report: expected a list of {what}s, got {kind}", path=path, fix=fix)
    return [
        checked(record, schema, path, f"{what} {place}", fix)
        for place, record in enumerate(records)
    ]


def with_nan(record: Mapping[str, Any]) -> dict[str, Any]:
    """A row or a curve as it was written: JSON has null for a number that is none."""
    numbers = {
        key: [math.nan if value is None else value for value in record[key]]
        for key in ("values", "y")
        if key in record
    }
    return {**record, **numbers}


def picture_bytes(folder: Path, name: str, fix: str) -> tuple[str, bytes]:
    """A picture of a report as it goes into the page: its kind, and the file's bytes.

    Args:
        folder: where the report's pictures lie.
        name: of the file.
        fix: what to do.

    Raises:
        DataError: the file lies elsewhere, is missing, is no picture, or does not decode.
    """
    path = inside(folder, name, "picture")
    kind = TYPES.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(TYPES)
        raise DataError(f"picture of no known type; expected one of {known}", path=path, fix=fix)
    if not path.is_file():
        raise DataError("a picture is missing", path=path, fix=fix)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            "a picture is a link to a file outside of the report, which is not shown",
            path=path,
            fix="put the picture itself into the folder.",
        )
    read_image(path, fix=fix)  # empty, cut and other files are errors that name them
    data = path.read_bytes()
    with Image.open(BytesIO(data)) as image:
        if str(image.format).lower() != kind:
            raise DataError(
                f"expected a {kind} picture, as the name says, got {image.format}",
                path=path,
                fix=fix,
            )
    return kind, data
