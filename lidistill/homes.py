# SPDX-License-Identifier: Apache-2.0
"""A user without a home, as in a container with an unknown user id: where libraries write then."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

HOMELESS = "LIDISTILL_HOMELESS"
"""Set in the environment where the home is a temporary folder: nothing in it is found again."""
CACHES = {"MPLCONFIGDIR": "matplotlib", "TRITON_CACHE_DIR": "triton"}
"""Caches below the home that end a program, or slow it down, where they cannot be written."""


def settle() -> None:
    """Gives this process and its workers a home where they have none, until it ends.

    mmengine and spconv do not import for a user whose home is not known. Where it is known but
    cannot be written, it stays, and only the caches that must be written go elsewhere.
    """
    home = os.path.expanduser("~")
    if os.path.isabs(home) and os.access(home, os.W_OK | os.X_OK):
        return
    wanted = dict(CACHES) if os.path.isabs(home) else {"HOME": "", **CACHES}
    missing = {name: sub for name, sub in wanted.items() if name not in os.environ}
    if not missing:
        return
    folder = Path(tempfile.mkdtemp(prefix="lidistill-"))
    atexit.register(_remove, folder, os.getpid())
    for name, sub in missing.items():
        os.environ[name] = str(folder / sub)
    if "HOME" in missing:
        os.environ[HOMELESS] = "1"


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not at the end of a forked one
        shutil.rmtree(folder, ignore_errors=True)
