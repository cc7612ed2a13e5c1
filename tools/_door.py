# SPDX-License-Identifier: Apache-2.0
"""The way from a script in this folder to its verb, whichever Python it was started with."""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("lidistill", "mmengine", "torch")


def enter(verb: str) -> int:
    """Run a verb; in the project's own environment, where this Python lacks what it needs.

    The process ends with the verb, without waiting for threads of an interrupted one.

    Args:
        verb: of `lidistill`.

    Returns:
        The exit code, where there is no environment to run it in.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return _elsewhere(verb, missing)
    from lidistill.cli import entry

    entry([verb, *sys.argv[1:]])


def _elsewhere(verb: str, missing: list) -> int:
    environment = ROOT / ".venv"
    python = environment / "bin" / "python"
    if python.is_file() and Path(sys.prefix).resolve() != environment.resolve():
        os.execv(python, [str(python), *sys.argv])
    sys.stderr.write(
        f"error: {sys.executable} has no {', '.join(missing)}, and there is no working environment "
        f"in {environment}. Run `make setup` in {ROOT} once; then `source .venv/bin/activate` and "
        f"`lidistill {verb} ...`, or this script with any Python.\n"
    )
    return 1
