# SPDX-License-Identifier: Apache-2.0
"""Which sequences are in which split of a data set in SemanticKITTI's layout."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lidistill.converters.semantic_kitti.labels import SEQUENCES
from lidistill.io import DataError, plain_name, read_json

LOGGER = logging.getLogger("lidistill.create_data")
UNLABELLED = "test"


@dataclass(frozen=True)
class KittiSequence:
    """One sequence on disk.

    Attributes:
        name: Its folder, e.g. ``08``.
        split: The split it belongs to.
        folder: ``<root>/sequences/<name>``.
        prefix: The folder counted from the data root.
        labelled: Whether each scan needs a label file.
    """

    name: str
    split: str
    folder: Path
    prefix: str
    labelled: bool


def find_sequences(root: Path, skip_missing: bool = False) -> dict[str, list[KittiSequence]]:
    """Returns the sequences of each split that is there.

    Raises:
        DataError: There is no sequence at all, some of train's or val's are missing, or
            ``splits.json`` names none, or one in two splits.
    """
    prefix = next((p for p in ("sequences", "dataset/sequences") if (root / p).is_dir()), None)
    if prefix is None:
        raise DataError(
            "Expected SemanticKITTI: a folder sequences/ (or dataset/sequences/) with 00/velodyne "
            "and 00/labels; there is none.",
            path=root,
            fix="pass the folder that holds sequences/ with --root.",
        )
    found: dict[str, list[KittiSequence]] = {}
    for split, names in read_splits(root).items():
        there = [name for name in names if (root / prefix / name / "velodyne").is_dir()]
        gone = [name for name in names if name not in there]
        if gone and there and not skip_missing:
            raise DataError(
                f"Split {split!r}: sequences {', '.join(gone)} have no velodyne folder.",
                path=root / prefix,
                fix="extract data_odometry_velodyne.zip there, name the sequences that you have in "
                f"{root / 'splits.json'}, or leave these out with --skip-incomplete.",
            )
        if gone:
            LOGGER.warning("%s: left out, not there: %s", split, ", ".join(gone))
        members = [
            KittiSequence(name, split, root / prefix / name, f"{prefix}/{name}", split != "test")
            for name in there
        ]
        if members:
            found[split] = members
    if not found:
        raise DataError(
            "None of the splits' sequences has a velodyne folder.",
            path=root / prefix,
            fix="put scans and labels there (sequences/NN/velodyne, NN/labels; of the benchmark: "
            "data_odometry_velodyne.zip, data_odometry_labels.zip), and name sequences of your own "
            'in splits.json: {"train": ["00"], "val": ["08"]}.',
        )
    return found


def read_splits(root: Path) -> dict[str, list[str]]:
    """Returns split -> sequences: the benchmark's, or those of ``<root>/splits.json``.

    Raises:
        DataError: The file is of another form, has an empty split, a name that is no folder's, or a
            sequence in two splits.
    """
    path = root / "splits.json"
    if not path.exists():
        return {split: list(names) for split, names in SEQUENCES.items()}
    content = read_json(path)
    if not isinstance(content, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names)
        for names in content.values()
    ):
        raise _mend('Expected {"train": ["00", ...], "val": ["08"]}.', path)
    empty = [split for split, names in content.items() if not names]
    if empty or not content:
        raise _mend(f"Expected a sequence or more in each split, got none in {empty}.", path)
    for name in (*content, *(name for names in content.values() for name in names)):
        try:
            plain_name(name, "split or sequence")
        except DataError as error:
            raise _mend(error.what, path) from error
    return _without_repetitions(content, path)


def _without_repetitions(content: dict[str, list[str]], path: Path) -> dict[str, list[str]]:
    split_of: dict[str, str] = {}
    for split, names in content.items():
        unique = list(dict.fromkeys(names))
        if len(unique) < len(names):
            LOGGER.warning("%s: %s names a sequence twice; it is taken once", path, split)
        for name in unique:
            if name in split_of:
                raise _mend(
                    f"Expected each sequence in one split, but {name!r} is in {split_of[name]!r} "
                    f"and {split!r}.",
                    path,
                )
            split_of[name] = split
        content[split] = unique
    return content


def _mend(what: str, path: Path) -> DataError:
    return DataError(what, path=path, fix='mend this file: {"train": ["00", "01"], "val": ["08"]}.')


def part_name(sequence: KittiSequence) -> str:
    """Name of a sequence's part while it is converted: a sequence is in one split."""
    return sequence.name


def names_of(members: Sequence[KittiSequence]) -> list[str]:
    """Names of sequences."""
    return [sequence.name for sequence in members]
