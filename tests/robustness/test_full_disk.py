# SPDX-License-Identifier: Apache-2.0
"""A disk without room: one message that names the place, no half file, and the command goes on.

A small file system of its own is the disk, mounted where the tools alone see it.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.robustness.forks import Forks, can_mount
from tests.robustness.tools import LONG, ROOT, TOOLS, digest, leftovers, words_of

PAGE = 4096
QUICK = ("superpixels", "export")


class Disk:
    """A file system of a given size in a folder, seen by one server's commands.

    Args:
        server: with mounts of its own.
        folder: where to mount it.
    """

    def __init__(self, server: Forks, folder: Path) -> None:
        folder.mkdir()
        self.server, self.folder = server, folder
        self.mounted = False
        self.seen = Path(f"/proc/{server.server.pid}/root{folder}")  # from outside

    def mount(self, pages: int) -> None:
        self._do("mount", "-t", "tmpfs", "-o", f"size={pages * PAGE}", "none", str(self.folder))
        self.mounted = True

    def widen(self) -> None:
        self._do("mount", "-o", "remount,size=256m", str(self.folder))

    def unmount(self) -> None:
        if self.mounted:
            self._do("umount", str(self.folder))

    def _do(self, *words: str) -> None:
        enter = ("nsenter", f"--mount=/proc/{self.server.server.pid}/ns/mnt")
        subprocess.run([*enter, *words], check=True, capture_output=True)


@pytest.fixture
def disk(forks, tmp_path) -> Iterator[Disk]:
    if not can_mount():
        pytest.skip("no file system can be mounted here: that takes root and CAP_SYS_ADMIN")
    made = Disk(forks, tmp_path / "disk")
    yield made
    made.unmount()


def pages(folder: Path) -> int:
    """What a file system needs for a folder."""
    files = (path.stat() for path in folder.rglob("*") if path.is_file())
    sizes = {stat.st_ino: stat.st_size for stat in files}  # the world's raw drives are hard links
    return sum(math.ceil(size / PAGE) for size in sizes.values())


def refused(disk: Disk, words: list[str]) -> dict[str, str]:
    """Runs a command that does not find room; returns what is left of it."""
    said = disk.server.run(words, code=1)
    assert "Traceback" not in said, said
    assert "could not be written" in said, said
    assert str(disk.folder) in said, said
    assert leftovers(disk.seen) == []
    return digest(disk.seen)


def long() -> None:
    if not LONG:
        pytest.skip("takes long; LIDISTILL_LONG=1 runs it")


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_tool_names_the_place_and_goes_on(tool, share, data, disk, undisturbed):
    if tool not in QUICK or share > 0.5:
        long()
    whole = undisturbed(tool)[1]
    disk.mount(max(1, int(pages(whole) * share)))
    words = words_of(tool, data, disk.folder)
    expected = digest(whole)
    left = refused(disk, words)
    assert left != expected
    wrong = [name for name, value in left.items() if expected.get(name) != value]
    assert [name for name in wrong if not name.endswith("manifest.json")] == []
    for name in wrong:
        json.loads((disk.seen / name).read_text())  # of what is there, but whole
    disk.widen()
    disk.server.run(words)
    assert digest(disk.seen) == expected


@pytest.mark.slow
def test_a_training_names_its_checkpoint_and_goes_on(disk, forks, tmp_path):
    long()
    config = str(ROOT / "tests" / "engine" / "toy_slidr_config.py")
    forks.run(["train", config, "--work-dir", str(tmp_path / "whole")])
    first = pages(tmp_path / "whole") // 2
    disk.mount(first)
    words = ["train", config, "--work-dir", str(disk.folder)]
    refused(disk, words)
    for path in disk.seen.glob("*.pth"):
        torch.load(path, weights_only=False)
    disk.widen()
    disk.server.run(words)
    ours, theirs = (
        torch.load(folder / "iter_4.pth", weights_only=False)["state_dict"]
        for folder in (disk.seen, tmp_path / "whole")
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
