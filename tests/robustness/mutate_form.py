# SPDX-License-Identifier: Apache-2.0
"""What an input format is to a trial: how its files are made, read and damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lidistill.io import load_pickle
from tests.robustness.mutate_kinds import Mutation

RAW = "numbers without check sum: a plausible one is as good as another"
ROWS = "a list without a count: another number of entries is another valid list"
WORDS = "a name is any text"
OPTIONAL = "what is lost may be left out"
FREE = {"": "the whole result follows from this file"}


@dataclass(frozen=True)
class Format:
    """One input format.

    Attributes:
        name: for the command line.
        make: writes the files of a root; formats with the same one share it.
        glob: which of its files are damaged.
        read: what lidistill does with them; anything that can be compared.
        mutations: name -> what happens to the file.
        nature: mutations after which the file may be another valid one, with the reason.
        free: places (regular expressions) in the result that may change in any way, and why; after
            "=" keys that may have other names, but not be more or fewer.
        limit: largest plausible number.
    """

    name: str
    make: Callable[[Path], None]
    glob: str | tuple[str, ...]
    read: Callable[[Path], Any]
    mutations: Mapping[str, Mutation]
    nature: Mapping[str, str] = field(default_factory=dict)
    free: Mapping[str, str] = field(default_factory=dict)
    limit: float = 1e9

    def files(self, root: Path) -> list[Path]:
        globs = [self.glob] if isinstance(self.glob, str) else self.glob
        return sorted(path for glob in globs for path in root.glob(glob))


def why(reason: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, reason)


def fresh(root: Path) -> Path:
    out = root.with_name(f"{root.name} out")
    shutil.rmtree(out, ignore_errors=True)
    return out


def contents_of(written: Mapping[str, Path]) -> dict[str, Any]:
    return {split: load_pickle(path) for split, path in written.items()}
