# SPDX-License-Identifier: Apache-2.0
"""``lidistill evidence``: fill a method's evidence table, or print the one on record."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path

from lidistill.evaluation.evidence_run import EvidencePlan
from lidistill.parallel import available_cpus

HELP = "run a method's evidence table (all rows, all seeds, resumable) and write its record"

_HOME = "lidistill.engine"
_PREFIX = "evidence_"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("name", help="a method, or MODULE:FUNCTION that returns an EvidencePlan")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the plan's own")
    parser.add_argument(
        "--work-dir", type=Path, default=Path("work_dirs/evidence"), help="stored outcomes"
    )
    parser.add_argument("--out", type=Path, help="record (default: docs/evidence/NAME.json)")
    parser.add_argument(
        "--any-commit", action="store_true", help="also take stored outcomes of other commits"
    )
    parser.add_argument(
        "--jobs", type=int, default=available_cpus(), help="processes (default: one a core)"
    )
    parser.add_argument("--show", action="store_true", help="print the record, run nothing")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from lidistill.evaluation.evidence import to_markdown

    if args.show:
        sys.stdout.write(to_markdown(args.out or Path("docs/evidence") / f"{args.name}.json"))
        return 0
    from rich.console import Console

    from lidistill.evaluation.evidence_run import run_plan, with_seeds

    plan = with_seeds(find_plan(args.name)(args.work_dir), args.seeds)
    out = args.out or Path("docs/evidence") / f"{plan.method}.json"
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    seeds = "" if args.seeds is None else f" --seeds {' '.join(map(str, args.seeds))}"
    command = f"lidistill evidence {args.name}{seeds}"
    run_plan(plan, args.work_dir, out, command, args.any_commit, args.jobs, console.print)
    sys.stdout.write(to_markdown(out))
    console.print(f"written: {out}")
    return 0


def plan_names() -> list[str]:
    """Methods with a plan: modules ``lidistill/engine/evidence_<name>.py``."""
    home = importlib.import_module(_HOME)
    found = (module.name for module in pkgutil.iter_modules(home.__path__))
    return sorted(name.removeprefix(_PREFIX) for name in found if name.startswith(_PREFIX))


def find_plan(name: str) -> Callable[[Path], EvidencePlan]:
    """The function that makes a plan, given the work directory.

    Args:
        name: of a method with ``make_plan`` in its ``evidence_<name>`` module, or
            ``module:function``.

    Raises:
        ValueError: unknown; lists what there is.
    """
    module, _, function = name.partition(":")
    if not function:
        if name not in plan_names():
            raise ValueError(
                f"no evidence plan {name!r}; known: {', '.join(plan_names()) or 'none'}. "
                "Or name a function that returns one, as module:function"
            )
        module, function = f"{_HOME}.{_PREFIX}{name}", "make_plan"
    try:
        found: Callable[[Path], EvidencePlan] = getattr(importlib.import_module(module), function)
    except AttributeError as error:
        raise ValueError(f"module {module} has no function {function!r}") from error
    return found
