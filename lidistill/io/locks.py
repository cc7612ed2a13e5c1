# SPDX-License-Identifier: Apache-2.0
"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

LOCK_FILE = ".lock"


@contextmanager
def exclusive(folder: str | Path, what: str) -> Iterator[None]:
    """Hold ``folder`` alone; wait, and say so once, while another process has it.

    The lock is the kernel's: it goes with the process, so a kill leaves nothing to clean up. It
    works between processes of one machine, and on network file systems that pass ``flock`` on.

    Args:
        folder: made if it is missing; a file :data:`LOCK_FILE` stays in it.
        what: for the message, e.g. ``"trains"``.
    """
    with _locked(Path(folder) / LOCK_FILE, f"another process {what} in {folder}; waiting for it\n"):
        yield


def _locked(path: Path, wait: str) -> TextIO:
    """The lock file, open and locked; one that its holder removed meanwhile is made again."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except FileNotFoundError:  # the folder was removed since
            continue
        except FileExistsError:  # or while mkdir looked whether what is there is a folder
            if _is_other(path.parent):
                raise
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(wait)
            fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()


def _is_other(path: Path) -> bool:
    """Whether something is there that is no folder."""
    try:
        return not stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False
