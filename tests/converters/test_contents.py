# SPDX-License-Identifier: Apache-2.0
"""What is in the data: counts against a plain loop, merging in any order, warnings."""

from __future__ import annotations

import json
from collections import Counter
from io import StringIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lidistill.converters.contents import NEAR, Contents, contents_tables

TAUGHT = ("Car", "Van")
NAMES = ("Car", "car", "Van", "Forklift")
CLASS_OF = {"Car": "Car", "car": "Car", "Van": "Van", "Forklift": None}
COLUMNS = ("x", "y", "z", "reflectance")


def frame(rng: np.random.Generator) -> tuple[Any, ...]:
    count = int(rng.integers(0, 5))
    names = rng.choice(NAMES, count).tolist()
    sizes = rng.choice([0.0, 2.0], (count, 3), p=[0.1, 0.9])
    points = rng.normal(size=(int(rng.integers(0, 9)), 4)).astype(np.float32)
    return points, names, rng.integers(-1, 3, count), sizes, rng.uniform(0, 2 * NEAR, count)


def contents_of(points, names, counts, sizes, distances) -> Contents:
    found = Contents(TAUGHT)
    found.add_frame(len(points), points, COLUMNS)
    found.add_boxes(names, [CLASS_OF[name] for name in names], counts, sizes, distances)
    found.add_camera("CAM2", 10, len(names))
    return found


@given(st.integers(0, 2**31), st.integers(1, 6))
def test_against_a_plain_loop_in_any_order(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    frames = [frame(rng) for _ in range(count)]
    parts = [json.loads(json.dumps(contents_of(*each).to_dict())) for each in frames]
    found = Contents.merged(parts)
    assert Contents.merged(parts[::-1]).to_dict() == found.to_dict()
    assert Contents.from_dict(found.to_dict()) == found
    boxes, without, flat = Counter(), Counter(), Counter()
    empty_frames = with_boxes = 0
    for _, names, counts, sizes, distances in frames:
        for name, points, size in zip(names, counts, sizes, strict=True):
            boxes[name] += 1
            without[name] += points == 0
            flat[name] += min(size) <= 0
        known = [c for c, d in zip(counts, distances, strict=True) if c >= 0 and d <= NEAR]
        with_boxes += bool(known)
        empty_frames += sum(c == 0 for c in known) > len(known) / 2
    for name, entry in found.boxes.items():
        assert entry == {
            "class": CLASS_OF[name],
            "boxes": boxes[name],
            "without_points": without[name],
            "zero_size": flat[name],
        }
    assert set(found.boxes) == set(boxes)
    assert (found.frames_with_boxes, found.frames_of_empty_boxes) == (with_boxes, empty_frames)
    clouds = [points for points, *_ in frames if len(points)]
    assert (found.frames, found.clouds) == (count, len(clouds))
    sizes = [len(points) for points, *_ in frames]
    assert (found.points, found.per_frame) == (sum(sizes), (min(sizes), max(sizes)))
    for index, name in enumerate(COLUMNS if clouds else ()):
        values = np.concatenate(clouds)[:, index]
        assert found.columns[name] == (values.min(), values.max())


def test_warnings() -> None:
    found = Contents(TAUGHT)
    assert found.warnings() == []  # a test split has no boxes, and none is missed
    found.add_frame(100)
    found.add_camera("CAM2", 1000, 99)
    found.add_camera("CAM3", 1000, 100)
    found.add_camera("BACK", 0, 0)
    sizes = [[1, 1, 1], [1, 0, 1], [2] * 3]
    found.add_boxes(["Car"] * 3, ["Car"] * 3, [0, 0, 5], sizes, [5.0] * 3)
    said = found.warnings()
    assert len(said) == 4
    assert "CAM2: only 9.9%" in said[0]
    assert "in 1 of 1 frames" in said[1]
    assert "size of zero: Car 1" in said[2]
    assert said[3] == "no box of class Van"


def test_half_of_the_boxes_without_points_is_no_warning() -> None:
    found = Contents(("Car",))
    for counts in ([0, 1], [0, 0]):
        found.add_boxes(["Car"] * 2, ["Car"] * 2, counts, np.ones((2, 3)), [5.0] * 2)
    assert (found.frames_with_boxes, found.frames_of_empty_boxes) == (2, 1)
    assert found.warnings() == []
    found.add_boxes(["Car"], ["Car"], [-1], np.ones((1, 3)), [5.0])  # unknown: no frame of either
    found.add_boxes(["Car"], ["Car"], [0], np.ones((1, 3)), [NEAR + 1])  # far: nor this one
    assert (found.frames_with_boxes, found.frames_of_empty_boxes) == (2, 1)


@pytest.mark.parametrize("kind", ["boxes", "labels"])
def test_tables_name_what_is_not_taught(kind: str) -> None:
    found = Contents(TAUGHT)
    found.add_frame(1234, np.array([[1.0, 2, 3, 0.5, 7]], dtype=np.float32), COLUMNS)
    found.add_frame(5)
    if kind == "boxes":
        found.add_boxes(["Forklift", "Car"], [None, "Car"], [1, 2], np.ones((2, 3)), [5.0] * 2)
        assert found.untaught == {"Forklift": 1}
    else:
        found.add_point_labels("260", None, 31)
        found.add_point_labels("car", "Car", 4)
        assert found.warnings() == ["no point of class Van"]
    stream = StringIO()
    console = Console(file=stream, width=120)
    for table in contents_tables({"train": found}):
        console.print(table)
    text = stream.getvalue()
    assert "5..1,234" in text
    assert "value 5 7..7" in text
    assert "1 of 2 clouds read" in text
    assert ("Forklift" if kind == "boxes" else "260") in text
    assert text.count("not taught") == 1
