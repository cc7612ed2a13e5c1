# SPDX-License-Identifier: Apache-2.0
"""Detections as KITTI's benchmark takes them: one text file a frame, a label and a score a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lidistill.converters.kitti.files import (
    LABEL_FIELDS,
    Labels,
    labels_of,
    numbers,
    text_lines,
)
from lidistill.io import DataError, atomic_write

MEND_RESULT = (
    "write one detection a line: class (one word) truncated occluded alpha x1 y1 x2 y2 height "
    "width length x y z rotation_y score, split by blanks; -1 (and -1000 for x y z) for what is "
    "unknown"
)


def read_results(path: Path, token: str) -> Labels:
    """Reads one frame's detections, 16 fields a line, made by any program.

    Whatever is finite is taken: angles may be any number of turns, and a size or a rectangle that
    is not positive overlaps nothing.

    Raises:
        DataError: The file is missing, or a line has no score, or holds NaN or infinity; names the
            line and the field.
    """
    names: list[str] = []
    rows: list[list[float]] = []
    for number, line in text_lines(path, token):
        fields = line.split()
        if len(fields) != 16:
            lacking = LABEL_FIELDS[len(fields) - 1 :] if len(fields) < 16 else ()
            raise DataError(
                f"Line {number}: expected 16 fields, got {len(fields)}"
                + (f"; missing at its end: {' '.join(lacking)}" if lacking else "")
                + ".",
                path=path,
                token=token,
                fix=MEND_RESULT,
            )
        values = numbers(fields[1:], LABEL_FIELDS, path, token, number, MEND_RESULT)
        for field, value in zip(LABEL_FIELDS, values, strict=True):
            if not np.isfinite(value):
                raise DataError(
                    f"Line {number}, {field}: expected a finite number, got {value}.",
                    path=path,
                    token=token,
                    fix="look for NaN in the detector's output (its checkpoint, this frame's "
                    "input), and write the file again.",
                )
        names.append(fields[0])
        rows.append(values)
    return labels_of(names, np.array(rows).reshape(-1, 15))


def write_results(path: Path, found: Labels) -> None:
    """Writes one frame's detections, atomically; a frame without any becomes an empty file.

    Args:
        path: ``<folder>/data/<frame>.txt``; the folder must exist.
        found: with scores; rectangles clipped to the image.

    Raises:
        ValueError: a number is not finite.
    """
    table = found.table
    bad = ~np.isfinite(table).all(axis=1)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{path.name}: detection {first} ({found.names[first]}) holds NaN or infinity: "
            f"{table[first].tolist()}; look for NaN in the checkpoint and in this frame's input"
        )
    lines = [
        f"{name} {row[0]:.2f} {int(row[1])} " + " ".join(f"{v:.4f}" for v in row[2:14])
        + f" {row[14]:.6f}\n"
        for name, row in zip(found.names, table, strict=True)
    ]  # fmt: skip
    with atomic_write(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
