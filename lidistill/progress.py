# SPDX-License-Identifier: Apache-2.0
"""Progress bars: one function, a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")

EVERY_S = 30.0
_shown = 0  # bars on screen now: rich draws one at a time, an inner loop stays silent


def track(iterable: Iterable[Item], description: str, total: float | None = None) -> Iterator[Item]:
    """Yields the items of a loop while its progress shows on stderr.

    On a terminal this is a rich progress bar with the time left; elsewhere (log file, CI) a line
    every half minute and one when the loop ends. A loop inside a tracked loop shows nothing.

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
            yield from _with_lines(iterable, description, total)
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


def _with_lines(iterable: Iterable[Item], description: str, total: float | None) -> Iterator[Item]:
    lines, count = Lines(description, total), 0
    for item in iterable:
        yield item
        count += 1
        lines.update(count)
    say(f"{description}: {count} done in {lines.seconds():.1f} s")


class Lines:
    """A line on stderr now and then, for long work where no bar can be drawn.

    Args:
        description: what is going on.
        total: number of items, None where nobody knows.
        begin: items that an earlier run has done.
        every: seconds between two lines.
    """

    def __init__(
        self, description: str, total: float | None, begin: int = 0, every: float = EVERY_S
    ) -> None:
        self.description, self.total, self.begin, self.every = description, total, begin, every
        self._start = self._said = time.perf_counter()

    def seconds(self) -> float:
        """Since the work began."""
        return time.perf_counter() - self._start

    def update(self, done: int) -> None:
        """Say how far it is, if it is time for that.

        Args:
            done: items done, those of earlier runs included.
        """
        now = time.perf_counter()
        if now - self._said < self.every or done <= self.begin:
            return
        self._said = now
        text = f"{self.description}: {done}"
        if self.total is not None:
            left = (self.total - done) * (now - self._start) / (done - self.begin)
            text += f" of {self.total:g}, about {left:.0f} s left"
        say(text)


def say(line: str) -> None:
    """A line on stderr, at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
