# SPDX-License-Identifier: Apache-2.0
"""Time and memory of two callables, taken in turns so that the machine's mood meets both alike."""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from lidistill.bench.case import Case, ProcessorSeconds

MIB = 2.0**20
CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measurement:
    """One row of the table; seconds are medians, ``None`` where there is no reference.

    Attributes:
        name: The case's name.
        size: Its input in words.
        reference_s: Seconds of the reference.
        ours_s: Seconds of ours.
        ratio: Median over rounds of reference / ours, both taken in the same round.
        reference_mib: Memory that the reference takes at its peak, above what was held before.
        ours_mib: The same for ours.
        rounds: How many times each ran.
    """

    name: str
    size: str
    reference_s: float | None
    ours_s: float
    ratio: float | None
    reference_mib: float | None
    ours_mib: float
    rounds: int


def measure(case: Case, budget_s: float = 10.0, max_rounds: int = 15) -> Measurement:
    """Measure one case: a first run of each for memory, then rounds of reference and ours in turn.

    Args:
        case: What to run.
        budget_s: Start no further round after this many seconds; at least three are run.
        max_rounds: Never more rounds than this.

    Returns:
        Its row of the table.
    """
    here = case.reference is not None
    if case.reference is not None:  # compilation and caches are not part of the comparison
        here = not isinstance(case.reference(), ProcessorSeconds)
    case.ours()
    reference_mib = peak_mib(case.reference) if here and case.reference is not None else None
    ours_mib = peak_mib(case.ours)

    reference_s, ours_s = _take_turns(case, budget_s, max_rounds)
    ratios = [slow / fast for slow, fast in zip(reference_s, ours_s, strict=False)]
    return Measurement(
        name=case.name,
        size=case.size,
        reference_s=statistics.median(reference_s) if reference_s else None,
        ours_s=statistics.median(ours_s),
        ratio=statistics.median(ratios) if ratios else None,
        reference_mib=reference_mib,
        ours_mib=ours_mib,
        rounds=len(ours_s),
    )


def _take_turns(case: Case, budget_s: float, max_rounds: int) -> tuple[list[float], list[float]]:
    reference_s: list[float] = []
    ours_s: list[float] = []
    gc.collect()
    gc.disable()  # a collection takes longer than many a case
    started = time.perf_counter()
    try:
        while len(ours_s) < 3 or (
            len(ours_s) < max_rounds and time.perf_counter() - started < budget_s
        ):
            swap = len(ours_s) % 2 == 1  # who goes first finds the other's caches: take turns
            for is_ours in (swap, not swap):
                if is_ours:
                    ours_s.append(seconds(case.ours))
                elif case.reference is not None:
                    reference_s.append(seconds(case.reference))
    finally:
        gc.enable()
    return reference_s, ours_s


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call, work queued on a GPU included; or what it counted itself."""
    _synchronize()
    started = time.perf_counter()
    counted = work()
    _synchronize()
    elapsed = time.perf_counter() - started
    return counted if isinstance(counted, ProcessorSeconds) else elapsed


def peak_mib(work: Callable[[], Any]) -> float:
    """Memory that one call takes at its peak, in MiB above what the process held before it.

    On a machine with a GPU that torch uses, this is torch's own count on the device; otherwise the
    resident set. Linux keeps its peak and lets a process reset it; elsewhere it is sampled.
    """
    if _uses_cuda():
        return _peak_mib_cuda(work)
    gc.collect()
    _trim_heap()
    if _reset_peak():
        before = _status_mib("VmRSS")
        work()
        return max(0.0, _status_mib("VmHWM") - before)
    return _peak_mib_sampled(work)


def _uses_cuda() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()


def _synchronize() -> None:
    if _uses_cuda():
        sys.modules["torch"].cuda.synchronize()


def _peak_mib_cuda(work: Callable[[], Any]) -> float:
    cuda = sys.modules["torch"].cuda
    cuda.synchronize()
    cuda.reset_peak_memory_stats()
    before = cuda.memory_allocated()
    work()
    cuda.synchronize()
    return max(0.0, (cuda.max_memory_allocated() - before) / MIB)


def _trim_heap() -> None:
    """Give freed memory back: kept in the heap, it would hide the next call's peak."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _reset_peak() -> bool:
    try:
        CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _status_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024.0
    raise ValueError(f"expected a line {field} in /proc/self/status, found none")


def _peak_mib_sampled(work: Callable[[], Any], interval_s: float = 0.002) -> float:
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(interval_s):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return max(0.0, (peak - before) / MIB)
