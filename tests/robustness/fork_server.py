# SPDX-License-Identifier: Apache-2.0
"""A process that has imported what the tools import, and forks one command after the other.

Seconds of imports would otherwise be most of a command's time, and most random moments would fall
there. It answers each line of JSON on its input with the new process's id, then with how it ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
from pathlib import Path

from lidistill import cli


def _become(request: dict) -> None:
    """Run the command in this new process; does not return."""
    os.setsid()
    log = os.open(request["log"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    empty = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((empty, log, log)):
        os.dup2(descriptor, number)
    sys.argv = ["lidistill", *request["words"]]
    if "learn" not in request:
        cli.entry()
    code = cli.main()
    Path(request["learn"]).write_text(json.dumps(list(sys.modules)))
    sys.exit(code)


def _import(names: list[str]) -> None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        for name in names:
            with contextlib.suppress(Exception):  # made by hand by another module
                importlib.import_module(name)


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where begun with `&`
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            _become(request)
        answer.write(f"{process}\n")
        _, status = os.waitpid(process, 0)
        if "learn" in request and status == 0:
            _import(json.loads(Path(request["learn"]).read_text()))
        answer.write(f"{os.waitstatus_to_exitcode(status)}\n")


if __name__ == "__main__":
    main()
