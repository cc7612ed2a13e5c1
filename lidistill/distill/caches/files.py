# SPDX-License-Identifier: Apache-2.0
"""Whether the images and scans of a store are still those that its teacher saw."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lidistill import io

LOOKED_AT = 16
"""Files that a store remembers of those it was filled from."""


def glances(paths: Iterable[str | Path], root: str | Path) -> dict[str, list[int]]:
    """Path below the data root -> size and check sum of its beginning.

    Args:
        paths: of images or scans.
        root: the data root: another one later is the same data set.
    """
    return {Path(os.path.relpath(path, root)).as_posix(): io.glance(Path(path)) for path in paths}


def check_files(folder: str | Path, root: str | Path) -> None:
    """Refuse a store whose files were written anew; those that are not there tell nothing.

    Args:
        folder: of the cache, or of a teacher's regions; one that is not there yet is fine.
        root: the data root.

    Raises:
        DataError: a file is another now than when the teacher saw it.
    """
    if not (Path(folder) / "manifest.json").is_file():
        return
    manifest = io.read_manifest(folder)
    known, tool = manifest.get("files"), manifest["tool"]
    for name, seen in (known if isinstance(known, dict) else {}).items():
        path = Path(root) / name
        if path.is_file() and io.glance(path) != seen:
            raise io.DataError(
                f"What the teacher said of another file of this name is in {folder}: it was "
                "written anew since, or this is another data set.",
                path=path,
                fix=f"delete this folder and run: {tool} CONFIG --out {folder}; or name another "
                "folder.",
            )
