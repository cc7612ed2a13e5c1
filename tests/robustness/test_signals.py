# SPDX-License-Identifier: Apache-2.0
"""Tools ended at random moments: nobody is left, and the same command gives the same results.

``LIDISTILL_KILLS`` moments a tool and signal (default 1, the long form 20), drawn from
``LIDISTILL_SEED`` (default 0): ``LIDISTILL_KILLS=20 pytest tests/robustness -m slow``.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest

from tests.robustness.tools import TOOLS, command, digest, environment
from tests.test_interrupts import wait_empty

KILLS = int(os.environ.get("LIDISTILL_KILLS", "1"))
SEED = int(os.environ.get("LIDISTILL_SEED", "0"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("tool", TOOLS)
def test_ended_at_any_moment_and_run_again(tool, number, data, undisturbed, tmp_path):
    seconds, expected = undisturbed(tool)
    moments = random.Random(f"{SEED} {tool} {number}")
    for attempt in range(KILLS):
        out = tmp_path / str(attempt)
        words = command(tool, data, out)
        process = subprocess.Popen(
            words,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        moment = moments.uniform(0.3, 1) * seconds  # the first third is imports
        time.sleep(moment)
        process.send_signal(number)
        said, _ = process.communicate(timeout=120)  # ends once nobody holds the pipe
        case = f"{tool}, {signal.Signals(number).name} after {moment:.2f} s, said: {said}"
        assert wait_empty(process.pid) == [], case
        if number == signal.SIGKILL:
            assert process.returncode in (0, -number), case
        else:
            assert process.returncode in (0, 128 + number, -number), case
            assert "Traceback" not in said, case
            if process.returncode == 128 + number:
                assert "interrupted: " in said, case
        done = subprocess.run(words, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{case}\nthen: {done.stderr}"
        assert digest(out) == expected, case
