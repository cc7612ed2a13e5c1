# SPDX-License-Identifier: Apache-2.0
"""The schema checker: passes what fits, names file, record, key and value of what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lidistill.io import DataError, fields
from lidistill.io.records import (
    COUNT,
    NAME,
    NOTHING,
    NUMBER,
    SIZE,
    TEXT,
    WHOLE,
    Expected,
    either,
    matrix,
    numbers,
)


def even(value: Any) -> bool:
    """an even number"""
    return isinstance(value, int) and value % 2 == 0


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (int, [0, np.int64(3)], [True, 1.0, "1", None]),
        (float, [1, 2.5, np.float32(1), np.float64(1)], [True, "1", None]),
        (str, ["", "a"], [b"a", None]),
        (bool, [True], [1]),
        ((int, str), [1, "a"], [1.5, None]),
        (dict, [{}], [[]]),
        (NUMBER, [1, 1.5], [float("nan"), float("inf"), 10**400, True, "1", None]),
        (COUNT, [0, 5], [-1, 1.0, True, 2**63]),
        (SIZE, [1], [0, -1, None, "1"]),
        (WHOLE, [-3], [1.5, 10**400]),
        (NAME, ["a"], ["", None]),
        (TEXT, ["", "a"], [1]),
        (numbers(2), [[1, 2.5], (1, 2)], [[1], [1, None], "ab", None, [1, float("nan")]]),
        (matrix((2, 2), (1, 3)), [[[1, 2], [3, 4]], [[1, 2, 3]]], [[[1, 2]], [1, 2], None, "ab"]),
        (either(NUMBER, NOTHING), [1, None], ["a"]),
        (even, [2], [3]),
    ],
)
def test_rules(rule: Expected, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        record = {"a": value, "more": 1}
        assert fields(record, {"a": rule}, "t.json") is record
        fields(record, {"a?": rule}, "t.json")
    fields({}, {"a?": rule}, "t.json")
    for value in bad:
        with pytest.raises(DataError, match=r"(?s)'a': expected .*t\.json.*record 3.*run z"):
            fields({"a": value}, {"a": rule}, "t.json", "record 3", "run z")
        with pytest.raises(DataError, match="'a': expected"):
            fields({"a": value}, {"a?": rule}, "t.json")


def test_what_lacks_is_named_with_what_is_there() -> None:
    with pytest.raises(DataError, match=r"(?s)with 'a' \(an even number\).* keys: b, c\..*t\.json"):
        fields({"b": 1, "c": 2}, {"a": even}, "t.json")


def test_no_record() -> None:
    for record in (None, [], "text", 7, 10**5000):
        with pytest.raises(DataError, match=r"(?s)Expected a record.*t\.json"):
            fields(record, {"a": int}, "t.json")
