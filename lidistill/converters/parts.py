# SPDX-License-Identifier: Apache-2.0
"""Parts of a long job on disk: a killed run continues, a changed job starts afresh."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from lidistill import __version__
from lidistill.io import (
    DataError,
    dump_pickle,
    load_pickle,
    manifest_path,
    read_json,
    write_json,
)

LOGGER = logging.getLogger("lidistill.create_data")


class PartStore:
    """Finished parts of one job in a hidden folder, removed when the job is complete.

    Each part is a pickle written atomically, so a part that exists is whole. The folder remembers
    what it was made for; parts of another job (other parameters, changed input) are thrown away.

    Args:
        folder: The hidden folder.
        fingerprint: Everything that the parts depend on, but for the version of lidistill; JSON
            values.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        self.folder = folder
        self.fingerprint = {"lidistill_version": __version__, **fingerprint}
        self._lock: int | None = None

    def __enter__(self) -> PartStore:
        """Opens the folder; a second process on the same folder is refused."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"Expected a folder that can be written, got: {error.strerror}.",
                path=self.folder.parent,
                fix="name another folder for the results with --out-dir DIR.",
            ) from error
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise DataError(
                "Another process is doing this job in the same folder.",
                path=self.folder,
                fix="wait until it ends, or give this one another --out-dir.",
            ) from error
        if self._known_fingerprint() != self.fingerprint:
            for entry in self.folder.iterdir():
                entry.unlink()
            write_json(self._key, self.fingerprint)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Lets go of the folder; its parts stay for the next run unless the job is finished."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def _key(self) -> Path:
        return self.folder / "job.json"

    def _known_fingerprint(self) -> Any:
        with contextlib.suppress(DataError):
            return read_json(self._key)
        return None

    def path(self, name: str) -> Path:
        """Returns where a part lies."""
        return self.folder / f"{name}.pkl"

    def missing(self, names: Iterable[str]) -> list[str]:
        """Returns the parts that are still to be made."""
        return [name for name in names if not self.path(name).exists()]

    def save(self, name: str, part: object) -> None:
        """Writes a part."""
        dump_pickle(self.path(name), part)

    def load(self, name: str) -> Any:
        """Reads a part."""
        fix = "delete this file, then run the same command again: it makes this part anew."
        return load_pickle(self.path(name), fix=fix)

    def finish(self) -> None:
        """Removes the folder: everything is in the product now."""
        shutil.rmtree(self.folder)


def remember(folder: Path, asked: Mapping[str, Any], written: Mapping[str, Path]) -> None:
    """Note beside a job's folder what was asked and what came out, for :func:`finished_before`.

    A file of its own, because it holds time stamps of the input: the product and its manifest are
    the same bytes wherever they are made.

    Args:
        folder: The hidden folder of the job.
        asked: Everything that the product depends on; JSON values.
        written: Name -> file of the product.
    """
    files = {name: [path.name, _hash(path)] for name, path in written.items()}
    note = {"lidistill_version": __version__, "asked": dict(asked), "files": files}
    write_json(_note_of(folder), note)


def finished_before(
    folder: Path, asked: Mapping[str, Any], restart: bool = False
) -> dict[str, Path] | None:
    """The files of a job that was finished for the same input and parameters, or None.

    Args:
        folder: See :func:`remember`.
        asked: See there.
        restart: Do it again: None, and parts of an interrupted run are thrown away.
    """
    if restart:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with contextlib.suppress(DataError, KeyError, TypeError, ValueError, OSError):
        note = read_json(_note_of(folder))
        # through JSON, as the note went: tuples come back as lists
        same = note["asked"] == json.loads(json.dumps(dict(asked)))
        files = {name: folder.parent / file for name, (file, _) in note["files"].items()}
        whole = all(
            manifest_path(files[name]).is_file() and _hash(files[name]) == known
            for name, (_, known) in note["files"].items()
        )
        if same and whole and note["lidistill_version"] == __version__:
            LOGGER.info("converted before, from the same data; --restart does it again")
            return files
    return None


def stamp(place: Path) -> str:
    """Of a folder's files, or of one file: another where any of them is another or written anew.

    A folder's own time tells of files that come and go, but not of those written in their place.
    """
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    states = [(path.name, path.stat()) for path in files if path.exists()]
    known = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _hash(path: Path) -> str:
    """Of the content: a file that was damaged since keeps its size."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _note_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.done.json")
