# SPDX-License-Identifier: Apache-2.0
"""``lidistill evidence``: fill a method's evidence table, or print the one on record."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

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
    """Names of all plans that ``lidistill evidence`` knows."""
    return sorted(_plans())


def find_plan(name: str) -> Callable[[Path], EvidencePlan]:
    """The function that makes a plan, given the work directory.

    Args:
        name: of :func:`plan_names`, or ``module:function``.

    Raises:
        ValueError: unknown; lists what there is.
    """
    module, _, function = name.partition(":")
    if function:
        found = getattr(importlib.import_module(module), function, None)
        if found is None:
            raise ValueError(f"module {module} has no function {function!r}")
        return cast(Callable[[Path], EvidencePlan], found)
    plans = _plans()
    if name not in plans:
        raise ValueError(
            f"no evidence plan {name!r}; known: {', '.join(sorted(plans)) or 'none'}. "
            "Or name a function that returns one, as module:function"
        )
    return plans[name]


def _plans() -> dict[str, Callable[[Path], EvidencePlan]]:
    """Name -> function of every module ``lidistill/engine/evidence_<name>.py``.

    A module has one ``make_plan``, or ``PLANS``, whose keys are put behind its name ("": nothing).
    """
    plans: dict[str, Callable[[Path], EvidencePlan]] = {}
    for entry in pkgutil.iter_modules(importlib.import_module(_HOME).__path__):
        if not entry.name.startswith(_PREFIX):
            continue
        module = importlib.import_module(f"{_HOME}.{entry.name}")
        name = entry.name.removeprefix(_PREFIX)
        several = getattr(module, "PLANS", None)
        if several is None:
            plans[name] = module.make_plan
        else:
            plans |= {"_".join(filter(None, (name, key))): make for key, make in several.items()}
    return plans
