# SPDX-License-Identifier: Apache-2.0
"""The error for files, and the plain read that raises it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

PathLike = str | os.PathLike[str]
# What to do about files of others: they come out of an archive, or out of a user's own tool.
FILE_AGAIN = "extract this file again from its archive; one of your own: write it again."
INFOS_AGAIN = (
    "make the info file again with lidistill create_data, or, if a script of your own wrote it, "
    "with that script."
)
MAX_NAMES = 100  # looked at, of a folder that may hold a hundred thousand frames
MAX_WORDS = 2000  # letters of a message: what a damaged file holds can be of any length
_FROM_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.")


class DataError(ValueError):
    """A file that is missing, damaged or not what was asked for.

    Args:
        what: What was expected and what came.
        path: The file.
        token: The sample's token or id.
        fix: What to do now, with the command to run.
    """

    def __init__(
        self,
        what: str,
        *,
        path: PathLike | None = None,
        token: str | None = None,
        fix: str | None = None,
    ) -> None:
        if len(what) > MAX_WORDS:
            what = f"{what[: MAX_WORDS // 2]} ... {what[-MAX_WORDS // 4 :]}"
        self.what, self.path, self.token, self.fix = what, path, token, fix
        parts = [what]
        if path is not None:
            parts.append(f"  file: {path}")
        if token is not None:
            parts.append(f"  sample: {token}")
        if fix is not None:
            parts.append(f"  what to do: {fix}")
        super().__init__("\n".join(parts))

    def read_from(self, path: PathLike) -> DataError:
        """Returns this error, of the file that its sample was read from if it names none."""
        if self.path is not None:
            return self
        return DataError(self.what, path=path, token=self.token, fix=self.fix)

    def __reduce__(self) -> tuple[Callable[..., DataError], tuple[Any, ...]]:
        """Keeps every field when a worker process hands the error to its parent."""
        return _rebuild_data_error, (self.what, self.path, self.token, self.fix)


def _rebuild_data_error(
    what: str, path: PathLike | None, token: str | None, fix: str | None
) -> DataError:
    return DataError(what, path=path, token=token, fix=fix)


def read_bytes(path: PathLike, token: str | None, fix: str | None) -> bytes:
    """Returns a file's bytes; one that is missing or cannot be read raises :class:`DataError`.

    The error's cause is an OSError where the file may be good: no permission, too many open files.
    """
    source = Path(path)
    if not source.is_file():
        raise missing_file(source, token, fix)
    try:
        return source.read_bytes()
    except OSError as error:
        raise DataError(
            f"The file cannot be read: {error.strerror}.",
            path=path,
            token=token,
            fix="see who may read it (ls -l) and whether its disk answers, then run this again.",
        ) from error


def missing_file(path: Path, token: str | None, fix: str | None) -> DataError:
    """Returns the error for a file that is not there."""
    if path.is_dir():
        return DataError("Expected a file, got a folder.", path=path, token=token, fix=fix)
    folder, near = path.parent, _near_name(path)
    there = "its folder is there" if folder.is_dir() else f"the folder {folder} is missing too"
    default = "check the data root (lidistill doctor lists those found), or make the file again."
    if near:
        there, default = f"{there}, and in it {near}", f"did you mean {folder / near}? If not: "
        default += fix or "make the file again."
        fix = None
    return DataError(f"File not found ({there}).", path=path, token=token, fix=fix or default)


def _near_name(path: Path) -> str | None:
    """A file beside the one that is missing whose name differs by a slip of the hand."""
    try:
        names = [entry.name for entry in islice(os.scandir(path.parent), MAX_NAMES)]
    except OSError:
        return None
    words = re.sub(r"\d", "", path.name)
    names = [name for name in names if re.sub(r"\d", "", name) != words]  # no other frame's
    return next(iter(difflib.get_close_matches(path.name, names, n=1, cutoff=0.9)), None)


def without_worker_trace(message: str) -> str:
    """The message of an error that came out of a data loader's worker process.

    torch hands such an error on with the whole traceback as its text; a user wants the last part.
    Any other message is returned as it is.
    """
    lines = message.splitlines()
    if not lines or not _FROM_WORKER.match(lines[0]):
        return message
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    for number in range(frames[-1] + 1 if frames else 1, len(lines)):
        if not lines[number].startswith(" "):  # name of the error: its message, as far as it goes
            first = lines[number].partition(": ")[2] or lines[number]
            return "\n".join([first, *lines[number + 1 :]])
    return message
