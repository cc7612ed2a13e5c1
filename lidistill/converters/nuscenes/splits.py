# SPDX-License-Identifier: Apache-2.0
"""Which scene belongs to which split: splits.json first, nuScenes' own names otherwise."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from lidistill.io import DataError, plain_name, read_json

LOGGER = logging.getLogger("lidistill.create_data")
SHORT_NAMES = ("train", "val", "test")
PREDEFINED = {
    "trainval": {"train": "train", "val": "val"},
    "mini": {"train": "mini_train", "val": "mini_val"},
    "test": {"test": "test"},
}


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        name: Name of the info file: train, val, test, or the full name of a split of another kind.
        devkit_name: The name by which nuscenes-devkit knows it (``mini_val``).
        scenes: Scene names that are in the tables.
    """

    name: str
    devkit_name: str
    scenes: tuple[str, ...]


def find_splits(root: Path, version: str, scenes: Sequence[str]) -> list[Split]:
    """Returns the splits that have at least one scene in the tables.

    ``<root>/<version>/splits.json`` (``{"my_train": ["scene-1", ...], ...}``, as nuscenes-devkit
    1.2 reads it) comes first; without it the version's suffix tells: trainval, mini or test.

    Args:
        root: The data root.
        version: The tables' folder in it.
        scenes: Names of the scenes in the tables.

    Raises:
        DataError: Neither way gives a scene, a split of splits.json names none, or one that trains
            and one that evaluates share a scene.
    """
    path = root / version / "splits.json"
    wanted = _from_file(path) if path.exists() else _predefined(root, version)
    known = set(scenes)
    found = [
        Split(name, devkit_name, tuple(scene for scene in members if scene in known))
        for name, (devkit_name, members) in wanted.items()
    ]
    for split in found:
        if not split.scenes and path.exists():
            LOGGER.warning(
                "%s: none of its scenes is in the tables; no info file", split.devkit_name
            )
    found = [split for split in found if split.scenes]
    if not found:
        raise DataError(
            f"None of the {len(known)} scenes in the tables ({_some(sorted(known))}) is in a split "
            f"of {version!r} ({', '.join(name for name, _ in wanted.values())}).",
            path=path,
            fix='write splits.json: {"my_train": ["scene-..."], "my_val": ["scene-..."]}',
        )
    return found


def _from_file(path: Path) -> dict[str, tuple[str, list[str]]]:
    content = read_json(path)
    if not isinstance(content, dict) or not all(
        isinstance(members, list) and all(isinstance(scene, str) for scene in members)
        for members in content.values()
    ):
        raise DataError(
            'Expected {"split name": ["scene name", ...], ...}.', path=path, fix="mend this file."
        )
    empty = [name for name, members in content.items() if not members]
    if empty:
        raise DataError(
            f"Expected at least one scene in each split, but {', '.join(empty)} has none.",
            path=path,
            fix="give it scenes, or leave the split out.",
        )
    content = {plain_name(name, "split"): _once(name, members) for name, members in content.items()}
    _refuse_overlap(content, path)
    short = [name.rsplit("_", 1)[-1] for name in content]
    result = {}
    for name, members in content.items():
        last = name.rsplit("_", 1)[-1]
        alone = last in SHORT_NAMES and short.count(last) == 1
        result[last if alone else name] = (name, members)
    return result


def _once(name: str, members: list[str]) -> list[str]:
    """The scenes of a split without those that are there twice."""
    single = list(dict.fromkeys(members))
    if len(single) < len(members):
        twice = [scene for scene in single if members.count(scene) > 1]
        LOGGER.warning("%s: named more than once, taken once: %s", name, _some(twice))
    return single


def _refuse_overlap(content: Mapping[str, list[str]], path: Path) -> None:
    """No scene in two of ``x_train``, ``x_val`` and ``x_test``.

    Others may share scenes: ``trainval``, a small ``mini_train`` of a ``train``, folds.
    """
    families: dict[str, list[str]] = defaultdict(list)
    for name in content:
        family, _, last = name.rpartition("_")
        if last in SHORT_NAMES:
            families[family].append(name)
    lone = [n for last in SHORT_NAMES for n in _only(content, last)]  # train, val and test files
    for names in [*families.values(), lone]:
        for one, other in combinations(names, 2):
            shared = [scene for scene in content[one] if scene in set(content[other])]
            if shared:
                raise DataError(
                    f"Expected no scene in two splits, but {len(shared)} are in {one} and in "
                    f"{other}: {_some(shared)}.",
                    path=path,
                    fix="take them out of one of the two, or the results say nothing.",
                )


def _only(content: Mapping[str, list[str]], last: str) -> list[str]:
    names = [name for name in content if name.rsplit("_", 1)[-1] == last]
    return names if len(names) == 1 else []


def _predefined(root: Path, version: str) -> dict[str, tuple[str, list[str]]]:
    for suffix, names in PREDEFINED.items():
        if version.endswith(suffix):
            from nuscenes.utils import splits

            return {short: (name, list(getattr(splits, name))) for short, name in names.items()}
    raise DataError(
        f"Version {version!r} ends in none of {', '.join(PREDEFINED)}, "
        "so its splits must be given.",
        path=root / version / "splits.json",
        fix='write this file: {"my_train": ["scene-..."], "my_val": ["scene-..."]}',
    )


def _some(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
