# SPDX-License-Identifier: Apache-2.0
"""Folders of KITTI's text files, read as columns: labels, and results of anybody's program.

All files are parsed at once; where anything is unusual, each is read with every check, which finds
the line at fault or takes what is merely written in another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lidistill.converters.kitti.files import (
    DONT_CARE,
    UNKNOWN_ALPHA,
    UNKNOWN_BOX,
    Labels,
    labels_of,
    read_labels,
)
from lidistill.converters.kitti.results import read_results
from lidistill.evaluation.kitti.columns import Columns, columns_of, stack
from lidistill.geometry.plausible import MAX_BOX_METRES, MAX_METRES, MAX_PIXELS
from lidistill.io import DataError

MISSING = ("error", "empty", "skip")
_SHOWN = 5
_MANY_TURNS = 8 * np.pi  # radians that no detector's angle reaches by itself
_FEW_SCORES = 20
_SIZE, _PLACE, _TURN = slice(7, 10), slice(10, 13), 13  # columns of a line's numbers


@dataclass(frozen=True)
class Folders:
    """What is compared.

    Attributes:
        truth: labels of each frame.
        found: detections of the same frames.
        frames: their names.
        notes: what a reader must know: frames without a file, frames left out.
    """

    truth: Columns
    found: Columns
    frames: tuple[str, ...]
    notes: tuple[str, ...]


def read_folders(
    gt: Path, pred: Path, frames: Sequence[str] | None = None, missing: str = "error"
) -> Folders:
    """Reads labels and results of the same frames.

    Args:
        gt: ``label_2``, or a folder that holds it or ``training/label_2``.
        pred: ``<frame>.txt`` each, or a folder that holds them in ``data/``.
        frames: of the split; all that are labelled where None.
        missing: a frame without a result file is an ``error``, or ``empty``: nothing was detected,
            or ``skip``: it is left out.

    Raises:
        DataError: No such folder, results of frames that are not labelled or not in the split,
            frames without results, or a damaged file; names it.
    """
    if missing not in MISSING:
        raise ValueError(f"expected missing to be one of {MISSING}, got {missing!r}")
    gt = _folder(gt, ("training/label_2", "label_2"), "labels")
    pred = _folder(pred, ("data",), "results")
    labelled, results = _stems(gt), _stems(pred)
    wanted = sorted(labelled) if frames is None else list(dict.fromkeys(frames))
    _check_known(set(wanted) - labelled, gt, "of the split have no label file", "correct --split")
    _check_known(
        results - labelled,
        pred,
        f"have results but no labels in {gt}",
        "name the labels of these frames with --gt, or take the files out",
    )
    notes = []
    lacking = [name for name in wanted if name not in results]
    if lacking and missing == "error":
        raise DataError(
            f"Expected a result file for each of the {len(wanted)} frames; {len(lacking)} have "
            f"none: {_some(lacking)}.",
            path=pred,
            fix="name the split with --split FILE (one frame a line); or say what their absence "
            "means: --missing empty (nothing was detected) or --missing skip (leave them out).",
        )
    if lacking:
        words = {"empty": "count as frames without detections", "skip": "are left out"}
        notes.append(f"{len(lacking)} frames without a result file {words[missing]}")
    if missing == "skip":
        wanted = [name for name in wanted if name in results]
    beyond = len(results - set(wanted))
    if beyond:
        notes.append(f"results of {beyond} frames are not in the split and are left out")
    truth = _read(gt, wanted, False)
    found = _read(pred, [name if name in results else None for name in wanted], True)
    notes += _odd(truth, found)
    return Folders(truth, found, tuple(wanted), tuple(notes))


def _odd(truth: Columns, found: Columns) -> list[str]:
    """What can be meant, but mostly is a slip."""
    notes = []
    if truth.score.any():
        count = int(np.count_nonzero(truth.score))
        notes.append(f"{count} labels have a score: are these results of a detector, not labels?")
    turned = np.abs(found.boxes[found.has_box, 6])
    if (turned > _MANY_TURNS).any():
        notes.append(
            f"rotation_y goes to {turned.max():g} in the results: radians are expected, not degrees"
        )
    if len(found.score) > _FEW_SCORES and (found.score == found.score[0]).all():
        notes.append(
            f"all {len(found.score)} detections have the score {found.score[0]:g}: no order, so no "
            "curve of precision over recall"
        )
    return notes


def _folder(path: Path, inside: Sequence[str], what: str) -> Path:
    if not path.is_dir():
        option = "--gt" if what == "labels" else "--pred"
        raise DataError(
            f"Expected a folder of {what}, found none.",
            path=path,
            fix=f"name the folder of <frame>.txt files with {option}.",
        )
    for name in inside:
        if (path / name).is_dir() and not any(path.glob("*.txt")):
            return path / name
    return path


def _stems(folder: Path) -> set[str]:
    found = {path.stem for path in folder.glob("*.txt") if not path.name.startswith(".")}
    if not found:
        raise DataError(
            "Expected one <frame>.txt a frame, found none.",
            path=folder,
            fix="name the folder that holds them; a frame in which nothing is has an empty file.",
        )
    return found


def _check_known(unknown: set[str], path: Path, words: str, fix: str) -> None:
    if unknown:
        raise DataError(
            f"{len(unknown)} frames {words}: {_some(sorted(unknown))}.", path=path, fix=f"{fix}."
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _read(folder: Path, frames: Sequence[str | None], results: bool) -> Columns:
    """Columns of the frames in their order; None stands for one without detections."""
    columns = _read_at_once(folder, frames, results)
    if columns is not None:
        return columns
    return stack([_read_one(folder, name, results) for name in frames])


def _read_one(folder: Path, name: str | None, results: bool) -> Labels:
    if name is None:
        return labels_of((), np.zeros((0, 15)))
    path = folder / f"{name}.txt"
    return read_results(path, name) if results else read_labels(path, name, unknown_boxes=True)


def _read_at_once(folder: Path, frames: Sequence[str | None], results: bool) -> Columns | None:
    """The columns, or None where any file is unusual or any number cannot be meant."""
    width = 16 if results else 15
    words: list[bytes] = []
    counts = np.zeros(len(frames), dtype=np.int64)
    for number, name in enumerate(frames):
        if name is None:
            continue
        try:
            with open(folder / f"{name}.txt", "rb", buffering=0) as file:
                data = file.read()
        except OSError:
            return None
        found = data.split()
        counts[number] = data.count(b"\n") + (not data.endswith(b"\n") and bool(data.strip()))
        if len(found) != counts[number] * width:
            return None
        words += found
    try:
        names = [word.decode("ascii") for word in words[::width]]
        del words[::width]
        table = np.array(list(map(float, words))).reshape(-1, width - 1)
    except ValueError:
        return None
    kinds, kind = _coded([name.lower() for name in names])
    columns = columns_of(kinds, kind, counts, table)
    return columns if _plausible(table, columns, results) else None


def _coded(names: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    kinds = tuple(sorted(set(names)))
    codes = {name: code for code, name in enumerate(kinds)}
    return kinds, np.array([codes[name] for name in names], dtype=np.int64)


def _plausible(table: NDArray[np.float64], columns: Columns, results: bool) -> bool:
    """Whether all rows hold what the checks of single files let pass; never less strict."""
    if not np.isfinite(table).all() or not all(kind[:1].isalpha() for kind in columns.kinds):
        return False
    if results:
        return True
    if np.abs(table).max(initial=0.0) > MAX_PIXELS:
        return False
    rectangle = (table[:, 5] >= table[:, 3]) & (table[:, 6] >= table[:, 4])
    truncated, occluded, alpha = table[:, 0], table[:, 1], table[:, 2]
    seen = ((truncated >= 0) & (truncated <= 1)) | (truncated == -1)
    seen &= np.isin(occluded, (-1, 0, 1, 2, 3))
    seen &= (np.abs(alpha) <= 2 * np.pi) | (alpha == UNKNOWN_ALPHA)
    placed = ((table[:, _SIZE] >= 0) & (table[:, _SIZE] < MAX_BOX_METRES)).all(axis=1)
    placed &= (np.abs(table[:, _PLACE]) <= MAX_METRES).all(axis=1)
    placed &= np.abs(table[:, _TURN]) <= 2 * np.pi
    placed |= (table[:, 7:13] == UNKNOWN_BOX).all(axis=1)
    return bool((rectangle & ((seen & placed) | columns.of(DONT_CARE))).all())
