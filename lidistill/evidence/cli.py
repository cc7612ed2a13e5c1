# SPDX-License-Identifier: Apache-2.0
"""``lidistill evidence``: fill a method's evidence table, or print the one on record."""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import shlex
import sys
from pathlib import Path

from lidistill.evidence.plan import EvidencePlan
from lidistill.io import DataError
from lidistill.parallel import available_cpus

HELP = "run a method's evidence table (all rows, all seeds, resumable) and write its record"

_HOME = "lidistill.evidence.plans"
_WORK_DIR = Path("work_dirs/evidence")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("name", help="a table, or MODULE:FUNCTION that returns an EvidencePlan")
    parser.add_argument(
        "--seeds", type=int, action="extend", nargs="+", help="instead of the plan's own"
    )
    parser.add_argument("--work-dir", type=Path, default=_WORK_DIR, help="trainings and outcomes")
    parser.add_argument(
        "--out",
        type=Path,
        help="record (default: docs/evidence/NAME.json; from a checkout with changes that are not "
        "committed, WORK_DIR/NAME/record.json)",
    )
    parser.add_argument(
        "--tuning",
        action="store_true",
        help="on the world kept for choices instead of the reported one; a record NAME_tuning",
    )
    parser.add_argument(
        "--any-commit", action="store_true", help="also take stored outcomes of other commits"
    )
    parser.add_argument(
        "--jobs", type=int, default=available_cpus(), help="processes (default: one a core)"
    )
    parser.add_argument("--show", action="store_true", help="print the record, run nothing")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from lidistill.evidence.page import to_markdown
    from lidistill.evidence.record import RECORDS

    if args.show:
        record = args.out or RECORDS / f"{args.name}.json"
        if not record.is_file():
            raise DataError(
                "There is no record of this table here.",
                path=record,
                fix=f"run: lidistill evidence {args.name}; it says where it writes: beside the "
                f"others from a clean checkout, else {args.work_dir}/{args.name}/record.json, to "
                "be shown with --out FILE.",
            )
        sys.stdout.write(to_markdown(record))
        return 0
    from rich.console import Console

    from lidistill.evidence.driver import place_for, run_plan
    from lidistill.evidence.plan import with_seeds

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    plan = with_seeds(make_plan(args.name, args.work_dir, args.tuning), args.seeds)
    wanted = args.out or RECORDS / f"{plan.method}.json"
    out, word = place_for(wanted, args.work_dir, plan.method)
    if word:
        console.print(word)
    run_plan(plan, args.work_dir, out, command_of(args), args.any_commit, args.jobs, console.print)
    sys.stdout.write(to_markdown(out))
    console.print(f"written: {out}")
    return 0


def command_of(args: argparse.Namespace) -> str:
    """The words that make the same record again: everything that is not as by default."""
    words = ["lidistill", "evidence", args.name]
    if args.seeds is not None:
        words += ["--seeds", *map(str, args.seeds)]
    if args.work_dir != _WORK_DIR:
        words += ["--work-dir", str(args.work_dir)]
    if args.out is not None:
        words += ["--out", str(args.out)]
    words += ["--tuning"] * args.tuning + ["--any-commit"] * args.any_commit
    return shlex.join(words)


def plan_names() -> list[str]:
    """Names of all tables that ``lidistill evidence`` knows."""
    home = importlib.import_module(_HOME)
    return sorted(entry.name for entry in pkgutil.iter_modules(home.__path__))


def make_plan(name: str, work_dir: Path, tuning: bool = False) -> EvidencePlan:
    """The plan of a table.

    Args:
        name: of :func:`plan_names`, or ``module:function``, a function of the work directory.
        work_dir: of trainings.
        tuning: on the world kept for choices.

    Raises:
        ValueError: unknown; lists what there is.
    """
    module, _, function = name.partition(":")
    if function:
        found = getattr(importlib.import_module(module), function, None)
        if found is None:
            raise ValueError(f"module {module} has no function {function!r}")
        if tuning:
            raise ValueError(f"--tuning is for tables that lidistill has, {name} is a plan")
        plan: EvidencePlan = found(work_dir)
        return plan
    if name not in plan_names():
        raise ValueError(
            f"no evidence plan {name!r}; known: {', '.join(plan_names())}. "
            "Or name a function that returns one, as module:function"
        )
    from lidistill.evidence.runs import plan_of

    make = importlib.import_module(f"{_HOME}.{name}").table
    if inspect.signature(make).parameters:  # a plan of a package that moved in here
        if tuning:
            raise ValueError(f"--tuning is for declarative tables, {name} is a plan")
        own: EvidencePlan = make(work_dir)
        return own
    table = make()
    return plan_of(table.tuning() if tuning else table, work_dir)
