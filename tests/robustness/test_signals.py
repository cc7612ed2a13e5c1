# SPDX-License-Identifier: Apache-2.0
"""Tools ended at random moments: nobody is left, and the same command gives the same results.

``LIDISTILL_KILLS`` moments a tool (default 1), drawn from ``LIDISTILL_SEED`` (default 0). The long
form: ``LIDISTILL_KILLS=20 pytest tests/robustness/test_signals.py --log-cli-level=info``.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.robustness.tools import TOOLS, digest, leftovers, words_of
from tests.test_interrupts import wait_empty

KILLS = int(os.environ.get("LIDISTILL_KILLS", "1"))
SEED = int(os.environ.get("LIDISTILL_SEED", "0"))
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_ended_at_any_moment_and_run_again(tool, data, forks, undisturbed, tmp_path):
    seconds, whole = undisturbed(tool)
    draw = random.Random(f"{SEED} {tool}")
    ends: Counter[str] = Counter()
    for attempt in range(KILLS):
        number = SIGNALS[(attempt + list(TOOLS).index(tool)) % len(SIGNALS)]
        out = tmp_path / str(attempt)
        words = words_of(tool, data, out)
        process = forks.start(words)
        in_verb(process)
        if attempt % 2:
            files = draw.randint(1, len(digest(whole)))
            moment = f"{files} files"
            wait_files(process, out, files)
        else:
            pause = draw.uniform(0, seconds)
            moment = f"{pause:.2f} of {seconds:.2f} s"
            time.sleep(pause)
        send(process, number)
        code, said = forks.wait(), forks.said()
        case = f"{tool}, {number.name} after {moment}: {code}, said: {said[-2000:]}"
        logging.info("%s, %s after %s: %d", tool, number.name, moment, code)
        ends[f"{number.name} {code}"] += 1
        assert wait_empty(process) == [], case
        assert "Traceback" not in said, case
        if code == 128 + number:
            assert "interrupted: " in said, case
        elif code == 0:  # done before it was asked
            assert digest(out) == digest(whole), case
        else:
            assert code == -number, case
            # Python itself was ended: by what nothing can catch, or after the work.
            assert number == signal.SIGKILL or digest(out) == digest(whole), case
        forks.run(words)
        assert digest(out) == digest(whole), case
        assert leftovers(out) == [], case
    logging.info("%s: %s", tool, dict(ends))


def in_verb(process: int, seconds: float = 60) -> None:
    """Waits until a command handles signals, which is before it does anything else."""
    asked = 1 << (signal.SIGTERM - 1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = state(process)
        if status is None or int(status["SigCgt"], 16) & asked:
            return
        time.sleep(0.002)
    raise AssertionError("signals were not handled")


def wait_files(process: int, out: Path, count: int, seconds: float = 120) -> None:
    """Waits until a folder has so many files, finished or begun, or the process has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and state(process) is not None:
        if sum(len(names) for _, _, names in os.walk(out)) >= count:
            return
        time.sleep(0.001)


def state(process: int) -> dict[str, str] | None:
    """What Linux says of a process; None once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return None if found["State"].startswith("Z") else found


def send(process: int, number: signal.Signals) -> None:
    """Sends a signal; the process may have ended meanwhile."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return
