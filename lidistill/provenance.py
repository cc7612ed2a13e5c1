# SPDX-License-Identifier: Apache-2.0
"""Where a number comes from: the commit and the machine, in one line each."""

from __future__ import annotations

import os
import platform
import subprocess
from hashlib import sha256
from pathlib import Path

import psutil

from lidistill.parallel import available_cpus

CHECKOUT = Path(__file__).resolve().parents[1]
INSTALLED = not (CHECKOUT / "setup.py").is_file()
"""This is lidistill from a wheel: no tools/, no docs/, no history beside it."""
RECORDS = (
    "docs/evidence",
    "docs/benchmarks.json",
    "docs/benchmarks_gpu.json",
    "docs/benchmarks_mmcv.json",
    "docs/matrix.json",
)
"""What commands write about other code: a fresh record does not make the code another one."""


def commit(checkout: Path = CHECKOUT) -> str:
    """Commit of a checkout.

    Args:
        checkout: Its folder.

    Where the code was copied without its history, to a cluster for instance, the environment
    variable ``LIDISTILL_COMMIT`` says which one it is.

    Returns:
        The short hash; where tracked files other than :data:`RECORDS` differ from it, with a hash
        of what differs and ``-dirty``; ``"unknown"`` outside of a git checkout (an installed wheel)
        or without git.
    """
    if "LIDISTILL_COMMIT" in os.environ:
        return os.environ["LIDISTILL_COMMIT"]
    if checkout == CHECKOUT and INSTALLED:  # what surrounds it may be another project's history
        return "unknown"
    try:
        name = _git(checkout, "describe", "--always", "--abbrev=10", "--exclude=*")
        others = (f":(exclude){record}" for record in RECORDS)
        changed = _git(checkout, "diff", "HEAD", "--binary", "--no-ext-diff", "--", ".", *others)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{name}-{sha256(changed.encode()).hexdigest()[:6]}-dirty" if changed else name


def commits(*names: str) -> str:
    """Commits in one text, each once, in their order; each name may hold several already."""
    words = (word for name in names for word in name.split(", ") if word)
    return ", ".join(dict.fromkeys(words))


def _git(checkout: Path, *arguments: str) -> str:
    command = ["git", "-C", str(checkout), *arguments]
    done = subprocess.run(command, capture_output=True, check=True, timeout=20)
    return done.stdout.decode(errors="replace").strip()


def hardware() -> str:
    """The machine in words, for example ``"AMD EPYC, 2 cores, 24 GiB"``, with its GPU if any."""
    words = [_cpu_name(), f"{available_cpus()} cores"]
    words.append(f"{psutil.virtual_memory().total / 2**30:.0f} GiB")
    import torch

    if torch.cuda.is_available():
        words.append(torch.cuda.get_device_name())
    return ", ".join(words)


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
