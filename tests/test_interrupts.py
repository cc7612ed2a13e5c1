# SPDX-License-Identifier: Apache-2.0
"""Signals end a command in order: its code, its workers gone, the pipe released."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from lidistill.interrupts import Interrupted, exit_code, orderly_end

ROOT = Path(__file__).resolve().parents[1]
COMMAND = """
import os, sys, time, types
from lidistill import cli
from lidistill.parallel import parallel

def item(number):
    os.write(1, b"item\\n")  # whole, whatever the other worker writes
    time.sleep(600)

def run(args):
    list(parallel(item, range(8), jobs=2))

verb = types.ModuleType("probe_verb")
verb.HELP, verb.add_arguments, verb.run = "a verb of this test", lambda parser: None, run
sys.modules["probe_verb"], cli.VERBS["probe"], cli.KEPT["probe"] = verb, "probe_verb", "parts kept"
cli._module_path = lambda name: name
sys.argv[1:] = ["probe"]
cli.entry()
"""


def members(group: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def wait_empty(group: int, seconds: float = 60) -> list[int]:
    end = time.monotonic() + seconds
    while members(group) and time.monotonic() < end:
        time.sleep(0.1)
    return members(group)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_workers_go_with_their_command(number):
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"{number!r} is ignored here, as under nohup: children inherit it")
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    for _ in range(2):  # both workers are at work
        assert command.stdout.readline() == "item\n"
    command.send_signal(number)
    said, _ = command.communicate(timeout=60)  # ends once nobody holds the pipe
    assert wait_empty(command.pid) == []
    if number == signal.SIGKILL:
        assert command.returncode == -number
        return
    assert command.returncode == 128 + number
    assert said == "interrupted: parts kept; `lidistill probe` continues there\n"


def test_workers_that_had_no_item_yet_go_too():
    """Killed while its workers start, a command cannot end them, and no item makes them look."""
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not any("LokyProcess" in word for pid in members(command.pid) for word in words_of(pid)):
        time.sleep(0.002)
    command.kill()
    command.communicate(timeout=60)
    assert wait_empty(command.pid) == []


def words_of(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def test_a_worker_that_the_system_ends_is_one_message():
    code = COMMAND.replace("time.sleep(600)", "os.kill(os.getpid(), 9)")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: a worker process was ended by the system")
    assert "--jobs than 2" in done.stderr


def test_workers_that_are_ended_are_no_error_of_the_one_that_ends_them():
    """torch's data loader raises at once, wherever its process is, when a worker is gone."""
    code = """
import signal, subprocess, time
from lidistill.interrupts import end_children

def torchs(*_):
    raise RuntimeError("DataLoader worker is killed by signal: Killed.")

signal.signal(signal.SIGCHLD, torchs)
child = subprocess.Popen(["sleep", "600"])
end_children()
assert child.wait() == -9
print("went on")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "went on\n", done.stderr


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted) as caught, orderly_end():
        signal.raise_signal(signal.SIGTERM)
    assert exit_code(caught.value) == 143
    assert exit_code(KeyboardInterrupt()) == 130
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_the_shell_wants_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with orderly_end():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_second_signal_ends_what_swallows_the_first():
    code = """
import os, signal, time
from lidistill.interrupts import orderly_end
with orderly_end():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    except KeyboardInterrupt:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 143


def test_outside_of_the_main_thread_nothing_changes():
    seen = []

    def work():
        with orderly_end():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
