# SPDX-License-Identifier: Apache-2.0
"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"another process {what} in {folder}; waiting for it\n")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
