# SPDX-License-Identifier: Apache-2.0
"""The end that others ask for: Ctrl-C, a cluster's SIGTERM, a closed terminal; all end alike."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

ASKED = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end; what handles Ctrl-C handles the others as well.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """As shells name it: 130 after Ctrl-C, 143 after SIGTERM, 129 after a hang-up."""
    return 128 + getattr(interrupt, "number", int(signal.SIGINT))


@contextlib.contextmanager
def orderly_end() -> Iterator[None]:
    """Raises :class:`Interrupted` at the first signal that asks to end; the second ends at once.

    Signals that the caller's shell wants ignored (``nohup``) stay ignored. Outside of the main
    thread, where Python handles no signals, nothing changes. A forked child goes back to the
    system's way.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ASKED}
    own = [n for n, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    asked = threading.Event()
    home = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != home:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif asked.is_set():
            end_children()
            os._exit(128 + number)
        else:
            asked.set()
            raise Interrupted(number)

    for number in own:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in own:
            signal.signal(number, before[number])


def end_children() -> None:
    """Kills every process that this one has started, and theirs: none outlives an interrupt.

    joblib's resource tracker is left: it removes what was shared in memory, then ends by itself.
    """
    import psutil

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's raises wherever a data worker ends
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if not any("resource_tracker" in word for word in child.cmdline()):
                    child.kill()


def leave(code: int) -> None:
    """Ends the process without waiting for threads that still compute."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def follow_parent(parent: int, seconds: float = 0.5) -> None:
    """In a worker process: leave Ctrl-C to the parent, and end when the parent has ended.

    To be called by a direct child, before its work; one whose parent is gone already ends here.

    Args:
        parent: Its process id.
        seconds: How often to look.
    """

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(seconds)
        os._exit(1)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=watch, name="follow-parent", daemon=True).start()
