# SPDX-License-Identifier: Apache-2.0
"""Where a number comes from: the commit and the machine, in one line each."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import psutil

from lidistill.parallel import available_cpus

CHECKOUT = Path(__file__).resolve().parents[1]


def commit(checkout: Path = CHECKOUT) -> str:
    """Commit of a checkout.

    Args:
        checkout: Its folder.

    Returns:
        The short hash, with ``-dirty`` where tracked files differ from it; ``"unknown"`` outside of
        a git checkout (an installed wheel) or without git.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=10"],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


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
