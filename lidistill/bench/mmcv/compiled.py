# SPDX-License-Identifier: Apache-2.0
"""Our stand-in for ``mmcv._ext`` beside compiled mmcv, op by op, through mmcv's own Python layer.

Needs an interpreter with compiled mmcv (`make mmcv`), named by ``LIDISTILL_MMCV_PYTHON``; without,
there are no cases. It runs the reference in a process of its own; both sides compute on one thread
and count processor time, so another process on the machine weighs little.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lidistill.bench.case import Case, ProcessorSeconds
from lidistill.bench.mmcv import _calls

SCALES = {"quick": 0.02, "full": 1.0}


def cases(size: str) -> list[Case]:
    """Every op that compiled mmcv has for the CPU, at the sizes of detectors.

    Args:
        size: "full", or "quick": a fiftieth of the points and boxes.
    """
    python = os.environ.get("LIDISTILL_MMCV_PYTHON")
    if python is None:
        return []
    from lidistill import compat

    compat.apply()
    compiled = _Compiled(python, SCALES[size])
    return [
        Case(f"mmcv, {name}", words, compiled.caller(name), _ours(make))
        for name, (words, make) in _calls.works(SCALES[size]).items()
    ]


def _ours(make: Callable[[], Callable[[], Any]]) -> Callable[[], ProcessorSeconds]:
    made: list[Callable[[], Any]] = []

    def run() -> ProcessorSeconds:
        if not made:
            made.append(make())
        return ProcessorSeconds(_calls.processor_seconds(made[0]))

    return run


class _Compiled:
    """`_calls` in the interpreter that has compiled mmcv; ends with this process."""

    def __init__(self, python: str, scale: float) -> None:
        command = [python, "-W", "ignore", str(Path(_calls.__file__)), str(scale)]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def caller(self, name: str) -> Callable[[], ProcessorSeconds]:
        """What asks for one call of ``name`` and returns its seconds."""

        def run() -> ProcessorSeconds:
            if self._process.stdin is None or self._process.stdout is None:
                raise RuntimeError("expected pipes to the reference's process, found none")
            self._process.stdin.write(f"{name}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            if not answer:
                raise RuntimeError(f"the process of compiled mmcv ended at {name!r}: see above")
            return ProcessorSeconds(answer)

        return run
