# SPDX-License-Identifier: Apache-2.0
"""``lidistill bench``: run every benchmark, show the table, keep the numbers.

Benchmarks are found by themselves: each module of this folder, or of a folder in it, that has
``cases(size)``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import pkgutil
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lidistill.bench
from lidistill.bench.case import Case
from lidistill.bench.measure import Measurement, measure
from lidistill.io import read_json, write_json
from lidistill.provenance import commit, hardware

HELP = "time and memory beside the authors' way; writes docs/benchmarks.json"
DEFAULT_OUT = Path("docs/benchmarks.json")
NOT_BENCHMARKS = ("case", "measure", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lidistill bench``."""
    parser.add_argument("names", nargs="*", help="benchmarks to run; all where none is named")
    parser.add_argument("--quick", action="store_true", help="small inputs and few rounds")
    parser.add_argument("--list", action="store_true", help="only list the benchmarks")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of rounds per case")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"JSON file to write; {DEFAULT_OUT} after a full run of all, otherwise none. With "
        "names, rows of other benchmarks that are in it stay",
    )


def run(args: argparse.Namespace) -> int:
    """Run the named benchmarks, or all."""
    from rich.console import Console

    console = Console()
    known = benchmark_names()
    if args.list:
        console.print("\n".join(known))
        return 0
    names = check_names(args.names, known)
    out = args.out
    if out is None and not args.quick and not args.names:
        out = DEFAULT_OUT
    record = as_record(" ".join(["lidistill bench", *args.names]))
    if out is not None and args.names:
        record["rows"] = rows_of_others(out, names, record)
    rows: list[Measurement] = []
    failed = []
    for name in names:
        found = []
        try:
            cases = load_cases(name, "quick" if args.quick else "full")
            if args.names and not cases:
                raise no_cases(name)
            for case in cases:
                with console.status(f"{name}: {case.name}"):
                    found.append(measure(case, budget_s=0.5 if args.quick else args.budget))
        except Exception:  # a benchmark that breaks takes no other's numbers along
            console.print(traceback.format_exc(), markup=False)
            failed.append(name)
            continue
        rows += found
        record["rows"] += [as_row(name, row) for row in found]
        record["rows"].sort(key=lambda row: row.get("benchmark", ""))
        if out is not None:
            write_json(out, record)
    console.print(as_table(rows))
    if out is not None and rows:
        console.print(f"written: {out}")
    if failed:
        again = " ".join(["lidistill bench", *failed, *(["--out", str(out)] if out else [])])
        console.print(f"not measured: {', '.join(failed)} (see above); once mended: {again}")
    return 1 if failed else 0


def benchmark_names() -> list[str]:
    """Modules of this folder and of its alcoves that are benchmarks, by name: ``bev.pooling``."""
    prefix = f"{lidistill.bench.__name__}."
    found = (
        module.name.removeprefix(prefix)
        for module in pkgutil.walk_packages(lidistill.bench.__path__, prefix)
        if not module.ispkg
    )
    return sorted(
        name
        for name in found
        if name not in NOT_BENCHMARKS and not name.rpartition(".")[2].startswith("_")
    )


def check_names(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The benchmarks to run.

    Args:
        names: As the user gave them; empty means all.
        known: What there is.

    Returns:
        Names, each known.

    Raises:
        ValueError: for an unknown name, with the known ones; or where there is none at all.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    if not known:
        raise ValueError("expected benchmarks in lidistill/bench/, found none")
    return list(names) or list(known)


def load_cases(name: str, size: str) -> list[Case]:
    """The cases of one benchmark.

    Args:
        name: Module of this folder.
        size: ``"quick"`` or ``"full"``.

    Returns:
        Its cases, inputs made.

    Raises:
        ValueError: where the module has no ``cases`` function.
    """
    module = importlib.import_module(f"lidistill.bench.{name}")
    if not hasattr(module, "cases"):
        raise ValueError(f"expected a function cases(size) in {module.__file__}, found none")
    return list(module.cases(size))


def no_cases(name: str) -> ValueError:
    """The error of a benchmark that was asked for by name and has nothing to run here."""
    words = (importlib.import_module(f"lidistill.bench.{name}").__doc__ or "").strip()
    return ValueError(f"the benchmark {name} has no cases on this machine.\n{words}")


def as_table(rows: Sequence[Measurement]) -> Any:
    """The rows as a rich table."""
    from rich.table import Table

    table = Table(title="authors' way (reference) and ours, in turns; medians")
    table.add_column("what", no_wrap=True)
    table.add_column("input")
    for column in ("reference", "ours", "ratio", "reference MiB", "ours MiB"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            row.size,
            _seconds_text(row.reference_s),
            _seconds_text(row.ours_s),
            "-" if row.ratio is None else f"{row.ratio:.1f}x",
            "-" if row.reference_mib is None else f"{row.reference_mib:.0f}",
            f"{row.ours_mib:.0f}",
        )
    return table


def as_record(command: str) -> dict[str, Any]:
    """The content of ``docs/benchmarks.json``, without rows.

    Args:
        command: that measures them again.
    """
    import torch

    return {
        "commit": commit(),
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "command": command,
        "rows": [],
    }


def as_row(benchmark: str, row: Measurement) -> dict[str, Any]:
    """A row of the record."""
    return {"benchmark": benchmark} | {key: _rounded(value) for key, value in asdict(row).items()}


def rows_of_others(
    path: Path, names: Sequence[str], record: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows that a record on disk has of benchmarks that are not run now; each names its commit.

    Args:
        path: of the record; need not be there.
        names: benchmarks that are run now.
        record: of this run.

    Raises:
        ValueError: it was measured on another machine, whose numbers say nothing beside these.
    """
    if not path.is_file():
        return []
    old = read_json(path)
    for key in ("hardware", "threads"):
        if old[key] != record[key]:
            raise ValueError(
                f"{path} was measured with {key} {old[key]!r}, this run has {record[key]!r}; "
                "name another --out, or run all benchmarks"
            )
    return [
        {**row, "commit": row.get("commit", old["commit"])}
        for row in old["rows"]
        if row.get("benchmark") not in names
    ]


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _seconds_text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.2f} ms"
