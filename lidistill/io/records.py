# SPDX-License-Identifier: Apache-2.0
"""Records of files checked against a small schema, once, when they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, cast

import numpy as np

from lidistill.io.errors import DataError, PathLike


@dataclass(frozen=True)
class Rule:
    """What a value must be.

    Attributes:
        words: For the error message: "expected <words>".
        test: Whether a value is so.
    """

    words: str
    test: Callable[[Any], bool]


def _number(value: object) -> bool:
    if type(value) is float:  # nearly all of an info file; asking for Real takes ten times as long
        return math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond a double
        return False


def _whole(value: object, least: int) -> bool:
    if isinstance(value, bool) or not isinstance(value, Integral):
        return False
    return least <= int(value) < 2**63


def whole(low: int, high: int) -> Rule:
    """A whole number within bounds."""
    return Rule(
        f"a whole number from {low} to {high}", lambda value: _whole(value, low) and value <= high
    )


NUMBER = Rule("a finite number", _number)
COUNT = Rule("a whole number from 0", lambda value: _whole(value, 0))
SIZE = Rule("a whole number from 1", lambda value: _whole(value, 1))
WHOLE = Rule("a whole number", lambda value: _whole(value, -(2**63)))
NAME = Rule("a text that is not empty", lambda value: isinstance(value, str) and value != "")
TEXT = Rule("a text", lambda value: isinstance(value, str))


def numbers(count: int) -> Rule:
    """So many finite numbers."""
    return Rule(f"{count} finite numbers", lambda value: _numbers(value, count))


def matrix(*shapes: tuple[int, int]) -> Rule:
    """Rows of finite numbers, of one of these shapes."""
    words, known = " or ".join(f"{rows} x {columns}" for rows, columns in shapes), set(shapes)

    def test(value: object) -> bool:
        if type(value) is list and set(map(type, value)) == {list}:  # as info files have them
            widths = set(map(len, value))
            if _floats([item for row in value for item in row]):
                return len(widths) == 1 and (len(value), *widths) in known
        if not _sequence(value):
            return False
        rows = cast(Sequence[Any], value)
        return any(
            len(rows) == shape[0] and all(_numbers(row, shape[1]) for row in rows)
            for shape in shapes
        )

    return Rule(f"a matrix of {words} finite numbers", test)


def either(*rules: Rule) -> Rule:
    """One of several."""
    words = " or ".join(rule.words for rule in rules)
    return Rule(words, lambda value: any(rule.test(value) for rule in rules))


NOTHING = Rule("null", lambda value: value is None)

Expected = Rule | type | tuple[type, ...] | Callable[[Any], bool]
Schema = Mapping[str, Expected]


def fields(
    record: object,
    schema: Schema,
    where: PathLike,
    token: str | None = None,
    fix: str | None = None,
    inner: str = "",
) -> dict[str, Any]:
    """Returns a record unchanged, after a check of its fields; others may be there besides.

    Args:
        record: What should be a dictionary.
        schema: Key -> rule, type(s) or predicate. ``"key?"`` may be missing. ``int`` and ``float``
            take numpy's too, and no truth values; ``float`` takes whole numbers.
        where: The file.
        token: The record, for the error message: its token, or "record 12".
        fix: What to do.
        inner: Put before each key in messages, e.g. ``"images.CAM_FRONT."``.

    Raises:
        DataError: Names file, record, key and value.
    """
    if not isinstance(record, dict):
        raise DataError(
            f"Expected a record (a dictionary){_of(inner)}, got {_short(record)}.",
            path=where,
            token=token,
            fix=fix,
        )
    for name, expected in schema.items():
        key = name.removesuffix("?")
        if key not in record:
            if key != name:
                continue
            known = ", ".join(str(k)[:40] for k in list(record)[:12]) or "none"
            raise DataError(
                f"Expected a record with {inner + key!r} ({_words(expected)}); it has the keys: "
                f"{known}.",
                path=where,
                token=token,
                fix=fix,
            )
        if not _fits(record[key], expected):
            raise DataError(
                f"{inner + key!r}: expected {_words(expected)}, got {_short(record[key])}.",
                path=where,
                token=token,
                fix=fix,
            )
    return record


def _fits(value: Any, expected: Expected) -> bool:
    if isinstance(expected, Rule):
        return expected.test(value)
    if isinstance(expected, tuple):
        return any(_fits(value, kind) for kind in expected)
    if not isinstance(expected, type):
        return bool(expected(value))
    if type(value) is expected:
        return True
    if isinstance(value, bool):
        return False
    if expected is int:
        return isinstance(value, Integral)
    if expected is float:
        return isinstance(value, Real)
    return isinstance(value, expected)


def _words(expected: Expected) -> str:
    if isinstance(expected, Rule):
        return expected.words
    if isinstance(expected, tuple):
        return " or ".join(_words(kind) for kind in expected)
    names = {int: "a whole number", float: "a number", str: "a text", dict: "a dictionary"}
    names |= {list: "a list", bool: "true or false", type(None): "null"}
    if isinstance(expected, type):
        return names.get(expected, expected.__name__)
    return (getattr(expected, "__doc__", None) or expected.__name__).strip().splitlines()[0]


def _of(inner: str) -> str:
    return f" in {inner.rstrip('.')!r}" if inner else ""


def _sequence(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _floats(values: list[Any]) -> bool:
    """Whether all are Python's finite floats; told fast, and False where a sum overflows."""
    return set(map(type, values)) == {float} and math.isfinite(sum(values))


def _numbers(value: object, count: int) -> bool:
    if not _sequence(value):
        return False
    row = cast(Sequence[Any], value)
    return len(row) == count and all(_number(item) for item in row)


def _short(value: object) -> str:
    try:
        words = repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        words = f"a {type(value).__name__} that is too long to print"
    return words if len(words) <= 120 else f"{words[:100]}..."
