# SPDX-License-Identifier: Apache-2.0
"""Commands started from a process that has imported everything (:mod:`.fork_server`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.robustness.tools import ROOT, environment


class Forks:
    """One command at a time.

    Args:
        folder: for what the commands say.
        prefix: words before the server's command, such as those that give it mounts of its own.
    """

    def __init__(self, folder: Path, prefix: tuple[str, ...] = ()) -> None:
        self.log = folder / "said"
        self.names = folder / "modules.json"
        self.server = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.robustness.fork_server"],
            env=environment(),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *error: object) -> None:
        self.server.stdin.close()
        self.server.wait(60)
        self.server.stdout.close()

    def start(self, words: list[str], **more: str) -> int:
        """Begin a command; returns its process id, which is also its group's."""
        request = {"words": words, "log": str(self.log), **more}
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def wait(self) -> int:
        """The exit code, or minus a signal's number."""
        return int(self.server.stdout.readline())

    def said(self) -> str:
        """Everything that the last command wrote to its streams."""
        return self.log.read_text()

    def run(self, words: list[str], code: int = 0, **more: str) -> str:
        """Run a command to its end; returns what it said."""
        self.start(words, **more)
        ended = self.wait()
        assert ended == code, f"{ended} instead of {code}: {self.said()[-3000:]}"
        return self.said()

    def learn(self, words: list[str]) -> None:
        """Run a command; later ones find imported what it imported."""
        self.run(words, learn=str(self.names))


def can_mount() -> bool:
    """Whether a process may have mounts of its own here, as root may outside of most containers."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(words, capture_output=True).returncode == 0
