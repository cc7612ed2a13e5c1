# SPDX-License-Identifier: Apache-2.0
"""Progress bars: one function, a bar on a terminal, one closing line in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")

_shown = 0  # bars on screen now: rich draws one at a time, an inner loop stays silent


def track(iterable: Iterable[Item], description: str, total: float | None = None) -> Iterator[Item]:
    """Yields the items of a loop while its progress shows on stderr.

    On a terminal this is a rich progress bar with the time left; elsewhere (log file, CI) one line
    when the loop ends. A loop inside a tracked loop shows nothing.

    Args:
        iterable: What to walk over.
        description: What is going on, in a few words ("Convert scenes").
        total: Number of items where ``len(iterable)`` does not tell.

    Yields:
        The items, unchanged and in order.
    """
    global _shown  # noqa: PLW0603
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if _shown:
        yield from iterable
        return
    _shown += 1
    try:
        if sys.stderr.isatty():
            yield from _with_bar(iterable, description, total)
        else:
            yield from _with_line(iterable, description)
    finally:
        _shown -= 1


def _with_bar(
    iterable: Iterable[Item], description: str, total: float | None
) -> Iterator[Item]:  # pragma: no cover - needs a terminal
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total)
        for item in iterable:
            yield item
            progress.advance(task)


def _with_line(iterable: Iterable[Item], description: str) -> Iterator[Item]:
    start, count = time.perf_counter(), 0
    for item in iterable:
        yield item
        count += 1
    seconds = time.perf_counter() - start
    sys.stderr.write(f"{description}: {count} done in {seconds:.1f} s\n")
    sys.stderr.flush()
